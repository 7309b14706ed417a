"""Results of `tofa-edge bench` as the report takes them: every schema in one form.

None is what a result does not tell; the report shows the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COLD_START = ("import", "open", "cut", "calibrate", "build", "load", "first_run")
OLD_COLD_START = ("import", "deploy", "first_prediction")


@dataclass(frozen=True, slots=True)
class Share:
    """A share of right answers, 0 to 1, with the bounds of its 95 % interval.

    Attributes:
        share: 0 to 1.
        low: bound of the interval.
        high: bound of the interval.
        count: of images.
    """

    share: float
    low: float | None
    high: float | None
    count: int | None


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer costs: multiply-accumulates in millions, and milliseconds.

    Attributes:
        name: as in the network.
        mmacs: in millions.
        ms: of one run.
    """

    name: str
    mmacs: float | None
    ms: float


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One network on one engine.

    Attributes:
        role: "engine", "front", "largest at lower resolution".
        size: which network all engines run: "middle", "largest"; None where it is not told.
        engine: its name alone.
        device: where it runs, such as "cpu".
        precision: such as "fp32".
        threads: how many.
        subnet: compact JSON.
        resolution: pixels of a side.
        mmacs: multiply-accumulates in millions.
        failed: why nothing was measured, in words.
        reasons: what makes the figures doubtful, in words; empty is good.
        latency_ms: by percentile: 50, 90, 95, 99.
        interval_ms: 95 % bounds by percentile.
        count: timed runs.
        curve_ms: (percentile, milliseconds), rising.
        cold_start_s: seconds by part, those of `COLD_START` in their order.
        images_per_s: by batch size.
        peak_memory_bytes: of the process.
        artefact_bytes: of the file the engine loads.
        joules_per_image: by a sensor.
        accuracy: on labelled photos.
        expected_accuracy: 0 to 1; log MACs where nothing predicts accuracy.
        predicted_p95_ms: before it was measured.
        same_class: share of photos with the reference's class.
        largest_difference: of a logit, as a share of the largest.
        layers: what each costs.
        layers_how: "predicted" or "profiled".
    """

    role: str
    size: str | None
    engine: str
    device: str | None
    precision: str | None
    threads: int | None
    subnet: str
    resolution: int | None
    mmacs: float | None
    failed: str | None
    reasons: tuple[str, ...]
    latency_ms: Mapping[int, float]
    interval_ms: Mapping[int, tuple[float, float]]
    count: int | None
    curve_ms: tuple[tuple[float, float], ...]
    cold_start_s: Mapping[str, float]
    images_per_s: Mapping[int, float]
    peak_memory_bytes: float | None
    artefact_bytes: float | None
    joules_per_image: float | None
    accuracy: Share | None
    expected_accuracy: float | None
    predicted_p95_ms: float | None
    same_class: float | None
    largest_difference: float | None
    layers: tuple[Layer, ...]
    layers_how: str | None

    @property
    def configuration(self) -> str:
        """Returns engine, precision and threads in words."""
        threads = None if self.threads is None else f"{self.threads} thread"
        if self.threads is not None and self.threads != 1:
            threads = f"{threads}s"
        device = None if self.device in (None, "cpu") else self.device
        return " ".join(part for part in (self.engine, device, self.precision, threads) if part)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Returns the reasons without their figures."""
        return tuple(dict.fromkeys(kind_of(reason) for reason in self.reasons))

    @property
    def p95_ms(self) -> float | None:
        """Returns the measured 95th percentile."""
        return self.latency_ms.get(95)


def kind_of(reason: str) -> str:
    """Returns what a reason begins with: "background load: …" is "background load"."""
    return reason.split(":")[0].split(",")[0]


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of a sustained run; None for what no sensor told.

    Attributes:
        at_s: seconds from the start.
        p50_ms: since the moment before.
        p95_ms: since the moment before.
        temperature_c: of the hottest zone.
        clock_mhz: of the fastest core.
        watts: of the whole sensor.
        throttled: whether the machine said so.
    """

    at_s: float
    p50_ms: float | None
    p95_ms: float | None
    temperature_c: float | None
    clock_mhz: float | None
    watts: float | None
    throttled: bool


@dataclass(frozen=True, slots=True)
class Sustained:
    """A network run over minutes.

    Attributes:
        configuration: engine, precision and threads, in words.
        moments: in their order.
        reasons: why it does not count.
    """

    configuration: str
    moments: tuple[Moment, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One MLPerf scenario of an engine.

    Attributes:
        scenario: "SingleStream" or "Offline".
        configuration: engine, precision and threads, in words.
        failed: why there are no figures.
        reasons: why it does not count.
        queries: that were answered.
        p90_ms: of SingleStream.
        images_per_s: of Offline.
    """

    scenario: str
    configuration: str
    failed: str | None
    reasons: tuple[str, ...]
    queries: int | None
    p90_ms: float | None
    images_per_s: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """One file of `tofa-edge bench`.

    Attributes:
        path: of the file.
        device: what people call the machine.
        bundle: its name.
        digest: of the bundle.
        date: as written.
        seconds: it took.
        remarks: about the whole: interrupted, not alone, throttled.
        engines: one network on every engine.
        largest: the largest network on every engine.
        front: networks on the front of latency and accuracy.
        lower: the largest network at lower resolutions.
        predicts_accuracy: whether `expected_accuracy` is one.
        prediction_error: mean relative error of predicted p95.
        cold_start_s: of a whole deployment, seconds by part of `OLD_COLD_START`.
        sustained: a run over minutes.
        scenarios: of MLPerf.
        facts: about machine and software, (what, text).
    """

    path: Path
    device: str
    bundle: str
    digest: str | None
    date: str | None
    seconds: float | None
    remarks: tuple[str, ...]
    engines: tuple[ResultRow, ...]
    largest: tuple[ResultRow, ...]
    front: tuple[ResultRow, ...]
    lower: tuple[ResultRow, ...]
    predicts_accuracy: bool
    prediction_error: float | None
    cold_start_s: Mapping[str, float]
    sustained: Sustained | None
    scenarios: tuple[Scenario, ...]
    facts: tuple[tuple[str, str], ...]
