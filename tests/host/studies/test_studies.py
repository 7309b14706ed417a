"""What the studies of training rest on: kept memory, picked subnets, timed steps."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.zoo import tiny
from tofa_edge.benchmarks.studies import best_subnets, scenarios
from tofa_edge.benchmarks.studies.best_subnets import best_below, rank
from tofa_edge.benchmarks.studies.scenario_costs import SHARED, cost_ratios, ratio_of_ten
from tofa_edge.benchmarks.studies.training_plot import draw
from tofa_edge.benchmarks.studies.training_study import study_space, subnets
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import Progress
from tofa_edge.train.data.steps import Step
from tofa_edge.train.supernet.supernet import Supernet

GROWN = """
import sys, numpy, psutil
from tofa_edge.train.run.allocation import keep_freed_memory
keeps = sys.argv[1] == "kept" and keep_freed_memory()
numpy.ones(1), psutil.Process().memory_info()
before = psutil.Process().memory_info().rss
for _ in range(3):
    numpy.ones(12_000_000)
print(int(keeps), psutil.Process().memory_info().rss - before)
"""


def grown(how: str) -> tuple[bool, int]:
    command = [sys.executable, "-c", GROWN, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, found = done.stdout.split()
    return kept == "1", int(found)


def test_freed_memory_is_kept_for_the_next_step() -> None:
    kept, found = grown("kept")
    if not kept:
        pytest.skip("this C library cannot be told so")
    assert found > 80_000_000
    assert grown("as it is")[1] < 40_000_000


def test_subnets_are_picked_below_ceilings_without_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_subnets, "SAMPLED", 25)
    supernet = Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(0))
    space = supernet.space
    size = space.resolutions[-1]
    images = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), dtype=np.uint8)
    whole = macs(layers(space, space.largest())) / 1e6
    ceilings = (whole, whole / 2, whole / 4)
    picked = best_below(supernet, images, ceilings)
    assert picked[whole] == space.largest(), "nothing is nearer to the largest than itself"
    for ceiling, subnet in picked.items():
        assert macs(layers(space, subnet)) / 1e6 <= ceiling
    rng = np.random.default_rng(1)
    below = [space.sample(rng) for _ in range(40)]
    below = [one for one in below if macs(layers(space, one)) / 1e6 <= ceilings[1]][:8]
    ranking = rank(space, supernet.to_arrays(), [picked[ceilings[1]], *below], images)
    assert ranking.divergence[0] <= np.median(ranking.divergence[1:]), "better than most at random"


def test_steps_in_turn_are_timed_each_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = [0.0]
    space = study_space(10)

    def study_run(*given: Any, on_step: Callable[[Progress], None]) -> None:
        steps, choose = given[4], given[6]
        for number in range(steps):
            chosen = choose(space, Step(number, steps, 0))
            spent[0] += sum(macs(layers(space, one)) for one in chosen) / 1e9
            on_step(Progress(number + 1, steps, (), 0.0, 0.0))

    monkeypatch.setattr(scenarios, "study_run", study_run)
    monkeypatch.setattr(time, "process_time", lambda: spent[0])
    study: Any = SimpleNamespace(
        data=SimpleNamespace(labels=np.zeros(10, np.int64)), space=lambda: space, start=dict
    )
    costs = scenarios.step_costs(study, 4, rounds=30)["processor_s"]
    for name, subnet in subnets(space).items():
        if name in costs:
            assert costs[name] == pytest.approx(macs(layers(space, subnet)) / 1e9, abs=1e-4)
    assert costs[SHARED] > costs["largest"] / 4 + costs["smallest"]
    three = sum(costs[name] for name in scenarios.SCENARIOS)
    found = cost_ratios(costs, scenarios.SCENARIOS)
    ratios = {(title, count): ratio for title, count, ratio in found}
    assert ratios["small networks", 3] == pytest.approx(three / costs[SHARED])
    assert ratios["networks of all sizes", 10] > ratios["small networks", 10]


def test_features_of_teachers_count_once() -> None:
    shared = {"features": 100.0, "pretraining": 60.0, "training": 40.0}
    alone = [{"pretraining": 20.0, "training": 10.0}, {"pretraining": 20.0, "training": 30.0}]
    assert ratio_of_ten(shared, alone) == pytest.approx((100 + 10 * 40) / 200)


def test_way_that_is_best_for_a_network_alone_counts() -> None:
    spent = {"pretraining": 1.0, "training": 9.0}
    slow = {"reached": True, "accuracy": 0.8, "processor_s": spent}
    fast = {"reached": True, "accuracy": 0.7, "processor_s": {**spent, "training": 1.0}}
    rows = {"middle leading, x": slow, "middle following, x": fast}
    assert scenarios.best_way(rows, "middle", "x") is fast
    rows["middle following, x"] = {**fast, "reached": False}
    assert scenarios.best_way(rows, "middle", "x") is slow
    rows["middle leading, x"] = {**slow, "reached": False}
    assert scenarios.best_way(rows, "middle", "x") is rows["middle leading, x"], "more accurate"


def test_stored_results_are_drawn(tmp_path: Path) -> None:
    draw(tmp_path / "training.png")
    with Image.open(tmp_path / "training.png") as picture:
        colours = {pixel for _, pixel in picture.convert("RGB").getcolors(2**24) or ()}
    assert {(27, 95, 168), (179, 80, 13)} <= colours, "both lines"
