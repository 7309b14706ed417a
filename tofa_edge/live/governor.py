"""Which network of a ladder should serve, by the latencies that are observed.

Down at once, and far enough: a network is expected to be slowed down as much as the one that serves
is, so that one step is mostly enough. Up only after a while with room to spare; and where a step up
had to be taken back, the next one waits twice as long, as a fast network hides load that a slow one
feels. A thread that does not wait for a core any more tells that the load is gone: such steps have
a time of their own, which doubles alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOW_S = 1.0
LEAST_CALLS, MOST_CALLS = 5, 1000
LEAST_MISSES = 2  # one may be an accident
EVERY_S = 0.1  # it is decided
FITS, HAS_ROOM = 0.9, 0.8  # of the limit: what is expected of a network stepped down to, and up to
DOWN_APART_S, UP_APART_S = 1.5, 5.0  # since the last step
BACK_APART_S = 0.5  # of a step down, since one up
CALM_S, MOST_CALM_S = 4.0, 300.0  # with room, before a step up
TAKEN_BACK_S, PROVEN_S = 10.0, 30.0  # a step up within, or after which it was right
WAITING = 0.05  # of the time that a thread could run: less is none


@dataclass(frozen=True, slots=True)
class RungStep:
    """A change of the network that serves.

    Attributes:
        rung: its number, 0 the slowest.
        reason: in words.
    """

    rung: int
    reason: str


class Governor:
    """Decides which network serves. For one thread at a time.

    Args:
        limit_ms: of the latency by the clock.
        percentile: 50 or 95, of the calls of the last second.

    Attributes:
        held: whether no step up is made, as while the processor is throttled.
    """

    def __init__(self, limit_ms: float, percentile: int = 95) -> None:
        self._limit_ms, self._percentile = limit_ms, percentile
        self.held = False
        self._calls: deque[tuple[float, float]] = deque(maxlen=MOST_CALLS)
        self._switched_s = self._stepped_up_s = self._decided_s = -float("inf")
        self._busy_s = self._waited_s = -float("inf")  # when there was no room, and waiting, last
        self._calm_s = {True: CALM_S, False: CALM_S}  # whether no thread waits
        self._stepped_up_quiet = False

    def observe(
        self,
        own_ms: Sequence[float],
        current: int,
        now_s: float,
        call_ms: float,
        waiting: float | None = None,
    ) -> RungStep | None:
        """Takes in a call, and returns the step to take, or None.

        Args:
            own_ms: latencies of the networks by themselves, the slowest first.
            current: number of the network that served the call.
            now_s: by a clock that never goes back.
            call_ms: what the call took by that clock.
            waiting: what the thread waited for a core of late, of the time that it could run, 0..1;
                None where not told.
        """
        self._calls.append((now_s, call_ms))
        if waiting is None or waiting >= WAITING:
            self._waited_s = now_s
        if now_s - self._decided_s < EVERY_S:
            return None
        self._decided_s = now_s
        while self._calls[0][0] < now_s - WINDOW_S and len(self._calls) > LEAST_CALLS:
            self._calls.popleft()
        if len(self._calls) < LEAST_CALLS:
            return None
        step = self._decided(own_ms, current, now_s, waiting or 0.0)
        if step is not None:
            self._calls.clear()
            self._switched_s = now_s
        return step

    def _decided(
        self, own_ms: Sequence[float], current: int, now_s: float, waiting: float
    ) -> RungStep | None:
        taken = np.array([call_ms for _, call_ms in self._calls])
        seen_ms, limit = float(np.percentile(taken, self._percentile)), self._limit_ms
        slowdown = max(1.0, seen_ms / own_ms[current], 1 / max(1 - waiting, 0.01))
        missing = seen_ms > limit and int((taken > limit).sum()) >= LEAST_MISSES
        if missing:  # the window may still be full of calls from before
            slowdown = max(slowdown, float(np.median(taken[taken > limit])) / own_ms[current])
            return self._down(own_ms, current, now_s, seen_ms, slowdown)
        roomy = [r for r in range(current) if own_ms[r] * slowdown <= HAS_ROOM * limit]
        if not roomy or self.held:
            self._busy_s = now_s
            return None
        quiet = now_s - self._waited_s >= CALM_S
        calm_s = now_s - max(self._busy_s, self._switched_s)
        if calm_s < self._calm_s[quiet] or now_s - self._switched_s < UP_APART_S:
            return None
        self._stepped_up_s, self._stepped_up_quiet = now_s, quiet
        expected_ms = own_ms[roomy[0]] * slowdown
        return RungStep(roomy[0], f"there is room, {expected_ms:.2f} of {limit:g} ms are expected")

    def _down(
        self, own_ms: Sequence[float], current: int, now_s: float, seen_ms: float, slowdown: float
    ) -> RungStep | None:
        self._busy_s = now_s
        was_up = self._stepped_up_s == self._switched_s
        apart_s = BACK_APART_S if was_up else DOWN_APART_S
        if current == len(own_ms) - 1 or now_s - self._switched_s < apart_s:
            return None
        if was_up and now_s - self._stepped_up_s < TAKEN_BACK_S:
            doubled = 2 * self._calm_s[self._stepped_up_quiet]
            self._calm_s[self._stepped_up_quiet] = min(doubled, MOST_CALM_S)
        elif now_s - self._stepped_up_s > PROVEN_S:
            self._calm_s = {True: CALM_S, False: CALM_S}
        below = range(current + 1, len(own_ms))
        fitting = [r for r in below if own_ms[r] * slowdown <= FITS * self._limit_ms]
        rung = fitting[0] if fitting else below[-1]
        return RungStep(
            rung, f"p{self._percentile} was {seen_ms:.2f} ms, over {self._limit_ms:g} ms"
        )
