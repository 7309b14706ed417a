"""What every part of a benchmark needs, and the plan of what is measured within a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.suite.fields import engine_name
from tofa_edge.benchmarks.suite.row import Measurer

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


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that is running; its parts add to the result."""

    result: dict[str, Any]
    measurer: Measurer
    engines: Sequence[Engine]  # and their thread counts, all that are measured
    quick: bool
    schedule: Schedule

    def engine_of(self, row: Mapping[str, Any]) -> Engine:
        """Returns the engine of a row."""
        return next(engine for engine in self.engines if str(engine) == engine_name(row))
