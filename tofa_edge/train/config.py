"""How to train, how it goes, and what came of it: plain values."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tofa_edge.errors import TrainingError

PRETRAINED = ("lite0", "lite1", "lite2")
LEARNING_RATE = 1e-3  # the peak, of training and of the studies
PROBE_EVERY = 500  # steps of pretraining between two linear probes
DEVICES = ("auto", "cpu", "cuda")
MOST_PHOTOS = 19_990  # that a bundle's archive has room for, beside its other members
STARTS = (*PRETRAINED, "tiny")
LEAST = {
    "epochs": 0, "pretrain_epochs": 0, "quantisation_aware_epochs": 0, "labels_per_class": 1,
    "resolution": 1, "batch_size": 2, "unlabelled_ratio": 0, "seed": 0, "calibration_photos": 0,
    "check_photos": 0, "predictor_subnets": 0,
}  # fmt: skip
LEAST_SUBNETS = 20  # that an accuracy predictor is fitted to

# The phases of a training, in their order; `teacher_features(name)` comes once for each teacher.
READING, PSEUDO_LABELS = "reading photos", "initial pseudo-labels"
PRETRAINING, TRAINING = "pretraining", "training"
QUANTISATION_AWARE = "quantisation-aware training"
EVALUATION, TESTING = "evaluation", "testing subnets"
INTEGER_DROP, PACKING = "accuracy drop in integers", "packing"
PREDICTOR = "accuracy predictor"
FINALISTS, READY_MADE = "testing finalists", "statistics of finalists"


def teacher_features(name: str) -> str:
    """Returns the phase in which the teacher called `name` computes features of all photos."""
    return f"teacher features ({name})"


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train. The help of the command's options is read from here.

    Attributes:
        start: lite0, lite1 or lite2 (pretrained), a bundle (*.tofa; its weights), or tiny (random
            weights).
        pretrained: File with the weights of a once-for-all MobileNetV3 to start from instead.
        epochs: Passes over the training photos; 0 bundles the pretrained network as it is.
        pretrain_epochs: Passes over the photos before that, without labels, that make every subnet
            like the pretrained network; for lite0, lite1 and lite2.
        quantisation_aware_epochs: Passes at the end in which all subnets compute with weights and
            values rounded as in int8: only worth it where int8 was seen to lose accuracy without,
            which lite0 hardly does; 0: none.
        labels_per_class: Labels to use; the other photos count as unlabelled.
        resolution: Largest input size in pixels; the smaller ones of the space are trained too.
        batch_size: Labelled photos a step.
        unlabelled_ratio: Unlabelled photos for each labelled one; 0 trains on labels alone.
        flips: Whether photos are flipped left to right at random: not for digits, signs, or left
            and right parts.
        teachers: Pretrained networks (of lite0, lite1, lite2) whose features of every photo give
            the initial pseudo-labels; '' for none: then the supernet's own features do. In
            pretraining by steps, whose features and logits of every crop are learned.
        learning_rate: Peak of AdamW's cosine schedule.
        seed: Decides split, order, augmentation, subnets and new weights: same seed, same bundle.
        calibration_photos: Unlabelled training photos the bundle carries, at most; 0: frames at
            deployment.
        check_photos: Labelled photos, kept out of training, the bundle carries, at most.
        predictor_subnets: Subnets to test for the accuracy predictor, which then proposes as many
            finalists, 60 at most; 0 ships neither.
        half_precision: Store 16-bit weights.
        device: auto, cpu or cuda (in bfloat16 where that is safe).

    Raises:
        TrainingError: on construction, when a value is out of range or two contradict each other.
    """

    start: str = "lite0"
    pretrained: str | None = None
    epochs: float = 12
    pretrain_epochs: float = 16
    quantisation_aware_epochs: float = 0
    labels_per_class: int | None = None
    resolution: int = 128
    batch_size: int = 32
    unlabelled_ratio: int = 2
    flips: bool = True
    teachers: tuple[str, ...] = PRETRAINED
    learning_rate: float = LEARNING_RATE
    seed: int = 0
    calibration_photos: int = 256
    check_photos: int = 64
    predictor_subnets: int = 80
    half_precision: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.start not in STARTS and not self.start.endswith(".tofa"):
            raise TrainingError(
                f"no start {self.start!r}; there are {', '.join(STARTS)} and bundles (*.tofa)"
            )
        choices = [("device", self.device, DEVICES)]
        choices += [("teacher", teacher, PRETRAINED) for teacher in self.teachers]
        for kind, value, known in choices:
            if value not in known:
                raise TrainingError(f"no {kind} {value!r}; there are {', '.join(known)}")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise TrainingError(f"{name} must be a number of {least} or more, got {value}")
        if not 0 < self.learning_rate < 1:
            raise TrainingError(f"learning_rate must be in 0..1, got {self.learning_rate}")
        self._check_contradictions()

    def _check_contradictions(self) -> None:
        if self.pretrained is not None and self.start.endswith(".tofa"):
            raise TrainingError(
                f"wanted one start, got the weights {self.pretrained} (--pretrained) and the "
                f"bundle {self.start} (--from): give one of them"
            )
        if self.quantisation_aware_epochs and not self.epochs:
            raise TrainingError(
                "quantisation-aware epochs end a training; with 0 epochs there is none"
            )
        if self.calibration_photos + self.check_photos > MOST_PHOTOS:
            raise TrainingError(
                f"a bundle carries at most {MOST_PHOTOS} photos, wanted {self.calibration_photos} "
                f"for calibration and {self.check_photos} to check"
            )
        if 0 < self.predictor_subnets < LEAST_SUBNETS:
            raise TrainingError(
                f"an accuracy predictor wants {LEAST_SUBNETS} subnets or more, got "
                f"{self.predictor_subnets}"
            )

    @property
    def is_plain(self) -> bool:
        """Whether it starts from a network that never was a supernet."""
        return self.pretrained is None and self.start in PRETRAINED

    @property
    def starts_from_nothing(self) -> bool:
        """Whether it starts from random weights."""
        return self.pretrained is None and self.start == "tiny"

    def teachers_to_run(self, has_unlabelled: bool) -> tuple[str, ...]:
        """Returns the networks whose features are computed before training.

        Unless photos want pseudo-labels (`has_unlabelled`), only that of pretraining.
        """
        names = self.teachers if has_unlabelled and not self.starts_from_nothing else ()
        plain = (self.start,) if self.is_plain and self.pretrain_epochs else ()
        return tuple(dict.fromkeys((*plain, *names)))


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a phase.

    Attributes:
        step: from 1.
        steps: in all.
        losses: of a smaller subnet, of a larger one and, in some steps, of the largest; empty where
            no optimiser steps.
        seconds: since the phase began.
        images_per_second: since then; steps a second where a step is no image.
        phase: its name, such as "training" or "testing subnets".
        metrics: other figures of the step, such as the rate of trusted pseudo-labels.
        seconds_left: of this phase and all after it, estimated; None where nobody estimates.
    """

    step: int
    steps: int
    losses: tuple[float, ...]
    seconds: float
    images_per_second: float
    phase: str = TRAINING
    metrics: dict[str, float] = field(default_factory=dict)
    seconds_left: float | None = None


OnStep = Callable[[Progress], None]
Item = TypeVar("Item")


def silent(progress: Progress) -> None:
    """Ignores `progress`: the default of functions that report it."""


def counter(phase: str, steps: int, on_step: OnStep, images: float = 1) -> Callable[[], None]:
    """Returns what to call after each of the `steps` of a `phase` without losses.

    It calls `on_step` with the progress; a step is so many `images`.
    """
    begun, numbers = time.perf_counter(), itertools.count(1)

    def count() -> None:
        number, seconds = next(numbers), max(time.perf_counter() - begun, 1e-9)
        on_step(Progress(number, steps, (), seconds, images * number / seconds, phase))

    return count


def counted(
    phase: str, items: Sequence[Item], on_step: OnStep, images: float = 1
) -> Iterator[Item]:
    """Yields `items`; each is a step of a `phase`, of so many `images`, reported to `on_step`."""
    count = counter(phase, len(items), on_step, images)
    for item in items:
        yield item
        count()


@dataclass(frozen=True, slots=True)
class Report:
    """What training made.

    Attributes:
        bundle: the file.
        accuracies: "smallest", "middle" and "largest" → accuracy on validation photos, 0..1; empty
            without training.
        seconds: of training alone.
        written: whether this process wrote the bundle; of several, the first does.
        test_accuracies: the same as `accuracies` on photos that the data set keeps for a test;
            empty where there are none.
    """

    bundle: Path
    accuracies: dict[str, float]
    seconds: float
    written: bool = True
    test_accuracies: dict[str, float] = field(default_factory=dict)
