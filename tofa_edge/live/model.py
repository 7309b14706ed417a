"""LiveModel: a deployed network that others may take over from, between two predictions."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.budget import Budget
from tofa_edge.bundle.images import ImageSource
from tofa_edge.live.camera import WatchedStream
from tofa_edge.live.events import Event, EventLog
from tofa_edge.live.governor import Governor
from tofa_edge.live.rungs import Ladder, Rung, RungCheck, checked_rung
from tofa_edge.live.statistics import LiveStatistics, RungStatistics
from tofa_edge.live.waiting import Waiting
from tofa_edge.measurement.stopwatch import percentiles
from tofa_edge.serving.explanation import Explanation
from tofa_edge.serving.prediction import REMEMBERED_CALLS, Prediction
from tofa_edge.serving.stream import Stream


class LiveModel:
    """A deployed network, or a ladder of them. Made by `tofa_edge.deploy(…, live=…)`.

    It predicts as `tofa_edge.Model` does, and is safe to call from several threads. Its attributes
    are those of the network that serves at the moment. It owns its networks and the process that
    chooses: `close`, or `with`, ends all of them.

    Args:
        first: the network that serves first.
        events: where it tells what happens.
        budget: whose latency counts misses, and decides which network of a ladder serves.
    """

    def __init__(
        self,
        first: Rung,
        events: EventLog,
        budget: Budget = Budget(),  # noqa: B008
    ) -> None:
        limit_ms = budget.latency_ms
        self._ladder, self._log, self._limit_ms = Ladder(first), events, limit_ms
        self._governor = None if limit_ms is None else Governor(limit_ms, budget.percentile)
        self._waiting = Waiting()
        self._classes, self._unknown_below = first.model.classes, first.model.unknown_below
        self._lock = threading.Lock()
        self._calls: deque[tuple[float, float]] = deque(maxlen=REMEMBERED_CALLS)
        self._count = self._misses = self._switches = 0
        self._restore: Callable[[tuple[str, ...]], None] | None = None
        self._owned = ExitStack()
        self._owned.callback(self._ladder.close)
        events.add("serving", f"{first} serves", str(first))

    def __repr__(self) -> str:
        return f"LiveModel({self._ladder.current}, {len(self._classes)} classes)"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the logits."""
        return self._classes

    @property
    def subnet(self) -> Subnet:
        """The architecture of the network that serves."""
        return self._ladder.current.model.subnet

    @property
    def engine(self) -> Engine:
        """The backend and target that run it."""
        return self._ladder.current.model.engine

    @property
    def input_size(self) -> int:
        """Height and width of its input in pixels."""
        return self._ladder.current.model.input_size

    @property
    def explanation(self) -> Explanation:
        """How it was chosen, as values; next to nothing for a first network."""
        return self._ladder.current.model.explanation

    @property
    def unknown_below(self) -> float:
        """Predictions of less probability, 0..1, are not `known`; may be changed."""
        return self._unknown_below

    @unknown_below.setter
    def unknown_below(self, value: float) -> None:
        self._unknown_below = value
        for rung in self._ladder.rungs:
            rung.model.unknown_below = value

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened so far, the oldest first; the last 1,000."""
        return self._log.all()

    def __call__(self, image: ImageSource) -> Prediction:
        """Predicts one image; see `Model`.

        Args:
            image: as for `Model`.
        """
        with self._ladder.in_use() as rung:
            prediction, run_s, preparation_s = rung.model.timed(image)
        self._count_call(rung, run_s, preparation_s)
        return prediction

    def batch(self, images: Sequence[ImageSource] | ImageArray) -> list[Prediction]:
        """Predicts several images in one run by one network; see `Model.batch`.

        Args:
            images: each as for a single call, or one uint8 array (N, height, width, 3).

        Raises:
            ImageError: one cannot be read, or has another type or shape.
            BackendError: the model is closed, or the engine fails.
        """
        with self._ladder.in_use() as rung:
            return rung.model.batch(images)

    def stream(
        self,
        frames: Iterable[ImageSource],
        *,
        latest: bool | None = None,
        skip_bad: bool = False,
        timeout_s: float | None = None,
    ) -> Stream:
        """Predicts a camera's frames as they come, and watches the camera; see `Model.stream`.

        Where a frame or the camera is faulty (`CameraFault`), the prediction names it in `faults`
        and is not `known`; an event tells when that begins and ends. So does one where the source
        gives no frame in time.

        Args:
            frames: each as for a single call.
            latest: whether a newer frame replaces the one that still waits.
            skip_bad: whether frames that are no image are counted and skipped, not raised.
            timeout_s: that a prediction waits for a frame at most, before it raises CameraError.
        """
        peak = self._ladder.current.model.peak
        return WatchedStream(self, frames, self._log, latest, skip_bad, timeout_s, peak)

    def stats(self) -> LiveStatistics:
        """Returns how many images were predicted one by one, how long that took, and by what."""
        with self._lock:
            calls, counts = list(self._calls), (self._count, self._switches, self._misses)
        runs, preparations = zip(*calls, strict=True) if calls else ((), ())
        current = self._ladder.current
        rungs = tuple(
            RungStatistics(str(rung), rung.accuracy, rung.own_ms, rung is current, rung.chosen)
            for rung in self._ladder.rungs
        )
        count, switches, misses = counts
        times = percentiles(runs), percentiles(preparations)
        return LiveStatistics(count, *times, rungs, switches, misses)

    def reset_stats(self) -> None:
        """Forgets all calls and switches so far; networks and events stay."""
        with self._lock:
            self._calls.clear()
            self._count = self._misses = self._switches = 0

    def check(self) -> tuple[RungCheck, ...]:
        """Runs every network on an image of noise, and compares with what it computed when loaded.

        Then its numbers were right by the reference. A network whose numbers are others by now, or
        that fails, is taken out of service, and the slowest of those that passed serves. Where none
        passed, the engines that failed are tested again, each in a process of its own, a first
        network serves as at the start, and a process chooses anew.

        Returns:
            What was found, in the order of the ladder.

        Raises:
            BackendError: the model is closed, or not even the reference works.
        """
        with self._ladder.in_use():
            rungs = self._ladder.rungs
            found = [checked_rung(rung) for rung in rungs]
        sound = [rung for rung, each in zip(rungs, found, strict=True) if not each.fault]
        failed = [rung for rung in rungs if rung not in sound]
        for rung, each in zip(rungs, found, strict=True):
            if each.fault:
                self._log.add("check failed", f"{rung}: {each.fault}", str(rung))
                self._ladder.remove(rung)  # unless it serves: no step leads to it any more
        current = self._ladder.current  # the governor may have taken a step during the check
        if current in failed and sound:
            self.serve(sound[0], "what served computes wrong numbers")
        elif current in failed and self._restore is not None:
            self._restore(tuple({rung.model.engine.backend.name for rung in failed}))
        if current in failed:
            self._ladder.remove(current)
        return tuple(found)

    def explain(self) -> str:
        """Returns how the network that serves was chosen, and what happened since the start."""
        lines = [f"  {event}" for event in self.events]
        return "\n".join([str(self.explanation), "since the start:", *lines])

    def close(self) -> None:
        """Ends the process that chooses and frees the engines; later calls raise BackendError.

        Predictions of other threads that run at the moment come to their end. A second close does
        nothing.
        """
        self._owned.close()

    def __enter__(self) -> LiveModel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def owns(self, stop: Callable[[], None]) -> None:
        """Leaves it to this model to `stop` something when it is closed, before its networks."""
        self._owned.callback(stop)

    def restores_by(self, restore: Callable[[tuple[str, ...]], None]) -> None:
        """Keeps what lets a network serve where all fail: `restore` is given their engines."""
        self._restore = restore

    def hold(self, reasons: tuple[str, ...]) -> None:
        """Takes no step up the ladder while there are `reasons`: what throttles the processor."""
        if self._governor is not None:
            self._governor.held = bool(reasons)
        text = f"held back: {', '.join(reasons)}" if reasons else "held back no more"
        self._log.add("throttled", f"the processor is {text}")

    def take(self, rung: Rung) -> None:
        """Holds a chosen network ready, and lets it serve where the first one was not chosen.

        Args:
            rung: loaded; from now on this model closes it.
        """
        rung.model.unknown_below = self._unknown_below
        before = self._ladder.current
        if not self._ladder.add(rung):
            return
        self._log.add("ready", f"{rung} is loaded{_about(rung)}", str(rung))
        if rung.chosen and not before.chosen:
            self.serve(rung, "it was chosen and measured")
            self._ladder.remove(before)

    def serve(self, rung: Rung, reason: str) -> None:
        """Lets one of the networks serve from the next prediction on.

        Args:
            rung: held ready.
            reason: in words, for the event.
        """
        if self._ladder.serve(rung):
            with self._lock:
                self._switches += 1
            self._log.add("switched", f"{rung} serves{_about(rung)}: {reason}", str(rung))

    def _count_call(self, rung: Rung, run_s: float, preparation_s: float) -> None:
        with self._lock:
            self._calls.append((run_s, preparation_s))
            self._count += 1
            self._misses += self._limit_ms is not None and 1e3 * run_s > self._limit_ms
            step = self._step(rung, time.perf_counter(), 1e3 * run_s)
        if step is not None:
            self.serve(*step)

    def _step(self, rung: Rung, now_s: float, run_ms: float) -> tuple[Rung, str] | None:
        """Returns the network that is to serve from now on, and why; None for no change."""
        rungs = self._ladder.rungs
        if self._governor is None or len(rungs) < 2 or rung is not self._ladder.current:
            return None
        own_ms = [each.own_ms or 0.0 for each in rungs]
        if rung not in rungs or not all(own_ms):
            return None
        waiting = self._waiting.share(now_s)
        step = self._governor.observe(own_ms, rungs.index(rung), now_s, run_ms, waiting)
        return None if step is None else (rungs[step.rung], step.reason)


def _about(rung: Rung) -> str:
    known = [f"expected accuracy {rung.accuracy:.1%}"] if rung.accuracy is not None else []
    known += [f"{rung.own_ms:.2f} ms"] if rung.own_ms is not None else []
    return f" ({', '.join(known)})" if known else ""
