"""What is measured and decided on the way to a network, collected for `explain()`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tofa_edge.budget import Budget
from tofa_edge.serving.explanation import Explanation, Measured, Screened

log = logging.getLogger(__name__)


class Trace:
    """Collects what is measured and decided, in its order.

    Attributes:
        screened: engines.
        measured: subnets, quickly calibrated.
        finished: subnets, as they would serve.
        notes: further sentences for people.
        seconds: that each part took.
    """

    def __init__(self) -> None:
        self.screened: list[Screened] = []
        self.measured: list[Measured] = []
        self.finished: list[Measured] = []
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time of what is done inside to a `part` of the seconds."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[part] = round(self.seconds.get(part, 0.0) + spent, 4)

    def note(self, line: str) -> None:
        """Adds a `line` to the notes, and to the log."""
        self.notes.append(line)
        log.info(line)

    def warn(self, line: str) -> None:
        """Adds a `line` to the notes that must not be missed, and to the log as a warning."""
        self.notes.append(f"WARNING: {line}")
        log.warning(line)

    def screen(self, screened: Screened) -> None:
        """Adds an engine, and tells the log."""
        self.screened.append(screened)
        unused = "not used, " if screened.reason else ""
        log.info(f"engine {screened.engine}: {unused}{screened.reason or screened.latency}")

    def fastest(self, budget: Budget) -> Measured:
        """Returns the measured subnet with the smallest latency as a `budget` counts it."""
        percentile, observed = budget.percentile, budget.is_observed
        every = [*self.measured, *self.finished]
        return min(every, key=lambda m: m.latency.percentile_ms(percentile, observed))

    def explanation(
        self,
        bundle: Path,
        budget: Budget,
        chosen: Measured,
        predicts_accuracy: bool,
        *,
        difference: float | None = None,
        check: tuple[int, int] | None = None,
        remembered: str = "",
    ) -> Explanation:
        """Returns all that was collected, with what was chosen.

        Args:
            bundle: the file.
            budget: that had to be kept.
            chosen: the network that serves.
            predicts_accuracy: whether the bundle has an accuracy predictor.
            difference: of its logits from the reference's, as a share of the largest.
            check: how many check photos it got right, and how many there are.
            remembered: explanation of the first choice, where it was loaded from the cache.
        """
        return Explanation(
            bundle,
            budget,
            tuple(self.screened),
            tuple(self.measured),
            tuple(self.finished),
            chosen,
            predicts_accuracy,
            difference,
            check,
            tuple(self.notes),
            remembered,
            dict(self.seconds),
        )
