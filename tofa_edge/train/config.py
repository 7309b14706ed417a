"""How to train, how it goes, and what came of it: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tofa_edge.errors import TrainingError

PRETRAINED = ("lite0", "lite1", "lite2")
STARTS = (*PRETRAINED, "tiny")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train.

    Attributes:
        start: pretrained weights ("lite0", "lite1", "lite2"), or "tiny" to start from nothing.
        epochs: passes over the training photos; 0 bundles the pretrained network as it is.
        resolution: the largest input size in pixels; smaller ones of the space are trained too.
        batch_size: photos a step.
        learning_rate: the peak of the cosine schedule, for AdamW.
        seed: decides the split, the order, the augmentation, the subnets and new weights.
        calibration_photos: the most unlabelled training photos that the bundle carries.
        check_photos: the most labelled photos, kept out of training, that the bundle carries.
        half_precision: whether the bundle stores weights in 16 bits.

    Raises:
        TrainingError: on construction, when a value is out of range.
    """

    start: str = "lite0"
    epochs: int = 10
    resolution: int = 128
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    calibration_photos: int = 256
    check_photos: int = 64
    half_precision: bool = False

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise TrainingError(f"no start {self.start!r}; there are {', '.join(STARTS)}")
        for name, least in (("epochs", 0), ("batch_size", 2), ("seed", 0), ("resolution", 1)):
            if getattr(self, name) < least:
                raise TrainingError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise TrainingError(f"learning_rate must be in 0..1, got {self.learning_rate}")
        if min(self.calibration_photos, self.check_photos) < 0:
            raise TrainingError("numbers of photos must be 0 or more")


@dataclass(frozen=True, slots=True)
class Progress:
    """One training step.

    Attributes:
        step: from 1.
        steps: in all.
        losses: of the largest, the smallest and the random subnets.
        seconds: since the beginning.
        images_per_second: since the beginning.
    """

    step: int
    steps: int
    losses: tuple[float, ...]
    seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Report:
    """What training made.

    Attributes:
        bundle: the file.
        accuracies: "smallest", "middle" and "largest" → share of validation photos, 0..1; empty
            without training.
        seconds: of training alone.
    """

    bundle: Path
    accuracies: dict[str, float]
    seconds: float
