"""Large arrays: in memory where they fit, else in a file that is mapped and vanishes with them."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.device.machine import available_memory_bytes
from tofa_edge.errors import DataError

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.4  # of what is free, that decoded photos may take
ALWAYS_IN_MEMORY = 256 * 10**6  # bytes
DISK_SHARE = 0.9  # of what is free
GIGA = 1e9


def room_for(count: int, size: int, place: Path | None = None) -> ImageArray:
    """Returns an array for images, uint8, (count, size, size, 3); it holds anything so far.

    Args:
        count: of images.
        size: of each, in pixels.
        place: folder for it where memory is short; None for that of temporary files.

    Raises:
        DataError: neither memory nor disk has room; the message says how much is wanted.
    """
    wanted = f"{count} photos at {size} px (a lower --resolution wants less)"
    return array_for((count, size, size, 3), np.uint8, wanted, place)


def array_for(
    shape: Sequence[int],
    dtype: DTypeLike,
    purpose: str,
    place: Path | None = None,
    share: float | None = None,
) -> NDArray[Any]:
    """Returns a new array, in memory if it takes little enough of what is free, else on disk.

    The file has no name, so that nothing is left of it however the process ends; its space is taken
    at once, so that a full disk is an error now and not a crash later.

    Args:
        shape: of the array, (N, …).
        dtype: of its values.
        purpose: what it is for, in messages.
        place: folder of the file; None for that of temporary files.
        share: of free memory that it may take; None: 40 %, and 256 MB always.

    Raises:
        DataError: there is no room.
    """
    free, least = available_memory_bytes() or 0, 0 if share else ALWAYS_IN_MEMORY
    size = int(np.prod([*shape, np.dtype(dtype).itemsize], dtype=np.int64))
    if size <= max(least, (share or MEMORY_SHARE) * free):
        return np.empty(tuple(shape), dtype)
    folder = Path(tempfile.gettempdir()) if place is None else place
    wanted = f"{folder}: {purpose} want {size / GIGA:.1f} GB"
    try:
        free = shutil.disk_usage(folder).free
        if size > DISK_SHARE * free:
            raise DataError(
                f"{wanted} on disk, as memory has no room for them; {free / GIGA:.1f} GB are free: "
                "free some, or name another place (--out)"
            )
        log.info(f"{purpose}: {size / GIGA:.1f} GB, kept on disk in {folder} while they are used")
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "r+", shape=tuple(shape)).view(np.ndarray)
    except OSError as error:
        raise DataError(f"{wanted} on disk: {error.strerror or error}") from error
