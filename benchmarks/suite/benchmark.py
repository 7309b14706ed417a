"""What every part of a benchmark needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.suite.fields import is_of
from tofa_edge.benchmarks.suite.row import Measurer
from tofa_edge.benchmarks.suite.schedule import Schedule


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
        return next(engine for engine in self.engines if is_of(row, engine))
