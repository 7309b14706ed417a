"""A stream of frames: a thread reads them ahead, the network takes the newest.

    for prediction in model.stream(camera_frames):
        print(prediction.number, prediction.label, prediction.age_ms)

A newer frame replaces the one that waits. So however slow the network is, a frame is at most one
frame interval old when its run begins. At most three are held: one being read, one waiting, one
being predicted.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, fields

import numpy as np

from tofa_edge.bundle.images import ImageSource
from tofa_edge.errors import CameraError, ImageError, LimitError
from tofa_edge.measurement.stopwatch import Latency, percentiles
from tofa_edge.serving.prediction import REMEMBERED_CALLS, Prediction

CLOSING_SECONDS = 1.0  # that `close` waits for a frame being read


@dataclass(frozen=True, eq=False)
class FramePrediction(Prediction):
    """The prediction for one frame of a stream.

    Attributes:
        number: of the frame in its source, from 0; counts dropped and bad frames, too.
        age_ms: from when the source gave the frame to when this prediction was ready.
        faults: what is wrong with the camera or the frame, where somebody watches that; then the
            prediction is not `known`.
    """

    number: int = 0
    age_ms: float = 0.0
    faults: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the most probable class is probable enough, and nothing is wrong."""
        return not self.faults and super().known


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """How a stream went so far.

    Attributes:
        read: frames that the source gave.
        dropped: of them, those replaced by a newer one before the network was free.
        bad: of them, those that are no image.
        predicted: of them, those predicted.
        age: percentiles of `age_ms` of the last 10,000 predictions.
        faulty: of those predicted, those with `faults`.
    """

    read: int
    dropped: int
    bad: int
    predicted: int
    age: Latency
    faulty: int = 0


Inspect = Callable[[ImageSource], tuple[ImageSource, tuple[str, ...]]]


def without_faults(frame: ImageSource) -> tuple[ImageSource, tuple[str, ...]]:
    """Returns a `frame` as it is, and no faults."""
    return frame, ()


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    image: ImageSource
    number: int
    came: float  # time.perf_counter()


class _Mailbox:
    """Holds one frame, between the thread that reads and those that predict."""

    def __init__(self, latest: bool) -> None:
        self._latest = latest
        # Reentrant, because the collector may close a forgotten stream in any thread at any time.
        self._changed = threading.Condition(threading.RLock())
        self._frame: _Frame | None = None
        self._ended = False
        self._error: BaseException | None = None
        self.closed = False
        self.read = self.dropped = 0

    def put(self, image: ImageSource) -> None:
        """Stores a frame; waits until the last one was taken unless newer ones replace it."""
        with self._changed:
            frame = _Frame(image, self.read, time.perf_counter())
            self.read += 1
            if self._latest:
                self.dropped += self._frame is not None and not self.closed
            else:
                self._changed.wait_for(lambda: self._frame is None or self.closed)
            if not self.closed:
                self._frame = frame
                self._changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        """Marks the end of the frames, with the error that ended them."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout_s: float | None) -> _Frame | None:
        """Returns the frame stored, waiting for one; None at the end; raises what ended it."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._frame is not None or self._ended or self.closed, timeout_s
            ):
                raise CameraError(
                    f"wanted a frame within {timeout_s:g} s, got none: the camera or what reads it "
                    "is stuck; ask again, or close the stream and open the camera anew"
                )
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            if frame is None and self._error is not None and not self.closed:
                error, self._error = self._error, None
                raise error
            return frame

    def close(self) -> None:
        with self._changed:
            self.closed, self._frame = True, None
            self._changed.notify_all()


def _read(frames: Iterator[ImageSource], mailbox: _Mailbox) -> None:
    """Reads frames until they end or the mailbox is closed, in a thread of its own.

    It refers to the mailbox alone: with a reference to the stream, that would never be collected.
    """
    error: BaseException | None = None
    try:
        for image in frames:
            mailbox.put(image)
            del image  # or a frame is held until the next one has come
            if mailbox.closed:
                return
    except BaseException as raised:  # for the caller, not for this thread
        error = raised
    mailbox.end(error)


