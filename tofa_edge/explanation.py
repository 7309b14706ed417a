"""What a deployment found and decided, as values and as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tofa_edge.measurement import Latency
from tofa_edge.space import Subnet


@dataclass(frozen=True, slots=True)
class Screened:
    """An engine on one target: its latency with one middling subnet, or why it is not used."""

    engine: str
    latency: Latency | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.engine}: {self.reason or self.latency}"


@dataclass(frozen=True, slots=True)
class Measured:
    """A subnet measured here.

    Attributes:
        subnet: which.
        macs: of one image.
        proxy: its expected accuracy, on a scale of its own; more is better.
        latency: as measured.
        predicted_ms: the p95 expected before, None where there was nothing to predict from.
    """

    subnet: Subnet
    macs: int
    proxy: float
    latency: Latency
    predicted_ms: float | None = None

    def __str__(self) -> str:
        predicted = (
            "" if self.predicted_ms is None else f", predicted p95 {self.predicted_ms:.2f} ms"
        )
        return f"{self.subnet} ({self.macs / 1e6:.1f} MMACs): {self.latency}{predicted}"


@dataclass
class Explanation:
    """What was chosen, what was measured, and why the rest was not chosen.

    Attributes:
        bundle: the file.
        latency_ms: the budget, None without one.
        screened: engines in the order tried.
        measured: subnets in the order tried, quickly calibrated.
        engine: the engine chosen.
        dropped: subnets that were over the budget when they were finished.
        chosen: the subnet returned, fully calibrated and measured again.
        difference: of its logits from the reference's, as a share of the largest logit.
    """

    bundle: Path
    latency_ms: float | None
    screened: list[Screened] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    engine: str = ""
    dropped: list[str] = field(default_factory=list)
    chosen: Measured | None = None
    difference: float | None = None

    def __str__(self) -> str:
        budget = "no latency budget" if self.latency_ms is None else f"p95 ≤ {self.latency_ms:g} ms"
        lines = [f"{self.bundle}: {budget}", f"engine: {self.engine}", "engines screened:"]
        lines += [f"  {screened}" for screened in self.screened]
        if self.measured:
            lines.append("subnets measured:")
            lines += [f"  {measured}: {self._verdict(measured)}" for measured in self.measured]
        lines += [f"dropped: {reason}" for reason in self.dropped]
        if self.chosen and self.difference is not None:
            lines.append(f"chosen: {self.chosen}")
            lines.append(
                f"difference from the reference: {self.difference:.1e} of the largest logit"
            )
        return "\n".join(lines)

    def within_budget(self) -> list[Measured]:
        """Returns the measured subnets within the budget, the best expected first."""
        budget = float("inf") if self.latency_ms is None else self.latency_ms
        within = [m for m in self.measured if m.latency.p95_ms <= budget]
        return sorted(within, key=lambda m: m.proxy, reverse=True)

    def to_finish(self, most: int) -> list[Measured]:
        """Returns the best `most` within the budget, and the fastest as the last resort."""
        within = self.within_budget()
        return [*within[:most], *(m for m in within[most:] if m == self.fastest())]

    def fastest(self) -> Measured:
        """Returns the measured subnet with the smallest p95."""
        return min(self.measured, key=lambda m: m.latency.p95_ms)

    def _verdict(self, measured: Measured) -> str:
        if self.latency_ms is not None and measured.latency.p95_ms > self.latency_ms:
            return "over budget"
        chosen = self.chosen is not None and measured.subnet == self.chosen.subnet
        return "chosen" if chosen else "within budget, less accuracy expected"
