"""Frames of a device's own camera for calibration: one of each scene.

A camera that stands still gives hundreds of frames of one scene. Statistics of those alone have
next to no variance, and a network calibrated so is broken: similar frames must count once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.bundle.images import ImageSource, prepare
from tofa_edge.bundle.photo_files import find_photos
from tofa_edge.errors import ImageError

log = logging.getLogger(__name__)

THUMBNAIL = 32  # pixels
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
FLATTEST = 16.0  # grey levels of deviation: below, contrast is not stretched, or noise would count
# Measured: one scene under noise and light that varies by 10 %: at most .044. Distinct: CIFAR-10
# .39 and more, and of cells of one kind, filmed alike (elpv), all but 1 of 10,000 pairs .115.
# Frames hardly larger than the thumbnail do not average out strong noise, and pass for distinct.
SIMILAR = 0.08
MOST_EXAMINED = 512


def read_frames(place: str | os.PathLike[str]) -> list[Path]:
    """Returns the image files in a folder and the folders in it, by name; or those of a pattern.

    Args:
        place: a folder, a file or a pattern, as for `find_photos`.

    Raises:
        ImageError: there are none, or the folder cannot be read.
    """
    photos = find_photos([place])
    frames = [photo.path for photo in photos if not photo.error]
    errors = [photo.error for photo in photos if photo.error]
    if not frames:
        got = errors[0].removeprefix(f"{os.fspath(place)}: ") if errors else "found none"
        raise ImageError(f"{os.fspath(place)}: wanted a folder of frames: {got}")
    for error in errors:
        log.warning(f"left out of the frames: {error}")
    return frames


def distinct(frames: Sequence[ImageSource], most: int, crop: float = 1.0) -> list[ImageSource]:
    """Returns up to `most` frames of which no two are similar, in their order.

    Two are similar if their grey thumbnails, each less its mean and over its deviation, differ by
    less than 0.08 (root mean square). Of more than 512 frames, 512 are examined, evenly spaced.
    Files among these that cannot be read are left out, and the log says so.

    Args:
        frames: each as for `Model`.
        most: to return.
        crop: of the network's pre-processing.

    Raises:
        ImageError: none of the files examined can be read, or one that is no file.
    """
    kept: list[ImageSource] = []
    unreadable: list[ImageError] = []
    thumbnails = np.empty((most, THUMBNAIL**2), np.float32)
    for index in np.linspace(0, len(frames) - 1, min(len(frames), MOST_EXAMINED)).round():
        if len(kept) == most:
            break
        frame = frames[int(index)]
        try:
            thumbnail = _thumbnail(frame, crop)
        except ImageError as error:
            if not isinstance(frame, str | os.PathLike):
                raise
            unreadable.append(error)
            continue
        differences = np.square(thumbnails[: len(kept)] - thumbnail).mean(axis=1)
        if not (differences < SIMILAR**2).any():
            thumbnails[len(kept)] = thumbnail
            kept.append(frame)
    if unreadable and not kept:
        raise unreadable[0]
    if unreadable:
        count = len(unreadable)
        log.warning(f"left out of the frames: {count} that cannot be read, such as {unreadable[0]}")
    return kept


def _thumbnail(frame: ImageSource, crop: float) -> FloatArray:
    """Returns a small grey image whatever the light, float32, (1024,)."""
    grey: FloatArray = (prepare(frame, THUMBNAIL, crop) @ GREY).ravel()
    grey -= grey.mean()
    grey /= max(float(grey.std()), FLATTEST)
    return grey
