"""One training for all devices, or one for each: accuracy and cost over the number of scenarios.

`python -m tofa_edge.benchmarks.scenarios cifar10-jpeg.zip --work study`, after
`tofa_edge.benchmarks.transfer` has pretrained and trained a supernet there. Three subnets are cut
from the same pretrained start and trained alone, with the same labels and steps, by labels only and
by the same semi-supervised loss. Finished runs are kept in `study/scenarios.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.benchmarks.study import Results, Study, read_zip, study_space, subnets
from tofa_edge.benchmarks.transfer import measured_on_test, study_run
from tofa_edge.space import SearchSpace, Subnet
from tofa_edge.train.data import forget_labels

SCENARIOS = ("middle", "random 1", "smallest")
COUNTS = (1, 3, 10)


def main() -> None:
    """Runs what is missing of the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--labels", type=int, default=25, help="a class")
    parser.add_argument("--draws", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=1400)
    options = parser.parse_args()
    results, shared = (
        Results(options.work / "scenarios.json"),
        Results(options.work / "transfer.json"),
    )
    study = Study(read_zip(options.images), options.work, options.pretrain_steps, options.steps)
    for draw in options.draws:
        labels = forget_labels(study.data.labels, options.labels, draw)
        of = f"{options.steps} steps, {options.labels} labels a class, draw {draw}"
        for name in SCENARIOS:
            for ratio, loss in ((2, "semi-supervised"), (0, "labels only")):
                run = partial(_alone, study, labels, ratio, options.steps, draw, name)
                results.once(f"{name} alone, {loss}, {of}", run)
        _print(results, shared.rows.get(f"semi-supervised, {of}"), of)


def _alone(
    study: Study,
    labels: NDArray[np.int64],
    ratio: int,
    steps: int,
    seed: int,
    name: str,
) -> dict[str, Any]:
    subnet = subnets(study_space(len(study.data.classes)))[name]

    def only(space: SearchSpace, rng: np.random.Generator) -> Sequence[Subnet]:
        return [subnet]

    trained, seconds = study_run(study, study.start(), labels, ratio, steps, seed, only)
    return {"training_s": round(seconds, 1), **measured_on_test(trained, study.data, [name])}


def _print(results: Results, shared: dict[str, Any] | None, of: str) -> None:
    if shared is None:
        print("no shared run to compare with: run tofa_edge.benchmarks.transfer first")
        return
    costs = []
    for name in SCENARIOS:
        row = results.rows[f"{name} alone, semi-supervised, {of}"]
        labels_only = results.rows[f"{name} alone, labels only, {of}"]["accuracy"][name]
        costs.append(row["training_s"])
        print(
            f"{name}: shared {shared['accuracy'][name]:.1%}, alone {row['accuracy'][name]:.1%}, "
            f"alone by labels only {labels_only:.1%}"
        )
    mean = float(np.mean(costs))
    for count in COUNTS:
        ratio = count * mean / shared["training_s"]
        print(f"{count} scenarios: alone {count * mean:.0f} s, shared {shared['training_s']:.0f} s "
              f"({ratio:.1f} ×)")  # fmt: skip


if __name__ == "__main__":
    main()
