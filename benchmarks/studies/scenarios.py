"""One training for all devices, or one for each: accuracy and cost over the number of scenarios.

`python -m tofa_edge.benchmarks.studies.scenarios cifar10-jpeg.zip --work study`, after
`tofa_edge.benchmarks.studies.transfer` has pretrained and trained a supernet there. Three subnets
are cut from the same pretrained start and trained alone, with the same labels and steps, by labels
only and by the same semi-supervised loss; the middle one once more for as many steps as three
scenarios may take where they cost as much together as one training for all. Steps of every kind are
timed in turn. Finished runs are kept in `study/scenarios.json`.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.benchmarks.studies.scenario_costs import (
    COSTS,
    SCENARIOS,
    SHARED,
    cost_ratios,
    equal_compute_steps,
)
from tofa_edge.benchmarks.studies.training_study import (
    Results,
    Study,
    read_zip,
    study_space,
    subnets,
)
from tofa_edge.benchmarks.studies.transfer import measured_on_test, study_run
from tofa_edge.train.config import Progress
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.run.loop import Choose, sandwich

WARM_UP = 2  # rounds of steps


def main() -> None:
    """Runs what is missing of the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--labels", type=int, default=25, help="a class")
    parser.add_argument("--draws", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--rounds", type=int, default=12, help="of timed steps")
    options = parser.parse_args()
    results, shared = (
        Results(options.work / "scenarios.json"),
        Results(options.work / "transfer.json"),
    )
    study = Study(read_zip(options.images), options.work, options.pretrain_steps, options.steps)
    results.once(COSTS, partial(_step_costs, study, options.labels, options.rounds))
    costs = results.rows[COSTS]["processor_s"]
    longer = equal_compute_steps(costs, options.steps)
    for draw in options.draws:
        labels = forget_labels(study.data.labels, options.labels, draw)
        of = f"{options.labels} labels a class, draw {draw}"
        kinds = ((2, "semi-supervised", options.steps), (0, "labels only", options.steps))
        runs = [(name, *kind) for name in SCENARIOS for kind in kinds]
        runs.append((SCENARIOS[0], 2, "semi-supervised", longer))
        for name, ratio, loss, steps in runs:
            run = partial(_alone, study, labels, ratio, steps, draw, name)
            results.once(f"{name} alone, {loss}, {steps} steps, {of}", run)
        _print(results, shared.rows, options.steps, longer, of)
    for title, count, times in cost_ratios(costs):
        print(f"{count} {title}: {times:.1f} × the processor time of training all")


def _alone(
    study: Study,
    labels: IndexArray,
    ratio: int,
    steps: int,
    seed: int,
    name: str,
) -> dict[str, Any]:
    subnet = subnets(study_space(len(study.data.classes)))[name]
    only = _only(subnet)
    trained, seconds = study_run(study, study.start(), labels, ratio, steps, seed, only)
    return {"training_s": round(seconds, 1), **measured_on_test(trained, study.data, [name])}


def _only(subnet: Subnet) -> Choose:
    def only(space: SearchSpace, rng: np.random.Generator) -> Sequence[Subnet]:
        return [subnet]

    return only


def _step_costs(study: Study, count: int, rounds: int) -> dict[str, Any]:
    """Returns the median processor seconds of a step that trains all, and one subnet, in turn."""
    named = subnets(study_space(len(study.data.classes)))
    ways = {SHARED: sandwich, **{name: _only(subnet) for name, subnet in named.items()}}
    turn = itertools.cycle(ways.values())
    times: list[float] = []

    def choose(space: SearchSpace, rng: np.random.Generator) -> Sequence[Subnet]:
        return next(turn)(space, rng)

    def on_step(progress: Progress) -> None:
        times.append(time.process_time())

    labels = forget_labels(study.data.labels, count, 0)
    steps = (WARM_UP + rounds) * len(ways) + 1  # the first one's beginning is not seen
    study_run(study, study.start(), labels, 2, steps, 0, choose, on_step=on_step)
    took = np.roll(np.diff(times).reshape(-1, len(ways))[WARM_UP:], 1, axis=1)
    middle = np.median(took, axis=0)
    return {"processor_s": {name: round(float(s), 4) for name, s in zip(ways, middle, strict=True)}}


def _print(
    results: Results, shared: dict[str, dict[str, Any]], steps: int, longer: int, of: str
) -> None:
    for name, run in results.rows.items():
        if name.endswith(of):
            print(f"{name}: {next(iter(run['accuracy'].values())):.1%}")
    together = shared.get(f"semi-supervised, {steps} steps, {of}")
    if together is None:
        print("no shared run to compare with: run tofa_edge.benchmarks.studies.transfer first")
        return
    for name in SCENARIOS:
        print(f"{name} in the supernet, {steps} steps, {of}: {together['accuracy'][name]:.1%}")
    print(f"({longer} steps alone: as much as the supernet for three scenarios)")


if __name__ == "__main__":
    main()
