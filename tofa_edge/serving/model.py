"""Model: a deployed network, from images to predictions."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine, Session
from tofa_edge.bundle.images import ImageSource, prepare, stack
from tofa_edge.errors import BackendError, ImageError
from tofa_edge.measurement.stopwatch import Latency, percentiles
from tofa_edge.serving.prediction import REMEMBERED_CALLS, Prediction

if TYPE_CHECKING:
    from tofa_edge.serving.explanation import Explanation
    from tofa_edge.serving.stream import Stream


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a model's calls took.

    Attributes:
        count: images predicted one by one since deployment.
        latency: of the last 10,000 of them, from the array at the network's size on.
        preparation: of the same calls: decoding, cropping and resizing before that.
    """

    count: int
    latency: Latency
    preparation: Latency


class Model:
    """A deployed network. Made by `tofa_edge.deploy`; safe to call from several threads.

    Args:
        session: the loaded network; the model closes it.
        subnet: its architecture.
        engine: that runs it.
        classes: names, in the order of the logits.
        explanation: of how it was chosen.
        crop: share of an image's shorter side that is kept.
        temperature: that logits are divided by.
        unknown_below: predictions of less probability, 0..1, are not `known`.
        peak: largest value of the training photos of more than 8 bits; None: an image's own tells
            the range of its values.

    Attributes:
        subnet: its architecture.
        engine: the backend and target that run it.
        classes: names, in the order of the logits.
        input_size: height and width of the network's input in pixels.
        explanation: the same as `explain`, as values.
        unknown_below: predictions of less probability, 0..1, are not `known`; may be changed.
        peak: largest value of the training photos of more than 8 bits; None where there are none.
    """

    def __init__(
        self,
        session: Session,
        subnet: Subnet,
        engine: Engine,
        classes: tuple[str, ...],
        explanation: Explanation,
        crop: float = 1.0,
        temperature: float = 1.0,
        unknown_below: float = 0.0,
        peak: float | None = None,
    ) -> None:
        self.subnet, self.engine, self.classes = subnet, engine, classes
        self.input_size = subnet.resolution
        self._session: Session | None = session
        self.explanation, self._crop, self._temperature = explanation, crop, temperature
        self.unknown_below, self.peak = unknown_below, peak
        self._lock = threading.Lock()
        self._calls: deque[tuple[float, float]] = deque(maxlen=REMEMBERED_CALLS)
        self._count = 0

    def __repr__(self) -> str:
        return f"Model({self.subnet} on {self.engine}, {len(self.classes)} classes)"

    def __call__(self, image: ImageSource) -> Prediction:
        """Predicts one image.

        Args:
            image: a uint8 array (height, width, 3) in RGB or (height, width) in grey, a PIL image,
                or a path. Without cropping or resizing if it is (input_size, input_size, 3).
        """
        prediction, run_s, preparation_s = self.timed(image)
        with self._lock:
            self._calls.append((run_s, preparation_s))
            self._count += 1
        return prediction

    def timed(self, image: ImageSource) -> tuple[Prediction, float, float]:
        """Predicts one image, and counts it in no statistics.

        Args:
            image: as for a call.

        Returns:
            The prediction, and the seconds from the array at the network's size on, and before it.
        """
        begin = time.perf_counter()
        prepared = prepare(image, self.input_size, self._crop, self.peak)
        ready = time.perf_counter()
        prediction = self._prediction(self._run(prepared[np.newaxis])[0])
        return prediction, time.perf_counter() - ready, ready - begin

    def batch(self, images: Sequence[ImageSource] | ImageArray) -> list[Prediction]:
        """Predicts several images in one run, which may be faster than one by one.

        Args:
            images: each as for a single call, or one uint8 array (N, height, width, 3).

        Raises:
            ImageError: one cannot be read, or has another type or shape.
            BackendError: the model is closed, or the engine fails.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise ImageError(f"a batch wants an array (N, height, width, 3), got {images.shape}")
        size = self.input_size
        batch = stack([prepare(image, size, self._crop, self.peak) for image in images], size)
        if not len(batch):
            return []
        return [self._prediction(logits) for logits in self._run(batch)]

    def stream(
        self,
        frames: Iterable[ImageSource],
        *,
        latest: bool | None = None,
        skip_bad: bool = False,
        timeout_s: float | None = None,
    ) -> Stream:
        """Predicts frames as they come: `for prediction in model.stream(frames)`.

        A thread reads them, from the first prediction asked for. Each prediction also has the
        frame's `number` and its `age_ms`.

        Args:
            frames: each as for a single call; arrays must not be written to again by the source.
                It may be without end.
            latest: whether a newer frame replaces the one that still waits, so that no prediction
                is late; else each is predicted. By default unless `frames` has a length: a list
                is a recording, of which each frame counts.
            skip_bad: whether frames that are no image are counted and skipped, not raised.
            timeout_s: that a prediction waits for a frame at most; then it raises CameraError, and
                may be asked for again. By default it waits as long as it takes.

        Raises:
            ImageError: `frames` is one image, or nothing to iterate over.
        """
        from tofa_edge.serving.stream import Stream

        return Stream(self, frames, latest, skip_bad, timeout_s)

    def stats(self) -> Statistics:
        """Returns how many images were predicted one by one, and the percentiles of their times."""
        with self._lock:
            calls, count = list(self._calls), self._count
        runs, preparations = zip(*calls, strict=True) if calls else ((), ())
        return Statistics(count, percentiles(runs), percentiles(preparations))

    def reset_stats(self) -> None:
        """Forgets all calls so far."""
        with self._lock:
            self._calls.clear()
            self._count = 0

    def explain(self) -> str:
        """Returns what was chosen, what was measured, and why the rest was not chosen."""
        return str(self.explanation)

    def close(self) -> None:
        """Frees the engine; later calls raise BackendError. A second close does nothing."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _prediction(self, logits: FloatArray) -> Prediction:
        return Prediction(logits, self.classes, self._temperature, self.unknown_below)

    def _run(self, batch: ImageArray) -> FloatArray:
        session = self._session
        if session is None:
            raise BackendError("this model is closed; deploy it again")
        return session.run(batch)[LOGITS]
