"""Where images come from: a folder, a CSV file, or a set by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.bundle.images import prepare, stack
from tofa_edge.bundle.manifest import MOST_NAME, printable
from tofa_edge.errors import DataError
from tofa_edge.train.config import READING, OnStep, counted, silent
from tofa_edge.train.data.named_sets import SETS
from tofa_edge.train.data.photos import LabelledPaths, Photos, decode_all, read_csv, read_folder


def list_photos(source: Path, least_classes: int = 2) -> LabelledPaths | Photos:
    """Returns the images of a folder, a CSV file or a named set with their labels, not decoded.

    Args:
        source: as for `read_folder` or `read_csv`, or the name of a set (`named_sets.SETS`).
        least_classes: how many there must be.

    Raises:
        DataError: it cannot be read, or a class has a name that no bundle can hold.
    """
    if str(source) in SETS and not source.exists():
        return Photos(*SETS[str(source)]())
    read = read_csv if source.suffix.lower() == ".csv" else read_folder
    listed = read(source, least_classes=least_classes)
    for name in listed.classes:
        if not printable(name):
            raise DataError(
                f"{source}: class {name[:40]!r}: wanted a name of up to {MOST_NAME} characters, "
                "none of them a control character"
            )
    return listed


def decode_photos(listed: LabelledPaths | Photos, size: int, on_step: OnStep = silent) -> Photos:
    """Returns listed images, cropped and resized.

    Args:
        listed: by `list_photos`.
        size: in pixels.
        on_step: called after each image.

    Raises:
        DataError: too many images cannot be read, or all of a class.
    """
    if isinstance(listed, Photos):
        images = [prepare(image, size) for image in counted(READING, [*listed.images], on_step)]
        return Photos(listed.classes, stack(images, size), listed.labels)
    decoded, kept = decode_all(listed, size, on_step)
    readable = np.bincount(kept.labels[kept.labels >= 0], minlength=len(kept.classes))
    if not readable.all():
        raise DataError(f"no photo of class {kept.classes[readable.argmin()]!r} can be read")
    return Photos(kept.classes, decoded, kept.labels)


def read_photos(source: Path, size: int, least_classes: int = 2) -> Photos:
    """Returns all images of a `source`, decoded to a `size`: `list_photos`, then `decode_photos`.

    There are at least `least_classes`.
    """
    return decode_photos(list_photos(source, least_classes), size)


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
    listed = list_photos(source)
    chosen = np.random.default_rng(seed).permutation(len(listed.labels))[:count]
    if isinstance(listed, Photos):
        return stack([prepare(image, size) for image in listed.images[chosen]], size)
    return decode_all(listed.take(chosen), size)[0]
