"""Frames of a device's own camera for calibration: one of each scene.

A camera that stands still gives hundreds of frames of one scene. Statistics of those alone have
next to no variance, and a network calibrated so is broken: similar frames must count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.bundle.images import SUFFIXES, ImageSource, files_in, prepare
from tofa_edge.errors import ImageError

THUMBNAIL = 32  # pixels
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
FLATTEST = 16.0  # grey levels of deviation: below, contrast is not stretched, or noise would count
# Measured: one scene under noise and light that varies by 10 %: at most .044. Distinct: CIFAR-10
# .39 and more, and of cells of one kind, filmed alike (elpv), all but 1 of 10,000 pairs .115.
# Frames hardly larger than the thumbnail do not average out strong noise, and pass for distinct.
SIMILAR = 0.08
MOST_EXAMINED = 512


def read_frames(folder: Path) -> list[ImageSource]:
    """Returns the image files in a `folder` and the folders in it, by name.

    Raises:
        ImageError: there are none, or the folder cannot be read.
    """
    try:
        frames: list[ImageSource] = [*files_in(folder)]
    except OSError as error:
        raise ImageError(f"{folder}: wanted a folder of frames, cannot read it: {error}") from error
    if not frames:
        raise ImageError(f"{folder}: wanted a folder of frames, found none ({', '.join(SUFFIXES)})")
    return frames


def distinct(frames: Sequence[ImageSource], most: int, crop: float = 1.0) -> list[ImageSource]:
    """Returns up to `most` frames of which no two are similar, in their order.

    Two are similar if their grey thumbnails, each less its mean and over its deviation, differ by
    less than 0.08 (root mean square). Of more than 512 frames, 512 are examined, evenly spaced.

    Args:
        frames: each as for `Model`.
        most: to return.
        crop: of the network's pre-processing.

    Raises:
        ImageError: one of those examined cannot be read.
    """
    kept: list[ImageSource] = []
    thumbnails = np.empty((most, THUMBNAIL**2), np.float32)
    for index in np.linspace(0, len(frames) - 1, min(len(frames), MOST_EXAMINED)).round():
        if len(kept) == most:
            break
        frame = frames[int(index)]
        thumbnail = _thumbnail(frame, crop)
        differences = np.square(thumbnails[: len(kept)] - thumbnail).mean(axis=1)
        if not (differences < SIMILAR**2).any():
            thumbnails[len(kept)] = thumbnail
            kept.append(frame)
    return kept


def _thumbnail(frame: ImageSource, crop: float) -> FloatArray:
    """Returns a small grey image whatever the light, float32, (1024,)."""
    grey: FloatArray = (prepare(frame, THUMBNAIL, crop) @ GREY).ravel()
    grey -= grey.mean()
    grey /= max(float(grey.std()), FLATTEST)
    return grey
