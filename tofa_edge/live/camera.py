"""Whether a camera works, by its frames: frozen, black, overexposed, or of one colour.

No scene gives the same bytes twice: a sensor has noise. So a camera that repeats a frame for
seconds is stuck, or what reads it is, however still the scene.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from tofa_edge.bundle.images import ImageSource, load
from tofa_edge.errors import CameraError
from tofa_edge.live.events import EventLog
from tofa_edge.serving.prediction import Prediction
from tofa_edge.serving.stream import FramePrediction, Stream

CameraFault = Literal["frozen", "black", "overexposed", "one colour"]

FROZEN_S, FROZEN_FRAMES = 5.0, 10  # so long, and at least so many frames in a row
BLACKEST = 20  # of 255; video's black is 16
WHITEST = 250
MOST_OF_THEM = 0.99  # of the pixels are at most so bright in a black frame
OVEREXPOSED = 0.95  # of the pixels
FLAT = 1.0  # standard deviation of each channel, of 255
LOOKED_AT = 64  # rows and columns, for brightness
SAMPLED_ROWS = 32  # whose bytes tell most frames apart


class CameraWatch:
    """Names what is wrong with one camera. For one thread at a time.

    Args:
        clock: seconds that pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sample: int | None = None
        self._whole: int | None = None  # of the frame that is repeated; else not computed
        self._since, self._repeated = 0.0, 0

    def faults(self, frame: NDArray[Any]) -> tuple[CameraFault, ...]:
        """Returns what is wrong; empty where nothing is.

        Args:
            frame: uint8, (height, width, 3) or (height, width). Each call counts as one frame of
                the camera.
        """
        frozen: tuple[CameraFault, ...] = ("frozen",) if self._is_frozen(frame) else ()
        return frozen + exposure_faults(frame)

    def _is_frozen(self, frame: NDArray[Any]) -> bool:
        step = max(1, len(frame) // SAMPLED_ROWS)
        sample, before = zlib.crc32(frame[::step].tobytes()), self._sample
        self._sample = sample
        if sample != before:
            self._whole, self._repeated = None, 0
            return False
        whole, now = zlib.crc32(frame.tobytes()), self._clock()
        if whole != self._whole:
            self._whole, self._since, self._repeated = whole, now, 0
            return False
        self._repeated += 1
        return self._repeated >= FROZEN_FRAMES and now - self._since >= FROZEN_S


def exposure_faults(frame: NDArray[Any]) -> tuple[CameraFault, ...]:
    """Returns whether a frame is black, overexposed or of one colour; by a part of its pixels.

    Args:
        frame: uint8, (height, width, 3) or (height, width).
    """
    rows, columns = (max(1, size // LOOKED_AT) for size in frame.shape[:2])
    seen = frame[::rows, ::columns].reshape(-1, frame.shape[2] if frame.ndim == 3 else 1)
    if np.mean(seen.max(axis=1) <= BLACKEST) >= MOST_OF_THEM:
        return ("black",)
    if np.mean(seen.min(axis=1) >= WHITEST) >= OVEREXPOSED:
        return ("overexposed",)
    return ("one colour",) if bool((seen.std(axis=0) <= FLAT).all()) else ()


class WatchedStream(Stream):
    """A stream whose camera is watched: predictions name faults, and events tell of changes.

    Args:
        predict: what predicts one image.
        frames: as they come.
        events: told when faults begin and end, and when a source gives no frame in time.
        latest: as in `Stream`.
        skip_bad: whether frames that are no image are passed over.
        timeout_s: that a prediction waits for a frame at most.
        peak: as `prepare` takes it.
    """

    def __init__(
        self,
        predict: Callable[[ImageSource], Prediction],
        frames: Iterable[ImageSource],
        events: EventLog,
        latest: bool | None = None,
        skip_bad: bool = False,
        timeout_s: float | None = None,
        peak: float | None = None,
    ) -> None:
        self._events, self._now = events, tuple[str, ...]()
        inspect = partial(inspected, CameraWatch(), peak=peak)
        super().__init__(predict, frames, latest, skip_bad, timeout_s, inspect)

    def __next__(self) -> FramePrediction:
        """See `Stream`."""
        try:
            prediction = super().__next__()
        except CameraError as error:
            self._tell(("no frame",), str(error))
            raise
        self._tell(prediction.faults, "")
        return prediction

    def _tell(self, faults: tuple[str, ...], text: str) -> None:
        if faults == self._now:
            return
        self._now = faults
        if faults:
            self._events.add("camera", text or f"the camera's frames are {' and '.join(faults)}")
        else:
            self._events.add("camera again", "the camera's frames are as they should be")


def inspected(
    watch: CameraWatch, frame: ImageSource, peak: float | None = None
) -> tuple[ImageSource, tuple[str, ...]]:
    """Returns a frame, of a file its image, and its faults; none of what is no image.

    Args:
        watch: of the camera.
        frame: as a model takes it.
        peak: as `prepare` takes it, of values of more than 8 bits.

    Raises:
        ImageError: a file cannot be read.
    """
    image = load(frame, peak) if isinstance(frame, str | os.PathLike) else frame
    array = image if isinstance(image, np.ndarray) else _array(image)
    sound = array is not None and array.dtype == np.uint8 and array.ndim in (2, 3) and array.size
    return image, watch.faults(cast(NDArray[Any], array)) if sound else ()


def _array(image: object) -> NDArray[Any] | None:
    """Returns a PIL image as an array; None of anything else, which the model refuses."""
    return np.asarray(image) if hasattr(image, "getbands") else None
