"""How a network serves for months: `LiveOptions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tofa_edge.errors import LimitError
from tofa_edge.live.events import Event

MOST_RUNGS = 8


@dataclass(frozen=True, eq=False, slots=True)
class LiveOptions:
    """What a deployed network does beside predicting.

    Attributes:
        serve_first: whether to serve before the choice is made, where none is remembered: by an
            engine that passed a self-test on this machine, or by `reference`, from the cheapest
            subnet whose BatchNorm statistics the bundle stores. It may be slower than the budget,
            and less accurate than what is chosen. A process of low priority chooses meanwhile, and
            the chosen network takes over between two predictions.
        ladder: how many networks are held ready, the chosen one first, then faster ones. With
            more than one, a governor serves a faster one while the latency observed is over the
            budget. That needs a `latency_ms`.
        on_event: called with every event, in the thread where it happens; it should return soon.
            What it raises is logged.

    Raises:
        LimitError: on construction, when the ladder has another number of networks than 1 to 8.
    """

    serve_first: bool = False
    ladder: int = 1
    on_event: Callable[[Event], None] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.ladder <= MOST_RUNGS:
            raise LimitError(f"wanted a ladder of 1 to {MOST_RUNGS} networks, got {self.ladder}")
