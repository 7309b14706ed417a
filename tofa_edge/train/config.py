"""How to train, how it goes, and what came of it: plain values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tofa_edge.errors import TrainingError

PRETRAINED = ("lite0", "lite1", "lite2")
DEVICES = ("auto", "cpu", "cuda")
MOST_PHOTOS = 19_990  # that a bundle's archive has room for, beside its other members
STARTS = (*PRETRAINED, "tiny")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train.

    Attributes:
        start: pretrained weights ("lite0", "lite1", "lite2"), a bundle (path ending in .tofa), or
            "tiny" to start from nothing.
        pretrained: a file of weights of a once-for-all MobileNetV3, to start from instead.
        epochs: passes over the training photos; 0 bundles the pretrained network as it is.
        pretrain_epochs: passes over them before that, without labels, that make every subnet like
            the pretrained network; only for a plain one (lite0, lite1, lite2).
        quantisation_aware_epochs: passes over them at the end, in which every subnet computes with
            weights and values rounded as 8-bit integers round them; 0 leaves that to the device.
        labels_per_class: how many labels to use, the others are forgotten; None uses all.
        resolution: the largest input size in pixels; smaller ones of the space are trained too.
        batch_size: labelled photos a step.
        unlabelled_ratio: unlabelled photos for each labelled one; 0 trains on labels alone.
        teachers: pretrained networks that look once at every photo, large; a linear probe on their
            features gives the first targets of the unlabelled photos. None: the supernet's own
            features do. Starting from nothing, they are not asked.
        learning_rate: the peak of the cosine schedule, for AdamW.
        seed: decides the split, the order, the augmentation, the subnets and new weights.
        calibration_photos: the most unlabelled training photos that the bundle carries.
        check_photos: the most labelled photos, kept out of training, that the bundle carries.
        predictor_subnets: how many subnets are tested, after training, for the bundle's accuracy
            predictor; 0 ships none.
        half_precision: whether the bundle stores weights in 16 bits.
        device: "cpu", "cuda" (in bfloat16 where that is safe), or "auto": cuda if there is one.

    Raises:
        TrainingError: on construction, when a value is out of range or two contradict each other.
    """

    start: str = "lite0"
    pretrained: str | None = None
    epochs: float = 10
    pretrain_epochs: float = 8
    quantisation_aware_epochs: float = 0
    labels_per_class: int | None = None
    resolution: int = 128
    batch_size: int = 32
    unlabelled_ratio: int = 2
    teachers: tuple[str, ...] = PRETRAINED
    learning_rate: float = 1e-3
    seed: int = 0
    calibration_photos: int = 256
    check_photos: int = 64
    predictor_subnets: int = 240
    half_precision: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.start not in STARTS and not self.start.endswith(".tofa"):
            raise TrainingError(
                f"no start {self.start!r}; there are {', '.join(STARTS)} and bundles (*.tofa)"
            )
        if self.pretrained is not None and self.start.endswith(".tofa"):
            raise TrainingError(
                f"wanted one start, got the weights {self.pretrained} (--pretrained) and the "
                f"bundle {self.start} (--from): give one of them"
            )
        if self.device not in DEVICES:
            raise TrainingError(f"no device {self.device!r}; there are {', '.join(DEVICES)}")
        leasts = {"epochs": 0, "pretrain_epochs": 0, "batch_size": 2, "seed": 0, "resolution": 1}
        leasts |= {"unlabelled_ratio": 0, "quantisation_aware_epochs": 0}
        for name, least in leasts.items():
            if not getattr(self, name) >= least:
                raise TrainingError(f"{name} must be {least} or more, got {getattr(self, name)}")
        for name in ("epochs", "pretrain_epochs", "quantisation_aware_epochs"):
            if not math.isfinite(getattr(self, name)):
                raise TrainingError(f"{name} must be a finite number, got {getattr(self, name)}")
        if self.quantisation_aware_epochs and not self.epochs:
            raise TrainingError(
                "quantisation-aware epochs end a training; with 0 epochs there is none"
            )
        for teacher in self.teachers:
            if teacher not in PRETRAINED:
                raise TrainingError(f"no teacher {teacher!r}; there are {', '.join(PRETRAINED)}")
        if self.labels_per_class is not None and self.labels_per_class < 1:
            raise TrainingError(f"labels_per_class must be 1 or more, got {self.labels_per_class}")
        if not 0 < self.learning_rate < 1:
            raise TrainingError(f"learning_rate must be in 0..1, got {self.learning_rate}")
        if min(self.calibration_photos, self.check_photos) < 0:
            raise TrainingError("numbers of photos must be 0 or more")
        if self.calibration_photos + self.check_photos > MOST_PHOTOS:
            raise TrainingError(
                f"a bundle carries at most {MOST_PHOTOS} photos, wanted {self.calibration_photos} "
                f"for calibration and {self.check_photos} to check"
            )
        if self.predictor_subnets and self.predictor_subnets < 20:
            raise TrainingError(
                f"an accuracy predictor wants 20 subnets or more, got {self.predictor_subnets}"
            )

    @property
    def is_plain(self) -> bool:
        """Whether it starts from a network that never was a supernet."""
        return self.pretrained is None and self.start in PRETRAINED

    def looking(self, has_unlabelled: bool) -> tuple[str, ...]:
        """Returns the networks that look at the photos before training.

        Args:
            has_unlabelled: whether there are photos to give first targets to; pretraining needs
                only its own teacher.
        """
        names = self.teachers if has_unlabelled and not self.starts_from_nothing else ()
        plain = (self.start,) if self.is_plain and self.pretrain_epochs else ()
        return tuple(dict.fromkeys((*plain, *names)))

    @property
    def starts_from_nothing(self) -> bool:
        """Whether it starts from random weights."""
        return self.pretrained is None and self.start == "tiny"


@dataclass(frozen=True, slots=True)
class Progress:
    """One training step.

    Attributes:
        step: from 1.
        steps: in all.
        losses: of the largest, the smallest and the random subnets; none while teachers look
            and subnets are tested.
        seconds: since the beginning.
        images_per_second: since the beginning.
        phase: "looking (lite0)", "pretraining", "training", "quantisation-aware training" or
            "testing subnets".
        metrics: other figures of the step, such as the rate of trusted pseudo-labels.
    """

    step: int
    steps: int
    losses: tuple[float, ...]
    seconds: float
    images_per_second: float
    phase: str = "training"
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What training made.

    Attributes:
        bundle: the file.
        accuracies: "smallest", "middle" and "largest" → share of validation photos, 0..1; empty
            without training.
        seconds: of training alone.
        written: whether this process wrote the bundle; of several, the first does.
    """

    bundle: Path
    accuracies: dict[str, float]
    seconds: float
    written: bool = True


OnStep = Callable[[Progress], None]
