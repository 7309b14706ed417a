"""One training for all devices, or one for each: accuracy and cost over the number of scenarios.

`python -m tofa_edge.benchmarks.studies.scenarios cifar10-jpeg.zip --work study` trains a supernet,
and then networks alone, each from the plain Lite0 with a pretraining of its own
(`training_alone.py`): until it is as good as in the supernet but for half a point, asked every 100
steps; and in a third of the supernet's processor time. The teachers' features count once, on both
sides. Steps of every kind are timed in turn. Finished runs are kept in the folder.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.benchmarks.studies.command import Results, Row
from tofa_edge.benchmarks.studies.scenario_costs import COSTS, SHARED, cost_ratios, ratio_of_ten
from tofa_edge.benchmarks.studies.study_runs import RATIO, measured, study_run
from tofa_edge.benchmarks.studies.training_alone import TOLERANCE, WAYS, Alone
from tofa_edge.benchmarks.studies.training_study import NAMED, Study, subnets, training_options
from tofa_edge.train.config import TRAINING, Progress
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.data.steps import Step
from tofa_edge.train.objective.subnets import stratified
from tofa_edge.train.run.loop import Choose

SCENARIOS = ("middle", "even 5", "smallest")  # subnets that are trained alone
THIRD = 1 / 3  # of the supernet's processor time, for each of three
WARM_UP = 2  # rounds of steps


def main() -> None:
    given = training_options(
        __doc__, "images", labels=(25, "a class"), draws=[0, 1], pretrain_steps=1500,
        steps=1200, rounds=(12, "of timed steps"), most=(1200, "steps of a network alone"),
        ways={"nargs": "*", "default": list(WAYS), "choices": list(WAYS)},
    )  # fmt: skip
    study = Study.of(given)
    results = study.results("scenarios.json")
    results.once(COSTS, partial(step_costs, study, given.labels, given.rounds))
    for draw in given.draws:
        of = f"{given.labels} labels a class, draw {draw}"
        labels = forget_labels(study.data.labels, given.labels, draw)
        shared_name = f"{SHARED}, {given.steps} steps, {of}"
        results.once(shared_name, partial(_shared, study, labels, draw))
        shared = results.rows[shared_name]
        for name, way in itertools.product(SCENARIOS, given.ways):
            alone = Alone(study, labels, draw, subnets(study.space())[name], way)
            wanted = shared["accuracy"][name] - TOLERANCE
            steps = (given.pretrain_steps, given.most)
            until = partial(alone.until, wanted, *steps)
            results.once(f"{name} {way}, until as good, {of}", until)
            spent = [THIRD * shared["processor_s"][phase] for phase in ("pretraining", "training")]
            within = partial(alone.within, *spent)
            results.once(f"{name} {way}, a third of the time, {of}", within)
    _print(results, given.draws, f"{given.labels} labels a class", given.steps)


def _shared(study: Study, labels: IndexArray, draw: int) -> Row:
    trained, row = study_run(study, study.start(), labels, RATIO, study.steps, draw)
    seconds = {
        "features": study.teacher_seconds(),
        "pretraining": study.start_seconds(),
        "training": row["training_processor_s"],
    }
    names = dict.fromkeys((*NAMED, *SCENARIOS))
    return {"processor_s": seconds, **measured(trained.supernet, study.data, list(names))}


def _print(results: Results, draws: Sequence[int], labels: str, steps: int) -> None:
    for title, count, times in cost_ratios(results.rows[COSTS]["processor_s"], SCENARIOS):
        print(f"{count} {title}: {times:.1f} × the processor time of a step for all")
    for draw in draws:
        of = f"{labels}, draw {draw}"
        shared = results.rows[f"{SHARED}, {steps} steps, {of}"]
        ends = [best_way(results.rows, name, f"until as good, {of}") for name in SCENARIOS]
        ratio = ratio_of_ten(shared["processor_s"], [end["processor_s"] for end in ends])
        least = "" if all(end["reached"] for end in ends) else "at least "
        print(f"draw {draw}: ten alone take {least}{ratio:.1f} × one training for all")
        for name in SCENARIOS:
            third = best_way(results.rows, name, f"a third of the time, {of}")
            gain = 100 * (shared["accuracy"][name] - third["accuracy"])
            print(f"draw {draw}, {name}: shared minus alone in a third of the time {gain:+.1f}")


def best_way(rows: Mapping[str, Row], name: str, of: str) -> Row:
    """Returns the row of a network alone, in the way that is best for it.

    That reaches the accuracy in the least time; else the most accurate one.
    """
    found = [rows[f"{name} {way}, {of}"] for way in WAYS if f"{name} {way}, {of}" in rows]
    reached = [row for row in found if row.get("reached")]
    if reached:
        return min(reached, key=lambda row: float(sum(row["processor_s"].values())))
    return max(found, key=lambda row: float(row["accuracy"]))


def only(subnet: Subnet) -> Choose:
    """Returns how to choose one subnet in every step."""
    return lambda space, step: [subnet]


def step_costs(study: Study, count: int, rounds: int) -> Row:
    """Returns the median processor seconds of a step that trains all, and one subnet, in turn.

    A step for all is the mean of four: in each fourth, the largest learns, too.
    """
    named = {name: subnets(study.space())[name] for name in dict.fromkeys((*NAMED, *SCENARIOS))}
    ways: list[tuple[str, Choose]] = [(SHARED, stratified)] * 4
    ways += [(name, only(subnet)) for name, subnet in named.items()]
    times: list[float] = []

    def choose(space: SearchSpace, step: Step) -> Sequence[Subnet]:
        place = step.number % len(ways)
        number = step.number // 4 * 4 + min(place, 3)  # the first of a round has the largest, too
        return ways[place][1](space, Step(number, step.of, step.seed))

    def on_step(progress: Progress) -> None:
        if progress.phase == TRAINING:
            times.append(time.process_time())

    labels = forget_labels(study.data.labels, count, 0)
    steps = (WARM_UP + rounds) * len(ways) + 1  # the first one's beginning is not timed
    study_run(study, study.start(), labels, RATIO, steps, 0, choose, on_step=on_step)
    seconds = np.roll(np.diff(times).reshape(-1, len(ways))[WARM_UP:], 1, axis=1)
    medians = np.median(seconds, axis=0)
    figures = {SHARED: float(medians[:4].mean())}
    figures |= {name: float(each) for (name, _), each in zip(ways[4:], medians[4:], strict=True)}
    return {"processor_s": {name: round(each, 4) for name, each in figures.items()}}


if __name__ == "__main__":
    main()
