"""What each ingredient of the training is worth: left out or exchanged, one at a time.

`python -m tofa_edge.benchmarks.studies.ingredients fashion-mnist --work study`, in a folder of
`tofa_edge.benchmarks.studies.transfer`. Everything else stays: start, labels, images, steps, seed.
Finished runs are kept in `study/ingredients.json`.
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
import torch
from torch import Tensor

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.benchmarks.studies.study import TEACHERS, Results, Study, read_data, subnets
from tofa_edge.benchmarks.studies.transfer import measured_on_test, study_run
from tofa_edge.train.data.augment import weak
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective import initial_pseudo_labels, losses, objectives
from tofa_edge.train.objective.linear_probe import Probe
from tofa_edge.train.objective.pseudo_labels import PseudoLabels
from tofa_edge.train.run import loop

ALPHA_RATIO = 5.0  # at most, of the student's probability to the target, or the other way round
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
    "Lite1 among the teachers": contextlib.nullcontext,
    "first targets spread over neighbours": lambda: _replaced(
        initial_pseudo_labels, "spread", _said
    ),
    "Kullback-Leibler but α-divergence": lambda: _replaced(
        losses, "kullback_leibler", alpha_divergence
    ),
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


def _run(study: Study, labels: IndexArray, draw: int, without: str) -> dict[str, Any]:
    start = None if without == "pretraining without labels" else study.start()
    teacher_outputs = () if without == "teachers' features" else study.teacher_outputs()
    if without == "Lite1 among the teachers":
        teacher_outputs = tuple(
            look for name, look in zip(TEACHERS, teacher_outputs, strict=True) if name != "lite1"
        )
    choose = _without_smallest if without == "smallest subnet in each step" else loop.sandwich
    with WITHOUT[without]():
        trained, seconds = study_run(
            study, start, labels, 2, study.steps, draw, choose, teacher_outputs
        )
    measured = measured_on_test(trained, study.data, list(subnets(trained.space)))
    return {"training_s": round(seconds, 1), **measured}


def alpha_divergence(logits: Tensor, taught: Tensor) -> Tensor:
    """Returns the larger of the α-divergences for α of −1 and 1, (N,).

    The former weighs what a student says too surely, the latter (Kullback and Leibler's) what it
    misses; ratios of probabilities are cut at 5, in gradients, too (AlphaNet: Wang et al., ICML
    2021, section 4).

    Args:
        logits: of students, (N, classes).
        taught: probabilities, (N, classes).
    """
    log_said, target = logits.log_softmax(dim=1), taught.clamp(min=1e-6)
    said = log_said.detach().exp()
    over = (said / target).clamp(max=ALPHA_RATIO)
    under = (target / said.clamp(min=1e-12)).clamp(max=ALPHA_RATIO)
    values = (0.5 * (said * (over - 1)).sum(dim=1), (said * under * under.log()).sum(dim=1))
    slopes = ((said * over * log_said).sum(dim=1), -(said * under * log_said).sum(dim=1))
    first, second = (
        value + slope - slope.detach() for value, slope in zip(values, slopes, strict=True)
    )
    return torch.where(values[0] > values[1], first, second)


def _said(probe: Probe, seen: Tensor, labels: IndexArray) -> Tensor:
    return probe.probabilities(seen)


def _without_smallest(space: SearchSpace, rng: np.random.Generator) -> Sequence[Subnet]:
    return [space.largest(), *(space.sample(rng) for _ in range(RANDOM_SUBNETS))]


def _pseudo_labels(**options: Any) -> AbstractContextManager[object]:
    return _replaced(objectives, "PseudoLabels", partial(PseudoLabels, **options))


def _replaced(module: object, name: str, value: object) -> AbstractContextManager[object]:
    return mock.patch.object(module, name, value)


if __name__ == "__main__":
    main()
