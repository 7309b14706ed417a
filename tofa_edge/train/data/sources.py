"""Where images come from: a folder, a CSV file, or a set by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.bundle.manifest import MOST_NAME, printable
from tofa_edge.errors import DataError
from tofa_edge.train.data.named_sets import NAMES, read_named
from tofa_edge.train.data.photos import LabelledPaths, Photos, decode_all, read_csv, read_folder


def read_photos(source: Path, size: int, least_classes: int = 2) -> Photos:
    """Returns all images of a folder, a CSV file or a named set, decoded.

    Args:
        source: as for `read_folder` or `read_csv`, or the name of a set (`named_sets.NAMES`).
        size: to crop and resize to.
        least_classes: how many there must be.

    Raises:
        DataError: it cannot be read, or too many of its images cannot, or all of a class; or a
            class has a name that no bundle can hold.
    """
    if str(source) in NAMES and not source.exists():
        return read_named(str(source), size)
    listed = _listed(source, least_classes)
    for name in listed.classes:
        if not printable(name):
            raise DataError(
                f"{source}: class {name[:40]!r}: wanted a name of up to {MOST_NAME} characters, "
                "none of them a control character"
            )
    images, kept = decode_all(listed, size)
    readable = np.bincount(kept.labels[kept.labels >= 0], minlength=len(kept.classes))
    if not readable.all():
        name = kept.classes[int(np.argmin(readable))]
        raise DataError(f"{source}: no photo of class {name!r} can be read")
    return Photos(kept.classes, images, kept.labels)


def read_some(source: Path, size: int, count: int, seed: int) -> ImageArray:
    """Returns up to `count` images of a source, drawn at random, uint8, (N, size, size, 3).

    Args:
        source: as for `read_photos`.
        size: to crop and resize to.
        count: of images.
        seed: of the draw.

    Raises:
        DataError: it cannot be read, or too many of the images cannot.
    """
    rng = np.random.default_rng(seed)
    if str(source) in NAMES and not source.exists():
        images = read_named(str(source), size).images
        return images[rng.permutation(len(images))[:count]]
    listed = _listed(source, least_classes=2)
    return decode_all(listed.take(rng.permutation(len(listed))[:count]), size)[0]


def _listed(source: Path, least_classes: int) -> LabelledPaths:
    read = read_csv if source.suffix.lower() == ".csv" else read_folder
    return read(source, least_classes=least_classes)
