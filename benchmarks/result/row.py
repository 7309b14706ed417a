"""One network on one engine, as `tofa-edge bench` measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tofa_edge.benchmarks.result.row_parts import (
    Accuracy,
    ColdStart,
    Configuration,
    LayerCost,
    Parity,
    Throughput,
    kind_of,
    wanted,
)
from tofa_edge.measurement.energy import Energy
from tofa_edge.measurement.stopwatch import Latency

Role = Literal["engine", "front", "largest at lower resolution", "against"]
Size = Literal["middle", "largest"]
Interval: TypeAlias = tuple[float, float]
Reasons: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One network on one engine: figures, or why there are none.

    Attributes:
        role: what it was measured for; "against" is an external network.
        configuration: what ran it.
        subnet: as `Subnet.to_json` writes it; None of an external network.
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
        """Its file, where it is an external network, and its configuration in words."""
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
