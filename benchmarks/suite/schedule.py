"""What every part of a benchmark needs, and the plan of what is measured within a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.result.bench_result import Learned, Scenario, Sustained
from tofa_edge.benchmarks.result.row import Row
from tofa_edge.benchmarks.suite.row import Measurer
from tofa_edge.device_profiles.profile import Profile

log = logging.getLogger(__name__)


class Schedule:
    """Says whether there is time for another step, and how much is left.

    Args:
        seconds: in which all must be done; infinite for no limit.

    Attributes:
        skipped: what there was no time for.
    """

    def __init__(self, seconds: float) -> None:
        self._begun, self._seconds = time.monotonic(), seconds
        self.skipped: list[str] = []
        self._steps, self._done, self._share = 0, 0, 1.0
        self._part_begun = self._begun

    def part(self, steps: int, share: float) -> None:
        """Begins a part of the work."""
        self._steps, self._done, self._share = steps, 0, share
        self._part_begun = time.monotonic()

    @property
    def spent_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def has_time(self, what: str) -> bool:
        """Whether another step of this part would be done in time; else it is noted as skipped.

        A first step always has time, unless the whole time is over.
        """
        each = self._each()
        allowed = self._share * self._seconds
        if self.spent_s + each <= allowed or (not self._done and self.spent_s < self._seconds):
            return True
        self.skipped.append(what)
        return False

    def done(self, line: str) -> None:
        """Says that a step of this part is done, and about when the part will be."""
        self._done += 1
        left = min(
            self._each() * max(0, self._steps - self._done),
            max(0.0, self._share * self._seconds - self.spent_s),
        )
        log.info(f"[{self._done}/{self._steps}, about {left:.0f} s left] {line}")

    def _each(self) -> float:
        return (time.monotonic() - self._part_begun) / self._done if self._done else 0.0


@dataclass(slots=True)
class Findings:
    """What a benchmark has found so far; it grows, so that an interrupt leaves what there is."""

    rows: list[Row] = field(default_factory=list)
    front: list[Row] = field(default_factory=list)
    against: list[Row] = field(default_factory=list)
    learned_from: list[Learned] = field(default_factory=list)
    scenarios: list[Scenario] = field(default_factory=list)
    sustained: Sustained | None = None
    profile: Profile | None = None
    predicts_accuracy: bool = False
    alone: bool = True

    @property
    def mean_prediction_error(self) -> float | None:
        """The mean relative error of the predicted p95 over the front; None without any."""
        errors = [
            abs(row.predicted_p95_ms / row.p95_ms - 1)
            for row in self.front
            if row.p95_ms and row.predicted_p95_ms
        ]
        return round(sum(errors) / len(errors), 4) if errors else None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that is running; its parts add to what is found."""

    found: Findings
    measurer: Measurer
    engines: Sequence[Engine]  # and their thread counts, all that are measured
    quick: bool
    schedule: Schedule

    def engine_of(self, row: Row) -> Engine:
        """Returns the engine of a row."""
        return next(each for each in self.engines if str(each) == str(row.configuration))
