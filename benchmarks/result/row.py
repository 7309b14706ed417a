"""One network on one engine, as `tofa-edge bench` measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tofa_edge.measurement.energy import Energy
from tofa_edge.measurement.stopwatch import Latency

Role = Literal["engine", "front", "largest at lower resolution", "against"]
Size = Literal["middle", "largest"]
Interval: TypeAlias = tuple[float, float]
Reasons: TypeAlias = tuple[str, ...]
COLD_START = ("import", "open", "cut", "calibrate", "quantise", "build", "load", "first_run")


def wanted(what: str, held: bool) -> None:
    """Raises ValueError unless a condition `held`; `what` was wanted stands in its message."""
    if not held:
        raise ValueError(f"wanted {what}")


def kind_of(reason: str) -> str:
    """Returns what a `reason` begins with: "background load: …" is "background load"."""
    return reason.split(":")[0].split(",")[0]


@dataclass(frozen=True, slots=True)
class Configuration:
    """An engine on one of its targets.

    Attributes:
        engine: the backend's name.
        unit: cpu, gpu or another, as of a target.
        precision: as of a target.
        threads: as of a target.
    """

    engine: str
    unit: str
    precision: str
    threads: int

    def __post_init__(self) -> None:
        wanted("1 to 4096 threads", 1 <= self.threads <= 4096)

    def __str__(self) -> str:
        return f"{self.engine} {self.unit} {self.precision} {self.threads}t"

    @property
    def words(self) -> str:
        """It for people: "tflite int8 2 threads"."""
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        unit = None if self.unit == "cpu" else self.unit
        return " ".join(part for part in (self.engine, unit, self.precision, threads) if part)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """On labelled check photos.

    Attributes:
        right: photos classified right.
        of: photos.
        low: lower bound of the 95 % interval of the share, by Wilson's score.
        high: its upper bound.
    """

    right: int
    of: int
    low: float
    high: float

    def __post_init__(self) -> None:
        wanted("right photos out of those tested", 0 <= self.right <= self.of and self.of > 0)
        wanted("an interval within 0..1", 0 <= self.low <= self.high <= 1)

    @property
    def share(self) -> float:
        """Of photos classified right, 0..1."""
        return self.right / self.of


@dataclass(frozen=True, slots=True)
class Parity:
    """How near an engine computes to the reference.

    Attributes:
        largest_difference: of logits, over the largest logit; of integers, from the reference in
            the same integers; None where it is no number.
        same_class: photos with the same class; of integers, as in float.
        of: photos.
    """

    largest_difference: float | None
    same_class: int
    of: int

    def __post_init__(self) -> None:
        wanted("photos of the same class out of all", 0 <= self.same_class <= self.of)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Images a second in batches.

    Attributes:
        batch: its size.
        images_per_s: reached.
    """

    batch: int
    images_per_s: float


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Medians over new processes, from the start to the first prediction, in seconds.

    Attributes:
        import_s: of the package and the engine.
        open_s: of the bundle.
        cut_s: of the subnet's weights.
        calibrate_s: of BatchNorm.
        build_s: of the engine's artefact.
        load_s: of that.
        first_run_s: the first prediction.
        process_s: the whole, seen from outside.
        runs: processes.
        quantise_s: ranges of integers; None in float.
        peak_memory_bytes: of such a process; None where an old result does not say.
    """

    import_s: float
    open_s: float
    cut_s: float
    calibrate_s: float
    build_s: float
    load_s: float
    first_run_s: float
    process_s: float
    runs: int
    quantise_s: float | None = None
    peak_memory_bytes: int | None = None

    @property
    def parts(self) -> Mapping[str, float]:
        """The seconds of each part that was needed, by name, in the order of `COLD_START`."""
        seconds = {name: getattr(self, f"{name}_s") for name in COLD_START}
        return {name: spent for name, spent in seconds.items() if spent is not None}


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer costs in one run.

    Attributes:
        name: of the layer.
        mmacs: millions of multiply-accumulates.
        ms: its part of the median.
    """

    name: str
    mmacs: float
    ms: float

    def __post_init__(self) -> None:
        wanted(f"a cost of layer {self.name}, 0 or more", min(self.mmacs, self.ms) >= 0)


