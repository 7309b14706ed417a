"""The result of `tofa-edge bench` as a value: what was measured of one bundle on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tofa_edge.benchmarks.result.row import Reasons, Row
from tofa_edge.benchmarks.result.row_parts import Configuration, wanted
from tofa_edge.device.machine import Fingerprint, State
from tofa_edge.device_profiles.profile import Profile
from tofa_edge.measurement.stopwatch import Latency

SCHEMA = 3


@dataclass(frozen=True, slots=True)
class BenchedBundle:
    """Whose networks were measured.

    Attributes:
        name: of its file.
        digest: of its content; None where an old result does not say.
        classes: how many it tells apart; None where an old result does not say.
    """

    name: str
    digest: str | None = None
    classes: int | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """A measurement that the latency predictor learned from.

    Attributes:
        subnet: as `Subnet.to_json` writes it.
        engine: as `str(Engine)`.
        latency: quickly measured.
    """

    subnet: str
    engine: str
    latency: Latency


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of a sustained run; None where no sensor measures it.

    Attributes:
        at_s: its end, from the start of the run.
        p50_ms: by the wall clock, since the moment before.
        p95_ms: the same.
        count: of runs since then.
        temperature_c: of the hottest zone.
        clock_mhz: of the fastest core.
        throttled: what held the processor back.
        watts: mean power, or that of the moment.
    """

    at_s: float
    p50_ms: float
    p95_ms: float
    count: int
    temperature_c: float | None = None
    clock_mhz: float | None = None
    throttled: tuple[str, ...] = ()
    watts: float | None = None

    def __post_init__(self) -> None:
        wanted("at_s and p50_ms of a moment, 0 or more", min(self.at_s, self.p50_ms) >= 0)


@dataclass(frozen=True, slots=True)
class Sustained:
    """A network run without a pause for minutes.

    Attributes:
        configuration: what ran it.
        subnet: as `Subnet.to_json` writes it.
        seconds: that it ran.
        points: in the order of time.
        reasons: why it does not count, see `Row`.
    """

    configuration: Configuration
    subnet: str
    seconds: float
    points: tuple[Moment, ...]
    reasons: Reasons = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of MLPerf's scenarios, driven by its load generator.

    Attributes:
        scenario: its name there.
        configuration: what ran it.
        subnet: as `Subnet.to_json` writes it.
        failed: why nothing was measured.
        reasons: why it does not count, see `Row`.
        queries: answered.
        p90_ms: of SingleStream.
        images_per_s: as the load generator says.
        seconds: that it ran at least.
    """

    scenario: Literal["SingleStream", "Offline"]
    configuration: Configuration
    subnet: str
    failed: str | None = None
    reasons: Reasons = ()
    queries: int | None = None
    p90_ms: float | None = None
    images_per_s: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What `tofa-edge bench` measured of one bundle on one machine.

    Attributes:
        tofa_edge: version that measured.
        date: when it began, UTC.
        command: that measures the same again, with names of files but not of folders.
        bundle: whose networks.
        device: what the machine is.
        versions: of the engines.
        rows: one network on each engine, precision and number of threads.
        front: networks chosen for several latencies, predicted first, then measured; and the
            largest network at lower resolutions.
        against: external networks, measured in the same run.
        python: version.
        state_before: how the machine was doing.
        state_after: the same, after measuring.
        seconds: that measuring took.
        quick: whether fewer repeats were made.
        alone: whether no other process of this package measured meanwhile.
        interrupted: whether it was ended early: what is missing was not measured.
        skipped: what there was no time for.
        predicts_accuracy: whether `expected_accuracy` of the front is one; else it grows with MACs.
        mean_prediction_error: of the front's p95, relative.
        learned_from: what the latency predictor learned from.
        sustained: a network run for minutes, where that was asked for.
        scenarios: of MLPerf.
        profile: what other devices of this kind can start from.
    """

    tofa_edge: str
    date: str
    command: str
    bundle: BenchedBundle
    device: Fingerprint
    versions: Mapping[str, str]
    rows: tuple[Row, ...]
    front: tuple[Row, ...]
    against: tuple[Row, ...] = ()
    python: str | None = None
    state_before: State | None = None
    state_after: State | None = None
    seconds: float | None = None
    quick: bool = False
    alone: bool = True
    interrupted: bool = False
    skipped: tuple[str, ...] = ()
    predicts_accuracy: bool = True
    mean_prediction_error: float | None = None
    learned_from: tuple[Learned, ...] = ()
    sustained: Sustained | None = None
    scenarios: tuple[Scenario, ...] = ()
    profile: Profile | None = None

    @property
    def every_row(self) -> tuple[Row, ...]:
        """All that was measured: engines, front, and external networks."""
        return (*self.rows, *self.front, *self.against)

    @property
    def middle(self) -> tuple[Row, ...]:
        """The middle network on every engine."""
        return tuple(row for row in self.rows if row.size != "largest")

    @property
    def largest(self) -> tuple[Row, ...]:
        """The largest network on every engine."""
        return tuple(row for row in self.rows if row.size == "largest")

    @property
    def chosen(self) -> tuple[Row, ...]:
        """The networks of the front that were chosen for a latency."""
        return tuple(row for row in self.front if row.role == "front")

    @property
    def lower(self) -> tuple[Row, ...]:
        """The largest network at lower resolutions."""
        return tuple(row for row in self.front if row.role != "front")

    @property
    def device_name(self) -> str:
        """What people call the machine: its board, else its processor and cores."""
        device = self.device
        if device.board:
            return device.board
        processor = " + ".join(device.processors or ()) or device.architecture
        cores = device.allowed_cores or device.cores
        return f"{processor or 'an unnamed machine'}{f', {cores} cores' if cores else ''}"
