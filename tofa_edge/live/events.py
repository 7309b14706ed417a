"""What happens to a model that serves for months, as values: `Event` and the log of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

log = logging.getLogger(__name__)

MOST_EVENTS = 1000  # kept; older ones are dropped
EventKind = Literal[
    "serving",
    "ready",
    "switched",
    "not chosen",
    "check failed",
    "throttled",
    "camera",
    "camera again",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a model.

    Attributes:
        kind: "serving": the first network serves. "ready": a chosen network is loaded. "switched":
            another network serves from now on. "not chosen": choosing failed, and what served goes
            on. "check failed": a network computed other numbers than before, and serves no more.
            "throttled": heat or power holds the processor back, or does no more.
            "camera": frames became faulty; "camera again": they are as they should be.
        text: a sentence for people.
        network: subnet and engine that the event is about; empty where it is about none.
        at_s: when, in seconds since 1970.
    """

    kind: EventKind
    text: str
    network: str = ""
    at_s: float = field(default_factory=time.time)

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class EventLog:
    """The last 1,000 events, and who is told of new ones. Safe to use from several threads.

    Args:
        told: called with each event; what it raises is logged.
    """

    def __init__(self, told: Callable[[Event], None] | None = None) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)

    def add(self, kind: EventKind, text: str, network: str = "") -> None:
        """Keeps an event, writes it to the log, and tells it."""
        event = Event(kind, text, network)
        with self._lock:
            self._events.append(event)
        log.info(str(event))
        if self._told is not None:
            try:
                self._told(event)
            except Exception:  # the application's own; no prediction fails for it
                log.exception(f"on_event failed for {event}")

    def all(self) -> tuple[Event, ...]:
        """Returns the events kept, the oldest first."""
        with self._lock:
            return tuple(self._events)
