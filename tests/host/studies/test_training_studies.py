"""The studies of training run, on small images and for a few steps, and what they compute."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tofa_edge.architecture.encodings import decoded
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.sampling import sample
from tofa_edge.benchmarks.studies import (
    choice_regret,
    fixed_network,
    scenarios,
    study_data,
    study_runs,
    training_protocol,
    training_study,
    transfer,
)
from tofa_edge.benchmarks.studies.command import bootstrap_interval, hierarchical_interval
from tofa_edge.benchmarks.studies.fixed_peer import at_sizes
from tofa_edge.benchmarks.studies.sandwich_step import SandwichTraining, sandwich
from tofa_edge.benchmarks.studies.study_data import DEVELOPMENT, TEST, Data, read_data
from tofa_edge.benchmarks.studies.study_runs import best_on_other_half, steps_within
from tofa_edge.benchmarks.studies.training_alone import space_of_one
from tofa_edge.benchmarks.studies.training_arms import ARMS, AS_IT_IS, space_of_04
from tofa_edge.benchmarks.studies.training_study import (
    Study,
    study_space,
    study_supernet,
    subnets,
)
from tofa_edge.network.slicing import cut
from tofa_edge.train.data.steps import Step
from tofa_edge.train.supernet.supernet import Supernet

SIZE = 48


def small_data(source: Path, resolution: int = SIZE, tested_on: str = TEST) -> Data:
    """Two classes that differ in colour."""
    labels = np.arange(72) % 2
    images = np.random.default_rng(0).integers(0, 200, (72, resolution, resolution, 3))
    images[labels == 1, :, :, 0] += 50
    pixels, known = images.astype(np.uint8), labels.astype(np.int64)
    parts = [(pixels[part], known[part]) for part in np.split(np.arange(72), (40, 56))]
    return Data(("a", "b"), *parts[0], *parts[1], parts[2], tested_on)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, work: Path) -> Callable[..., None]:
    """Runs a study's command on small data, after as few steps as can be."""
    monkeypatch.setattr(training_study, "read_data", small_data)
    monkeypatch.setattr(study_runs, "PILOTS", (1, 2))

    def main(study: object, *words: object) -> None:
        given = ["study", "x.zip", "--work", work, "--resolution", SIZE, *words]
        monkeypatch.setattr(sys, "argv", [str(word) for word in given])
        study.main()  # type: ignore[attr-defined]

    return main


def test_arms_are_compared_at_equal_time(
    run: Callable[..., None], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = work / "out.json"
    words = ["--higher", SIZE, "--labels", 4, "--draws", 0, "--candidates", 2, "--out", out]
    seconds = ["--seconds", 0.1, "--seconds-pretrain", 0.1]
    run(training_protocol, *words, *seconds, "--arms", AS_IT_IS, "all of 0.4")
    found = json.loads(out.read_text())
    assert found["setting"]["tested_on"] == DEVELOPMENT
    row = found["runs"][f"{AS_IT_IS}, draw 0"]
    assert set(row["accuracy"]) >= {"largest", "even 8", "≤ 32 MMACs", "mean of even ones"}
    assert set(row["probes"]) == {"largest", "middle", "smallest"}
    mean = np.mean([row["accuracy"][name] for name in training_study.EVEN])
    assert row["accuracy"]["mean of even ones"] == pytest.approx(mean)
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("all of 0.4 |"))
    old = found["runs"]["all of 0.4, draw 0"]["accuracy"]["mean of even ones"]
    assert line.endswith(f"{100 * (old - mean):+.1f}")


def test_networks_are_trained_alone(
    run: Callable[..., None],
    work: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scenarios, "SCENARIOS", ("smallest",))
    monkeypatch.setattr(scenarios, "WARM_UP", 0)
    words = ["--labels", 4, "--draws", 0, "--pretrain-steps", 1, "--steps", 2, "--rounds", 1]
    run(scenarios, *words, "--most", 1)
    rows = json.loads((work / "scenarios_development.json").read_text())["runs"]
    shared = rows["shared, 2 steps, 4 labels a class, draw 0"]
    alone = rows["smallest leading, until as good, 4 labels a class, draw 0"]
    assert alone["wanted"] == pytest.approx(shared["accuracy"]["smallest"] - 0.005)
    assert alone["reached"] == (alone["accuracy"] >= alone["wanted"])
    assert "ten alone take" in capsys.readouterr().out


