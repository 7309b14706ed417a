"""Budget: what a deployed network may cost, and what it must reach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from tofa_edge.errors import LimitError

PERCENTILES = (50, 95)
LIMITS = ("latency_ms", "memory_mb", "size_mb", "mmacs", "accuracy")
NUMBERS = (*LIMITS, "max_accuracy_drop", "min_check_accuracy")  # 20 and 20.0 are the same budget
MAX_ACCURACY_DROP = 0.01

WhoseLatency = Literal["own", "observed"]


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for a network; None is no limit.

    Attributes:
        latency_ms: of `model(x)` for one uint8 array of the network's input size.
        latency: which latency that is. "own" is what the network takes when a core is free for it,
            without the time that other programs made it wait. "observed" is by the wall clock,
            under the load that there is while it is chosen.
        percentile: of the latency that is limited, 95 or 50.
        memory_mb: by how much the process grows when it is loaded and runs, in MB of 1e6 bytes.
        size_mb: of the engine's artefact, in MB.
        mmacs: of one image, in millions of multiply-accumulates.
        accuracy: expected at least, 0..1; only for bundles with an accuracy predictor.
        max_accuracy_drop: that rounding to 8-bit integers may cost, 0..1, by the bundle's images
            (`tofa_edge.cutting.accuracy_drop`); None for any. Float networks are not limited.
        min_check_accuracy: share of the bundle's check photos that the network must get right on
            this device, 0..1, or it is refused; None only warns where they contradict what is
            expected.

    Raises:
        LimitError: on construction, when a limit is no positive number (the drop may be 0), or the
            percentile or the kind of latency another.
    """

    latency_ms: float | None = None
    percentile: int = 95
    memory_mb: float | None = None
    size_mb: float | None = None
    mmacs: float | None = None
    accuracy: float | None = None
    max_accuracy_drop: float | None = MAX_ACCURACY_DROP
    latency: WhoseLatency = "own"
    min_check_accuracy: float | None = None

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise LimitError(f"wanted {name} as a number above 0, got {value!r}")
        drop = self.max_accuracy_drop
        if drop is not None and not (_is_number(drop) and drop >= 0):
            raise LimitError(f"wanted max_accuracy_drop as a number from 0 on, got {drop!r}")
        for name in NUMBERS:
            value = getattr(self, name)
            if _is_number(value):
                object.__setattr__(self, name, float(value))
        if self.percentile not in PERCENTILES:
            raise LimitError(f"wanted a percentile of 95 or 50, got {self.percentile}")
        if self.accuracy is not None and self.accuracy > 1:
            raise LimitError(f"wanted an accuracy of at most 1, got {self.accuracy}")
        least = self.min_check_accuracy
        if least is not None and not (_is_number(least) and 0 <= least <= 1):
            raise LimitError(f"wanted min_check_accuracy as a number from 0 to 1, got {least!r}")
        if self.latency not in get_args(WhoseLatency):
            raise LimitError(f"wanted a latency of own or observed, got {self.latency!r}")

    @property
    def is_observed(self) -> bool:
        """Whether latency counts with what other programs add."""
        return self.latency == "observed"

    @property
    def is_free(self) -> bool:
        """Whether no cost and no accuracy is limited."""
        return all(getattr(self, name) is None for name in LIMITS)

    def __str__(self) -> str:
        parts = {
            f"{'observed ' * self.is_observed}p{self.percentile} ≤ {{:g}} ms": self.latency_ms,
            "memory ≤ {:g} MB": self.memory_mb,
            "size ≤ {:g} MB": self.size_mb,
            "≤ {:g} MMACs": self.mmacs,
            "accuracy ≥ {:.1%}": self.accuracy,
            "check photos right ≥ {:.1%}": self.min_check_accuracy,
        }
        texts = (text.format(value) for text, value in parts.items() if value is not None)
        return ", ".join(texts) or "no limits"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