class Stream(Iterator[FramePrediction]):
    """Predictions of frames as they come. Made by `Model.stream`; also a context manager.

    Leaving its loop by break or an exception ends it as soon as nothing refers to it any more;
    `close`, or `with`, ends it at once. Its thread never keeps the interpreter from exiting.

    Args:
        predict: what predicts one image.
        frames: as they come; anything `predict` takes.
        latest: whether older frames are dropped for newer ones; default: unless `frames` has a
            length.
        skip_bad: whether frames that are no image are passed over.
        timeout_s: that a prediction waits for a frame at most; None waits as long as it takes.
        inspect: looks at each frame before it is predicted; returns the frame to predict, perhaps
            decoded, and its faults.
    """

    def __init__(
        self,
        predict: Callable[[ImageSource], Prediction],
        frames: Iterable[ImageSource],
        latest: bool | None = None,
        skip_bad: bool = False,
        timeout_s: float | None = None,
        inspect: Inspect = without_faults,
    ) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise LimitError(f"wanted timeout_s as a number above 0, got {timeout_s}")
        self._predict, self._skip_bad, self._inspect = predict, skip_bad, inspect
        self._timeout_s = timeout_s
        if latest is None:
            latest = not isinstance(frames, Sized)
        self._mailbox = _Mailbox(latest)
        arguments = (_iterator(frames), self._mailbox)
        self._thread = threading.Thread(
            target=_read, args=arguments, name="tofa-edge stream", daemon=True
        )
        self._close = weakref.finalize(self, self._mailbox.close)
        self._lock = threading.Lock()
        self._started = False
        self._ages: deque[float] = deque(maxlen=REMEMBERED_CALLS)
        self._bad = self._predicted = self._faulty = 0

    def __next__(self) -> FramePrediction:
        """Returns the next prediction, waiting for a frame.

        Any error ends the stream, but for a CameraError: then it may be asked again. One of the
        source comes after the frames that came before it.

        Raises:
            CameraError: no frame came within `timeout_s`.
        """
        self._start()
        try:
            while (frame := self._mailbox.take(self._timeout_s)) is not None:
                prediction = self._prediction(frame)
                if prediction is not None:
                    return prediction
        except CameraError:
            raise
        except BaseException:
            self._close()
            raise
        raise StopIteration

    def stats(self) -> StreamStatistics:
        """Returns how many frames were read, dropped and predicted, and how old they became."""
        with self._lock:
            ages, bad, predicted = list(self._ages), self._bad, self._predicted
            faulty = self._faulty
        read, dropped = self._mailbox.read, self._mailbox.dropped
        return StreamStatistics(read, dropped, bad, predicted, percentiles(ages), faulty)

    def close(self) -> None:
        """Ends the stream and its thread; waits a second at most for a frame being read.

        A source that is stuck in a read keeps its thread until the read returns. A second close
        does nothing.
        """
        self._close()
        if self._started and threading.current_thread() is not self._thread:
            self._thread.join(CLOSING_SECONDS)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self) -> None:
        with self._lock:
            if not self._started and not self._mailbox.closed:
                self._thread.start()
                self._started = True

    def _prediction(self, frame: _Frame) -> FramePrediction | None:
        try:
            image, faults = self._inspect(frame.image)
            prediction = self._predict(image)
        except ImageError as error:
            with self._lock:
                self._bad += 1
            if self._skip_bad:
                return None
            raise ImageError(f"frame {frame.number}: {error}") from error
        age = time.perf_counter() - frame.came
        with self._lock:
            self._ages.append(age)
            self._predicted += 1
            self._faulty += bool(faults)
        inherited = {f.name: getattr(prediction, f.name) for f in fields(Prediction)}
        return FramePrediction(**inherited, number=frame.number, age_ms=age * 1e3, faults=faults)


def _iterator(frames: Iterable[ImageSource]) -> Iterator[ImageSource]:
    """Returns an iterator over frames; refuses one image, which would be iterated over, too."""
    one = isinstance(frames, np.ndarray) and frames.ndim != 4
    if one or isinstance(frames, str | bytes) or not isinstance(frames, Iterable):
        got = f"an array {frames.shape}" if isinstance(frames, np.ndarray) else repr(frames)[:80]
        raise ImageError(f"wanted frames to iterate over, got {got}: give a list or a generator")
    return iter(frames)
