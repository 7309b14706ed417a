"""One training for all devices, or one for each: accuracy and cost over the number of scenarios.

`python -m tofa_edge.benchmarks.studies.scenarios cifar10-jpeg.zip --work study`, after
`tofa_edge.benchmarks.studies.transfer` has pretrained and trained a supernet there. Three subnets
are cut from the same pretrained start and trained alone, with the same labels and steps, by labels
only and by the same semi-supervised loss; the middle one once more for as many steps as three
scenarios may take where they cost as much together as one training for all. Steps of every kind are
timed in turn. Finished runs are kept in `study/scenarios.json`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.benchmarks.studies.command import Row, options
from tofa_edge.benchmarks.studies.scenario_costs import (
    COSTS,
    SCENARIOS,
    SHARED,
    cost_ratios,
    equal_compute_steps,
)
from tofa_edge.benchmarks.studies.training_study import WORK, Study, read_zip, subnets
from tofa_edge.benchmarks.studies.transfer import measured_on_test, study_run
from tofa_edge.train.config import Progress
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.run.loop import Choose, sandwich

WARM_UP = 2  # rounds of steps


def main() -> None:
    given = options(
        __doc__, "images", work=WORK, labels=(25, "a class"), draws=[0, 1], pretrain_steps=1500,
        steps=1400, rounds=(12, "of timed steps"),
    )  # fmt: skip
    study = Study(read_zip(given.images), given.work, given.pretrain_steps, given.steps)
    shared = study.results("transfer.json")
    results = study.results("scenarios.json")
    results.once(COSTS, partial(_step_costs, study, given.labels, given.rounds))
    costs = results.rows[COSTS]["processor_s"]
    longer = equal_compute_steps(costs, given.steps)
    for draw in given.draws:
        labels = forget_labels(study.data.labels, given.labels, draw)
        of = f"{given.labels} labels a class, draw {draw}"
        kinds = ((2, "semi-supervised", given.steps), (0, "labels only", given.steps))
        runs = [(name, *kind) for name in SCENARIOS for kind in kinds]
        runs.append((SCENARIOS[0], 2, "semi-supervised", longer))
        for name, ratio, loss, steps in runs:
            run = partial(_alone, study, labels, ratio, steps, draw, name)
            results.once(f"{name} alone, {loss}, {steps} steps, {of}", run)
        results.print_accuracies(SCENARIOS, of)
        shared.print_accuracies(SCENARIOS, f"semi-supervised, {given.steps} steps, {of}")
    print(f"({longer} steps alone: as much as the supernet for three scenarios)")
    for title, count, times in cost_ratios(costs):
        print(f"{count} {title}: {times:.1f} × the processor time of training all")


def _alone(study: Study, labels: IndexArray, ratio: int, steps: int, seed: int, name: str) -> Row:
    only = _only(subnets(study.data.space())[name])
    trained, row = study_run(study, study.start(), labels, ratio, steps, seed, only)
    return {**row, **measured_on_test(trained, study.data, [name])}


def _only(subnet: Subnet) -> Choose:
    return lambda space, rng: [subnet]


def _step_costs(study: Study, count: int, rounds: int) -> Row:
    """Returns the median processor seconds of a step that trains all, and one subnet, in turn."""
    named = subnets(study.data.space())
    ways = {SHARED: sandwich, **{name: _only(subnet) for name, subnet in named.items()}}
    turn = itertools.cycle(ways.values())
    times: list[float] = []

    def choose(space: SearchSpace, rng: np.random.Generator) -> Sequence[Subnet]:
        return next(turn)(space, rng)

    def on_step(progress: Progress) -> None:
        times.append(time.process_time())

    labels = forget_labels(study.data.labels, count, 0)
    steps = (WARM_UP + rounds) * len(ways) + 1  # the first one's beginning is not timed
    study_run(study, study.start(), labels, 2, steps, 0, choose, on_step=on_step)
    seconds = np.roll(np.diff(times).reshape(-1, len(ways))[WARM_UP:], 1, axis=1)
    medians = np.median(seconds, axis=0).tolist()
    return {"processor_s": {name: round(s, 4) for name, s in zip(ways, medians, strict=True)}}


if __name__ == "__main__":
    main()
