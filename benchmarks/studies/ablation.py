"""What each ingredient of the training is worth: left out or exchanged, one at a time.

`python -m tofa_edge.benchmarks.studies.ablation fashion-mnist --work study`, in a folder of
`tofa_edge.benchmarks.studies.transfer`. Everything else stays: start, labels, images, steps, seed.
Finished runs are kept in `study/ablation.json`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.benchmarks.studies.command import Row, options
from tofa_edge.benchmarks.studies.training_study import TEACHERS, WORK, Study, read_data, subnets
from tofa_edge.benchmarks.studies.transfer import measured_on_test, study_run
from tofa_edge.train.data.augment import weak
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective import initial_pseudo_labels, losses, objectives
from tofa_edge.train.objective.label_spreading import Neighbours
from tofa_edge.train.objective.pseudo_labels import PseudoLabels
from tofa_edge.train.run import loop

ALPHA_RATIO = 5.0  # at most, of the student's probability to the target, or the other way round
RANDOM_SUBNETS = 3  # a step, where the smallest one is left out of the sandwich
WITHOUT: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing": contextlib.nullcontext,
    "pretraining without labels": contextlib.nullcontext,
    "teachers' features": contextlib.nullcontext,
    "strong views": lambda: mock.patch.object(objectives, "strong", weak),
    "averaged weights": lambda: mock.patch.object(loop, "AVERAGE_DECAY", 0.0),
    "adaptive threshold": lambda: _pseudo_labels(adaptive=False),
    "distribution alignment": lambda: _pseudo_labels(aligned=False),
    "smallest subnet in each step": contextlib.nullcontext,
    "Lite1 among the teachers": contextlib.nullcontext,
    "initial pseudo-labels spread over neighbours": lambda: mock.patch.object(
        initial_pseudo_labels, "spread", _not_spread
    ),
    "Kullback-Leibler but α-divergence": lambda: mock.patch.object(
        losses, "kullback_leibler", alpha_divergence
    ),
}


def main() -> None:
    given = options(
        __doc__, "images", work=WORK, labels=(10, "a class"), draws=[0], pretrain_steps=300,
        steps=400, without={"nargs": "*", "default": list(WITHOUT), "choices": list(WITHOUT)},
    )  # fmt: skip
    study = Study(read_data(given.images), given.work, given.pretrain_steps, given.steps)
    results = study.results("ablation.json")
    for draw in given.draws:
        labels = forget_labels(study.data.labels, given.labels, draw)
        of = f"{given.steps} steps, {given.labels} labels a class, draw {draw}"
        for name in given.without:
            results.once(f"without {name}, {of}", partial(_run, study, labels, draw, name))
    for name, row in results.rows.items():
        eight = np.mean(list(row["accuracy"].values()))
        print(f"{name}: largest {row['accuracy']['largest']:.1%}, mean of eight {eight:.1%}")


def _run(study: Study, labels: IndexArray, draw: int, without: str) -> Row:
    start = None if without == "pretraining without labels" else study.start()
    left_out = "lite1" if without == "Lite1 among the teachers" else None
    outputs = zip(TEACHERS, study.teacher_outputs(), strict=True)
    teachers = [output for name, output in outputs if name != left_out]
    if without == "teachers' features":
        teachers = []
    choose = _without_smallest if without == "smallest subnet in each step" else loop.sandwich
    with WITHOUT[without]():
        trained, row = study_run(study, start, labels, 2, study.steps, draw, choose, teachers)
    return {**row, **measured_on_test(trained, study.data, list(subnets(trained.space)))}


def alpha_divergence(logits: Tensor, taught: Tensor) -> Tensor:
    """Returns the larger of the α-divergences for α of −1 and 1, (N,).

    The former weighs what a student says too surely, the latter (Kullback and Leibler's) what it
    misses; ratios of probabilities are cut at 5, in gradients, too (AlphaNet: Wang et al., ICML
    2021, section 4).

    Args:
        logits: of students, (N, classes).
        taught: probabilities, (N, classes).
    """
    logs, target = logits.log_softmax(dim=1), taught.clamp(min=1e-6)
    student = logs.detach().exp()
    over = (student / target).clamp(max=ALPHA_RATIO)
    under = (target / student.clamp(min=1e-12)).clamp(max=ALPHA_RATIO)
    values = (0.5 * (student * (over - 1)).sum(dim=1), (student * under * under.log()).sum(dim=1))
    slopes = ((student * over * logs).sum(dim=1), -(student * under * logs).sum(dim=1))
    first, second = (
        value + slope - slope.detach() for value, slope in zip(values, slopes, strict=True)
    )
    return torch.where(values[0] > values[1], first, second)


def _not_spread(predicted: Tensor, labels: IndexArray, neighbours: Neighbours) -> Tensor:
    return predicted


def _without_smallest(space: SearchSpace, rng: np.random.Generator) -> Sequence[Subnet]:
    return [space.largest(), *(space.sample(rng) for _ in range(RANDOM_SUBNETS))]


def _pseudo_labels(**options: Any) -> AbstractContextManager[object]:
    return mock.patch.object(objectives, "PseudoLabels", partial(PseudoLabels, **options))


if __name__ == "__main__":
    main()
