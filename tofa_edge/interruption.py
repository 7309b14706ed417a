"""Ctrl-C, SIGTERM and SIGHUP: the signals that ask a program to end, handled alike."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

INTERRUPTIONS: dict[signal.Signals, Callable[[int, FrameType | None], object] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,  # the terminal, or the connection to it, has gone
}  # and what they do if nobody has changed it
SIGNALLED = 128  # is added to a signal's number in the exit code of what it ended
SAME_INTERRUPTION_S = 1.0  # torchrun and timeout send once more what a process has had already


class Interrupted(KeyboardInterrupt):
    """A signal asks the program to end; its only argument is the signal's number."""


@dataclass(eq=False)
class Interruption:
    """The handler of those signals.

    Attributes:
        raises: whether the first one raises at once, instead of only being remembered.
        outer: the handler that this one replaced; it learns of them, too.
        number: of the first signal, None until there is one.
        since: when it came, by the monotonic clock.
    """

    raises: bool = True
    outer: Interruption | None = None
    number: int | None = None
    since: float = math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Takes a signal; a second one, later than a moment after the first, always raises.

        Raises:
            Interrupted: with the number.
        """
        first, later = self.number is None, time.monotonic() - self.since > SAME_INTERRUPTION_S
        self.remember(number)
        if later or (first and self.raises):
            raise Interrupted(number)

    def remember(self, number: int) -> None:
        """Remembers the `number` of the first signal, in the outer handlers as well."""
        if self.number is None:
            self.number, self.since = number, time.monotonic()
        if self.outer is not None:
            self.outer.remember(number)


@contextlib.contextmanager
def interruption(raises: bool = True) -> Iterator[Interruption]:
    """Handles the signals within the block; yields what knows whether one has come.

    Signals that are ignored (nohup), or that the application handles itself, stay so; and outside
    the main thread all do.

    Args:
        raises: as `Interruption.raises`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interruption(raises)
        return
    before = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    taken = [
        number
        for number, default in INTERRUPTIONS.items()
        if before[number] == default or isinstance(before[number], Interruption)
    ]
    outer = next((each for each in before.values() if isinstance(each, Interruption)), None)
    handler = Interruption(raises, outer)
    for number in taken:
        signal.signal(number, handler)
    try:
        yield handler
    finally:
        for number in taken:
            signal.signal(number, before[number])
