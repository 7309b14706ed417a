"""Results of `tofa-edge bench` as the report takes them: every schema in one form.

A value is None where the result does not have it; the report shows the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COLD_START = ("import", "open", "cut", "calibrate", "build", "load", "first_run")
OLD_COLD_START = ("import", "deploy", "first_prediction")


@dataclass(frozen=True, slots=True)
class Share:
    """A share of correct answers, 0 to 1, with the bounds of its 95 % interval."""

    share: float
    low: float | None
    high: float | None
    count: int | None  # of images


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer costs in one run."""

    name: str
    mmacs: float | None
    ms: float


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One network on one engine."""

    role: str  # "engine", "front", "largest at lower resolution"
    size: str | None  # which network all engines run: "middle", "largest"
    engine: str
    device: str | None  # such as "cpu"
    precision: str | None
    threads: int | None
    subnet: str  # compact JSON
    resolution: int | None
    mmacs: float | None
    failed: str | None  # why nothing was measured
    reasons: tuple[str, ...]  # why the figures are invalid; empty where they are valid
    latency_ms: Mapping[int, float]  # by percentile: 50, 90, 95, 99
    interval_ms: Mapping[int, tuple[float, float]]  # 95 % bounds by percentile
    count: int | None  # timed runs
    curve_ms: tuple[tuple[float, float], ...]  # (percentile, milliseconds), rising
    cold_start_s: Mapping[str, float]  # by part, see `COLD_START`
    images_per_s: Mapping[int, float]  # by batch size
    peak_memory_bytes: float | None
    artefact_bytes: float | None
    joules_per_image: float | None
    accuracy: Share | None  # on labelled photos
    expected_accuracy: float | None  # 0 to 1; log MACs where nothing predicts accuracy
    predicted_p95_ms: float | None
    same_class: float | None  # share of photos with the reference's class
    layers: tuple[Layer, ...]
    layers_how: str | None  # "predicted…" or "profiled…"

    @property
    def configuration(self) -> str:
        """Returns engine, precision and threads in words."""
        threads = self.threads and f"{self.threads} thread{'s' * (self.threads != 1)}"
        device = None if self.device == "cpu" else self.device
        return " ".join(part for part in (self.engine, device, self.precision, threads) if part)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Returns the reasons without their figures."""
        return tuple(dict.fromkeys(map(kind_of, self.reasons)))

    @property
    def p95_ms(self) -> float | None:
        """Returns the measured 95th percentile."""
        return self.latency_ms.get(95)


def kind_of(reason: str) -> str:
    """Returns what a reason begins with: "background load: …" is "background load"."""
    return reason.split(":")[0].split(",")[0]


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of a sustained run; None where no sensor measures it."""

    at_s: float  # from the start
    p50_ms: float | None  # since the moment before, as p95
    p95_ms: float | None
    temperature_c: float | None  # of the hottest zone
    clock_mhz: float | None  # of the fastest core
    watts: float | None
    throttled: bool


@dataclass(frozen=True, slots=True)
class Sustained:
    """A network run over minutes."""

    configuration: str
    moments: tuple[Moment, ...]
    reasons: tuple[str, ...]  # why it is invalid


@dataclass(frozen=True, slots=True)
class Scenario:
    """One MLPerf scenario of an engine."""

    scenario: str  # "SingleStream" or "Offline"
    configuration: str
    failed: str | None
    reasons: tuple[str, ...]  # why it is invalid
    queries: int | None
    p90_ms: float | None  # of SingleStream
    images_per_s: float | None  # of Offline


@dataclass(frozen=True, slots=True)
class Result:
    """One file of `tofa-edge bench`."""

    path: Path
    device: str
    bundle: str
    digest: str | None  # of the bundle
    date: str | None
    seconds: float | None  # that measuring took
    remarks: tuple[str, ...]  # about the whole: interrupted, not alone, throttled
    engines: tuple[ResultRow, ...]  # the middle network on every engine
    largest: tuple[ResultRow, ...]  # the largest network on every engine
    front: tuple[ResultRow, ...]
    lower: tuple[ResultRow, ...]  # the largest network at lower resolutions
    predicts_accuracy: bool  # whether `expected_accuracy` is one
    prediction_error: float | None  # mean relative error of predicted p95
    cold_start_s: Mapping[str, float]  # of a whole deployment, see `OLD_COLD_START`
    sustained: Sustained | None
    scenarios: tuple[Scenario, ...]
    facts: tuple[tuple[str, str], ...]  # about machine and software: (what, text)
