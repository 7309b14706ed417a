"""What a live model's calls took, and which of its networks serve."""

from __future__ import annotations

from dataclasses import dataclass

from tofa_edge.serving.model import Statistics


@dataclass(frozen=True, slots=True)
class RungStatistics:
    """One of the networks that a model holds ready.

    Attributes:
        network: subnet and engine.
        accuracy: expected, 0..1; None where nothing tells.
        own_ms: its own latency as the budget counts it; None where it was not measured.
        serves: whether it serves now.
        chosen: whether it was chosen and measured within the budget.
    """

    network: str
    accuracy: float | None
    own_ms: float | None
    serves: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class LiveStatistics(Statistics):
    """What a live model's calls took, and which networks served.

    Attributes:
        rungs: the networks held ready, the slowest first.
        switches: how often another network took over.
        misses: calls that took longer than the budget's latency, by the clock.
    """

    rungs: tuple[RungStatistics, ...] = ()
    switches: int = 0
    misses: int = 0

    @property
    def rung(self) -> int:
        """The number of the network that serves, 0 the slowest; -1 where the model is closed."""
        return next((n for n, rung in enumerate(self.rungs) if rung.serves), -1)
