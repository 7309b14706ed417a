"""What a deployment measured and decided, as values and as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tofa_edge.architecture.space import Subnet
from tofa_edge.budget import Budget
from tofa_edge.cutting.accuracy_drop import Drop
from tofa_edge.measurement.order_statistics import wilson
from tofa_edge.measurement.stopwatch import Latency


@dataclass(frozen=True, slots=True)
class Screened:
    """An engine on one target: its latency with a subnet of middle size, or why it is not used.

    Attributes:
        engine: and its target.
        latency: of the subnet; None where it was not timed.
        reason: why it is not used; empty where it may be.
    """

    engine: str
    latency: Latency | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.engine}: {self.reason or self.latency}"


@dataclass(frozen=True, slots=True)
class Measured:
    """A subnet measured here.

    Attributes:
        engine: that ran it.
        macs: of one image.
        accuracy: expected, 0..1; its stand-in where the bundle has no accuracy predictor.
        predicted_ms: the limited percentile predicted; None where it was not.
        headroom: the factor that the latency may grow by on this engine, within the budget.
        drop: what rounding to integers costs; None in float, and where it was not measured.
    """

    subnet: Subnet
    engine: str
    macs: int
    accuracy: float
    latency: Latency
    predicted_ms: float | None = None
    headroom: float = 1.0
    drop: Drop | None = None

    def __str__(self) -> str:
        predicted = "" if self.predicted_ms is None else f", predicted {self.predicted_ms:.2f} ms"
        name = f"{self.subnet} ({self.macs / 1e6:.1f} MMACs) on {self.engine}"
        return f"{name}: {self.latency}{predicted}"


@dataclass(frozen=True)
class Explanation:
    """What was chosen, what was measured, and why the rest was not chosen.

    Attributes:
        bundle: the file.
        budget: what had to be kept.
        screened: engines in the order tried.
        measured: subnets in the order tried, quickly calibrated.
        finished: subnets in the order tried, fully calibrated and measured as they will serve.
        chosen: the one of these that was returned.
        predicts_accuracy: whether the bundle has an accuracy predictor.
        difference: of its logits from the reference's, as a share of the largest logit.
        check: how many of the bundle's check photos it got right, and how many there are.
        notes: further sentences for people.
        remembered: explanation of the first choice, where it was loaded from the cache.
        seconds: that the parts of the deployment took.
    """

    bundle: Path
    budget: Budget
    screened: tuple[Screened, ...] = ()
    measured: tuple[Measured, ...] = ()
    finished: tuple[Measured, ...] = ()
    chosen: Measured | None = None
    predicts_accuracy: bool = False
    difference: float | None = None
    check: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    remembered: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        """The engine chosen; empty before."""
        return self.chosen.engine if self.chosen else ""

    def __str__(self) -> str:
        lines = [f"{self.bundle}: {self.budget}"]
        tried = [f"{item}: {self._verdict(item)}" for item in self.finished]
        lines += _section("engines screened:", self.screened)
        lines += _section("subnets measured:", self.measured)
        lines += _section("subnets tried:", tried)
        lines += [*self.notes, *self._about_chosen()]
        lines += _section("remembered; chosen the first time so:", self.remembered.splitlines())
        return "\n".join(lines)

    def _about_chosen(self) -> list[str]:
        if self.chosen is None:
            return []
        lines = [f"chosen: {self.chosen}"]
        if self.predicts_accuracy:
            lines.append(f"expected accuracy: {self.chosen.accuracy:.1%}")
        if self.check is not None:
            (right, count), (low, high) = self.check, wilson(*self.check)
            interval = f"{low:.0%} to {high:.0%} with 95 % confidence"
            lines.append(f"check photos: {right} of {count} right ({interval})")
        if self.chosen.drop is not None:
            lines.append(f"rounding: {self.chosen.drop}")
        if self.difference is not None:
            share = f"{self.difference:.1e} of the largest logit"
            lines.append(f"difference from the reference: {share}")
        return lines

    def _verdict(self, tried: Measured) -> str:
        chosen = self.chosen
        if chosen and (tried.subnet, tried.engine) == (chosen.subnet, chosen.engine):
            return "chosen"
        refused = tried.drop and tried.drop.refusal(self.budget.max_accuracy_drop)
        if refused:
            return f"refused, {refused}"
        limit = self.budget.latency_ms
        observed = self.budget.is_observed
        taken = tried.latency.percentile_ms(self.budget.percentile, observed)
        if limit is not None and taken > limit:
            return "over budget"
        if limit is not None and not observed and taken * tried.headroom > limit:
            return "within budget while no other program runs: it needs every core"
        return "within budget, less accuracy expected"


def _section(title: str, items: Iterable[object]) -> list[str]:
    lines = [f"  {item}" for item in items]
    return [title, *lines] if lines else []