def test_labels_alone_are_given_frozen_features(run: Callable[..., None], work: Path) -> None:
    words = ["--labels", 4, "--draws", 0, "--pretrain-steps", 1, "--steps", 1, "--named-only"]
    run(transfer, *words, "--kinds", "labels only", "--test")
    found = json.loads((work / "transfer.json").read_text())
    assert found["tested_on"] == TEST
    frozen = found["runs"]["labels only, frozen features, 4 labels a class, draw 0"]["accuracy"]
    assert set(frozen) == {*subnets(study_space(2, SIZE)), "mean of even ones"}
    assert frozen["largest"] > 0.5, "colours are told apart"


@pytest.mark.quiet
def test_what_is_chosen_is_held_against_many(
    run: Callable[..., None], work: Path, monkeypatch: pytest.MonkeyPatch, known_engines: None,
    tiny_bundle: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr(choice_regret, "BLOCKS", 2)
    monkeypatch.setattr(choice_regret, "QUANTILES", (1.0,))  # of networks that take no time
    out = work / "regret.json"
    words = ["--subnets", 4, "--engine", "onnxruntime", "--out", out]
    monkeypatch.setattr(Study, "of", lambda given: Study(small_data(given), given))
    monkeypatch.setattr(sys, "argv", ["study", str(tiny_bundle), "x.zip", *map(str, words)])
    choice_regret.main()
    (row,) = json.loads(out.read_text())["budgets"]
    assert row["compared"] == 4
    assert 0 <= row["chosen_accuracy"] <= 1


def test_regret_is_what_the_best_by_the_other_half_is_better_by() -> None:
    right = np.zeros((3, 8), bool)
    right[0, ::2] = True  # by the first half the best, and of no use on the second
    right[1, 1::2] = True
    right[2, :6] = True
    assert choice_regret.regret(right, np.zeros(8, bool))["regret"] == 0.0
    assert choice_regret.regret(right[2:], right[2])["regret"] == 0.0
    assert choice_regret.regret(right[2:], np.zeros(8, bool))["regret"] == 0.75


@pytest.mark.quiet
def test_fixed_network_is_met_at_its_latency(
    run: Callable[..., None], work: Path, monkeypatch: pytest.MonkeyPatch, known_engines: None
) -> None:
    monkeypatch.setattr(fixed_network, "BLOCKS", 3)
    out = work / "fixed.json"
    words = ["--labels", 4, "--draws", 0, "--seeds", 0, "--pretrain-steps", 1, "--steps", 1]
    words += ["--predictor-subnets", 0, "--engine", "onnxruntime", "--sizes", 32, 48]
    run(fixed_network, *words, "--out", out)
    found = json.loads(out.read_text())
    assert [budget["fixed_px"] for budget in found["budgets"]] == [32, 48]
    (repetition,) = found["runs"]
    for budget, row in zip(found["budgets"], repetition["rows"], strict=True):
        assert budget["fixed_accuracy"] == pytest.approx(row["accuracy"][0], abs=1e-3)
        assert budget["result"] in ("won", "tie", "lost")
    with pytest.raises(SystemExit, match="images have 48 px, the peer wants 64"):
        run(fixed_network, *words, "--sizes", 64)


def test_equal_networks_tie() -> None:
    fixed, chosen = np.zeros((3, 1, 200), bool), np.ones((3, 1, 200), bool)
    runs = [{"rows": [{"equal": equal}]} for equal in (False, True, False)]
    (won,) = fixed_network.summary([64], runs, fixed, chosen)
    assert (won["result"], won["gain"], won["equal_networks"]) == ("won", 1.0, 1)
    (lost,) = fixed_network.summary([64], runs, chosen, fixed)
    assert lost["result"] == "lost"
    runs[0]["rows"][0]["equal"] = True
    assert fixed_network.summary([64], runs, fixed, chosen)[0]["result"] == "tie"


def test_interval_over_runs_and_images_is_wider_than_over_images() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (4, 2000))
    alike = hierarchical_interval(noise[:1])
    assert alike == pytest.approx(bootstrap_interval(noise[0]), abs=0.01)
    runs = noise + np.array([-1.0, 0.0, 0.5, 1.0])[:, None]
    low, high = hierarchical_interval(runs)
    assert low < runs.mean() < high
    assert high - low > 10 * (alike[1] - alike[0])


def test_best_is_chosen_by_the_other_half() -> None:
    right = np.zeros((3, 8), bool)
    right[0, :6:2] = True  # most of the first half, none of the other
    right[1, 1:7:2] = True
    right[2] = True
    found = best_on_other_half(right, [5.0, 5.0, 40.0], {"≤ 7": 7, "≤ 50": 50, "≤ 1": 1})
    assert found == {"≤ 7": 0.0, "≤ 50": 1.0}