@dataclass(frozen=True, slots=True)
class Row:
    """One network on one engine: figures, or why there are none.

    Attributes:
        role: what it was measured for; "against" is a network of other making.
        configuration: what ran it.
        subnet: as `Subnet.to_json` writes it; None of a network of other making.
        file: name of the file of such a network.
        size: of the subnet that all engines run.
        resolution: of the input, in pixels.
        mmacs: millions of multiply-accumulates of an image; None where unknown.
        failed: why nothing was measured.
        reasons: why the figures do not count; each begins with its kind, before a colon: too few
            runs, unsteady, drifting clock, throttled, governor, battery, background load, stolen
            time, CPU quota, memory pressure. Empty where they count.
        notes: what to know of the figures, in sentences.
        latency: of one prediction of an array at the network's size: the network's own percentiles,
            and as `observed` those by the wall clock; what they are more is the disturbance by
            other programs.
        p50_interval_ms: its 95 % interval, from order statistics; None where runs were few.
        p95_interval_ms: the same.
        p99_interval_ms: the same.
        curve_ms: pairs of a percentile, 0..100, and milliseconds of its own latency.
        throughput: by size of the batch.
        artefact_bytes: of the engine's file.
        peak_memory_bytes: of a process that only loads that and runs it.
        cold_start: in new processes.
        cold_start_failed: why that was not measured.
        energy: where the machine has a sensor.
        accuracy: on the bundle's check photos; None without any.
        expected_accuracy: by the bundle, 0..1, before measuring; see `predicts_accuracy`.
        predicted_p95_ms: before measuring.
        parity: with the reference.
        layers: that the network is made of.
        layers_how: how their cost was told.
    """

    role: Role
    configuration: Configuration
    subnet: str | None = None
    file: str | None = None
    size: Size | None = None
    resolution: int | None = None
    mmacs: float | None = None
    failed: str | None = None
    reasons: Reasons = ()
    notes: tuple[str, ...] = ()
    latency: Latency | None = None
    p50_interval_ms: Interval | None = None
    p95_interval_ms: Interval | None = None
    p99_interval_ms: Interval | None = None
    curve_ms: tuple[tuple[float, float], ...] = ()
    throughput: tuple[Throughput, ...] = ()
    artefact_bytes: int | None = None
    peak_memory_bytes: int | None = None
    cold_start: ColdStart | None = None
    cold_start_failed: str | None = None
    energy: Energy | None = None
    accuracy: Accuracy | None = None
    expected_accuracy: float | None = None
    predicted_p95_ms: float | None = None
    parity: Parity | None = None
    layers: tuple[LayerCost, ...] = ()
    layers_how: str | None = None

    def __post_init__(self) -> None:
        wanted("a latency, or why it failed", (self.latency is None) == (self.failed is not None))
        latency = self.latency
        if latency is not None:
            p50, p95, p99 = latency.p50_ms, latency.p95_ms, latency.p99_ms
            wanted("percentiles above 0 that rise", 0 < p50 <= p95 <= p99)
            wanted("a slowdown above 0", latency.slowdown > 0)
            wanted("an error of 0 or more", latency.relative_error >= 0)
        pairs = [pair for pair in self.interval_ms.values() if pair]
        wanted("intervals that rise", all(0 <= low <= high for low, high in pairs))
        held = all(0 <= percent <= 100 and ms > 0 for percent, ms in self.curve_ms)
        wanted("a curve of percentiles 0..100 and times above 0", held)
        wanted("sizes and speeds of 0 or more", min(self._amounts, default=0) >= 0)

    @property
    def _amounts(self) -> list[float]:
        known = self.mmacs, self.resolution, self.artefact_bytes, self.peak_memory_bytes
        speeds = [value for each in self.throughput for value in (each.batch, each.images_per_s)]
        predicted = () if self.predicted_p95_ms is None else (self.predicted_p95_ms,)
        return [float(value) for value in (*known, *speeds, *predicted) if value is not None]

    @property
    def key(self) -> str:
        """What tells it from the others: its configuration and its network."""
        return f"{self.configuration} {self.subnet or self.file}"

    @property
    def name(self) -> str:
        """Its file, where it is of other making, and its configuration in words."""
        words = self.configuration.words
        return f"{self.file} on {words}" if self.file else words

    @property
    def valid(self) -> bool:
        """Whether its figures count."""
        return self.failed is None and not self.reasons

    @property
    def verdict(self) -> str:
        """Returns "VALID", why its figures do not count, or why there are none."""
        if self.failed is not None:
            return f"failed: {self.failed}"
        return "; ".join(self.reasons) or "VALID"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The reasons without their figures."""
        return tuple(dict.fromkeys(map(kind_of, self.reasons)))

    @property
    def p95_ms(self) -> float | None:
        """Its own 95th percentile; None where it failed."""
        return None if self.latency is None else self.latency.p95_ms

    @property
    def latency_ms(self) -> Mapping[int, float]:
        """Its own latency by percentile: 50, 90, 95, 99; empty where it failed."""
        if self.latency is None:
            return {}
        return {p: float(getattr(self.latency, f"p{p}_ms")) for p in (50, 90, 95, 99)}

    @property
    def interval_ms(self) -> Mapping[int, Interval]:
        """The 95 % intervals that are known, by percentile."""
        named = {50: self.p50_interval_ms, 95: self.p95_interval_ms, 99: self.p99_interval_ms}
        return {percentile: pair for percentile, pair in named.items() if pair is not None}

    @property
    def joules_per_image(self) -> float | None:
        """What a prediction costs; None where no sensor said."""
        return None if self.energy is None else self.energy.joules_per_image

    @property
    def same_class(self) -> float | None:
        """Share of the photos that were named as by the reference, 0..1; None without any."""
        parity = self.parity
        return parity.same_class / parity.of if parity and parity.of else None

    @property
    def right_share(self) -> float | None:
        """Share of the check photos that were named right, 0..1; None without any."""
        return None if self.accuracy is None else self.accuracy.share

    @property
    def images_per_s(self) -> Mapping[int, float]:
        """The throughput by size of the batch."""
        return {each.batch: each.images_per_s for each in self.throughput}
