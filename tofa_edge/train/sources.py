"""Where images come from: a folder, a CSV file, or a set by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tofa_edge.errors import DataError
from tofa_edge.train.data import Photos, decode_all, read_csv, read_folder
from tofa_edge.train.named_sets import NAMES, read_named


def read_photos(source: Path, size: int, tell: Callable[[str], None]) -> Photos:
    """Returns all images of a folder, a CSV file or a named set, decoded.

    Args:
        source: as for `read_folder` or `read_csv`, or the name of a set (`named_sets.NAMES`).
        size: to crop and resize to.
        tell: called with a line for each image that is skipped.

    Raises:
        DataError: it cannot be read, or too many of its images cannot, or all of a class.
    """
    if str(source) in NAMES and not source.exists():
        return read_named(str(source), size)
    listed = read_csv(source) if source.suffix.lower() == ".csv" else read_folder(source)
    images, kept = decode_all(listed, size, tell)
    readable = np.bincount(kept.labels[kept.labels >= 0], minlength=len(kept.classes))
    if not readable.all():
        name = kept.classes[int(np.argmin(readable))]
        raise DataError(f"{source}: no photo of class {name!r} can be read")
    return Photos(kept.classes, images, kept.labels)
