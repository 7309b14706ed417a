"""What each ingredient of the training is worth: left out, one at a time.

`python -m tofa_edge.benchmarks.ingredients fashion-mnist --work study`, in a folder of
`tofa_edge.benchmarks.transfer`. Everything else stays: start, labels, images, steps, seed. Finished
runs are kept in `study/ingredients.json`.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from tofa_edge.benchmarks.study import Results, Study, read_data, subnets
from tofa_edge.benchmarks.transfer import measured_on_test, study_run
from tofa_edge.space import SearchSpace, Subnet
from tofa_edge.train import loop, objectives
from tofa_edge.train.augment import weak
from tofa_edge.train.data import forget_labels
from tofa_edge.train.pseudo import PseudoLabels

RANDOM_SUBNETS = 3  # a step, where the smallest one is left out of the sandwich
WITHOUT: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing": contextlib.nullcontext,
    "pretraining without labels": contextlib.nullcontext,
    "teachers' features": contextlib.nullcontext,
    "strong views": lambda: _replaced(objectives, "strong", weak),
    "averaged weights": lambda: _replaced(loop, "AVERAGE_DECAY", 0.0),
    "adaptive threshold": lambda: _pseudo_labels(adaptive=False),
    "distribution alignment": lambda: _pseudo_labels(aligned=False),
    "smallest subnet in each step": contextlib.nullcontext,
}


def main() -> None:
    """Runs what is missing of the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--labels", type=int, default=10, help="a class")
    parser.add_argument("--draws", type=int, nargs="*", default=[0])
    parser.add_argument("--pretrain-steps", type=int, default=300)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--without", nargs="*", default=list(WITHOUT), choices=list(WITHOUT))
    options = parser.parse_args()
    results = Results(options.work / "ingredients.json")
    study = Study(read_data(options.images), options.work, options.pretrain_steps, options.steps)
    for draw in options.draws:
        labels = forget_labels(study.data.labels, options.labels, draw)
        for name in options.without:
            of = f"{options.steps} steps, {options.labels} labels a class, draw {draw}"
            results.once(f"without {name}, {of}", partial(_run, study, labels, draw, name))
    for name, row in results.rows.items():
        eight = np.mean([row["accuracy"][subnet] for subnet in row["accuracy"]])
        print(f"{name}: largest {row['accuracy']['largest']:.1%}, mean of eight {eight:.1%}")


def _run(study: Study, labels: NDArray[np.int64], draw: int, without: str) -> dict[str, Any]:
    start = None if without == "pretraining without labels" else study.start()
    looks = () if without == "teachers' features" else study.looks()
    choose = _without_smallest if without == "smallest subnet in each step" else loop.sandwich
    with WITHOUT[without]():
        trained, seconds = study_run(study, start, labels, 2, study.steps, draw, choose, looks)
    measured = measured_on_test(trained, study.data, list(subnets(trained.space)))
    return {"training_s": round(seconds, 1), **measured}


def _without_smallest(space: SearchSpace, rng: np.random.Generator) -> Sequence[Subnet]:
    return [space.largest(), *(space.sample(rng) for _ in range(RANDOM_SUBNETS))]


def _pseudo_labels(**options: Any) -> AbstractContextManager[object]:
    return _replaced(objectives, "PseudoLabels", partial(PseudoLabels, **options))


def _replaced(module: object, name: str, value: object) -> AbstractContextManager[object]:
    return mock.patch.object(module, name, value)


if __name__ == "__main__":
    main()