def test_steps_that_take_a_time_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])

    def train(steps: int) -> None:
        now[0] += 30 + 0.5 * steps

    assert steps_within(100, train) == 140


def test_sets_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_data, "POOL", 20)
    monkeypatch.setattr(study_data, "DEVELOPMENT_IMAGES", 10)
    monkeypatch.setattr(study_data, "VALIDATED", 5)
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for role, first, count in (("train", 0, 40), ("test", 40, 8)):
            for number in range(first, first + count):
                content = io.BytesIO()
                Image.new("RGB", (8, 8), (5 * number, 0, 0)).save(content, "jpeg")
                archive.writestr(f"x/{role}/{'ab'[number % 2]}/{number}.jpg", content.getvalue())
    developed, tested = (read_data(path, 16, on) for on in (DEVELOPMENT, TEST))
    np.testing.assert_array_equal(developed.images, tested.images)
    parts = [developed.images, developed.test_images, developed.validation[0], tested.test_images]
    assert [len(part) for part in parts] == [20, 10, 5, 8]
    reds = [set(part[:, 8, 8, 0].tolist()) for part in parts]
    assert len(set.union(*reds)) == sum(map(len, reds)), "each image is in one set"
    assert developed.at(8).validation[0].shape == (5, 8, 8, 3)


def test_space_of_one_computes_what_the_subnet_does() -> None:
    space = study_space(10, SIZE)
    one = space_of_one(space, space.middle())
    assert one.count() == 1
    assert one.largest() == space.middle()
    whole = study_supernet(space)
    alone = Supernet(one, whole.preprocessing)
    alone.load_arrays(cut(layers(one, one.largest()), whole.to_arrays()))
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE)).float()
    with torch.no_grad():
        torch.testing.assert_close(alone(pixels, one.largest()), whole(pixels, space.middle()))
    mixed = space.sample(np.random.default_rng(0))
    assert any(len(set(stage.blocks)) > 1 for stage in mixed.stages)
    with pytest.raises(ValueError, match="wanted equal blocks in each stage"):
        space_of_one(space, mixed)


def test_peer_is_the_whole_network_at_its_sizes() -> None:
    space = study_space(10, 64)
    peer = at_sizes(space, (32, 40, 64))
    assert peer.count() == 3
    assert peer.largest() == space.largest()


def test_arms_of_04_are_those_of_04() -> None:
    old = ARMS["all of 0.4"]
    space = old.space(1000, 224)
    assert f"{space.count():.1e}" == "1.4e+14"
    assert space.resolutions[:3] == (48, 64, 80)
    orders = [ARMS[name].plain() for name in (AS_IT_IS, "all of 0.4")]
    assert any((orders[0][name] != orders[1][name]).any() for name in orders[0])
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE)).float()
    found = []
    for arrays in orders:
        supernet = study_supernet(space_of_04(1000, SIZE))
        supernet.load_arrays(arrays)
        with torch.no_grad():
            found += supernet(pixels, supernet.space.largest(), statistics="stored")
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_sandwich_step_is_supervised_for_the_largest_and_distilled_for_the_others() -> None:
    data = small_data(Path())
    space = study_space(2, SIZE)
    labels = np.where(np.arange(len(data.labels)) < 8, data.labels, -1)
    probe, prior = torch.full((len(labels), 2), 0.5), torch.tensor([0.5, 0.5])
    objective = SandwichTraining(data.images, labels, 2, 8, 8, probe, prior)
    supernet = study_supernet(space)
    step = Step(3, 10, 0)
    chosen = sandwich(space, step)
    assert chosen[:2] == [space.largest(), space.smallest()]
    losses = list(objective.losses(step, supernet, supernet, chosen))
    assert len(losses) == 4
    assert float(losses[0].detach()) > 0.3, "as sure as two classes let a new classifier be"
    assert all(float(loss.detach()) >= -1e-5 for loss in losses[1:])
    everywhere = torch.eye(2)[torch.zeros(len(labels), dtype=torch.int64)]
    objective.probe = everywhere
    targets, _ = objective._targets(Step(0, 10, 0), supernet, space.largest(), np.arange(8))
    torch.testing.assert_close(targets, everywhere[:8]), "only initial ones teach at first"


def test_even_subnets_are_of_all_sizes() -> None:
    space = study_space(10)
    found = subnets(space)
    expected = decoded(space, sample(space, np.random.default_rng(7), 8))
    assert [found[name] for name in training_study.EVEN] == expected
