"""Where images come from: a folder, a table, boxes, or a set by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.bundle.images import prepare, stack
from tofa_edge.bundle.manifest import MOST_NAME, printable
from tofa_edge.errors import DataError
from tofa_edge.train.config import READING, OnStep, counted, silent
from tofa_edge.train.data.boxes.crops import kind_of_boxes, read_crops, refuse_boxes
from tofa_edge.train.data.class_names import check_classes
from tofa_edge.train.data.files.decoding import decode_all
from tofa_edge.train.data.files.doubles import without_doubles
from tofa_edge.train.data.files.folders import list_files, read_folder
from tofa_edge.train.data.named_sets import SETS
from tofa_edge.train.data.photos import UNLABELLED, LabelledPaths, Photos
from tofa_edge.train.data.reading import PLAIN, ReadingOptions
from tofa_edge.train.data.roles import TEST
from tofa_edge.train.data.tables.tables import TABLES, read_csv, read_tables, tables_in


def list_photos(
    source: Path, least_classes: int = 2, reading: ReadingOptions = PLAIN
) -> LabelledPaths | Photos:
    """Returns the images of a folder, a table, boxes or a named set with labels, not decoded.

    Args:
        source: a folder for `read_folder`, `read_tables` or `read_crops`; a file for `read_csv` or
            `read_crops`; or the name of a set (`named_sets.SETS`).
        least_classes: how many there must be.
        reading: what the user allows.

    Raises:
        DataError: it cannot be read, or a class has a name that no bundle can hold or that is
            probably a mistake.
    """
    if str(source) in SETS and not source.exists():
        return Photos(*SETS[str(source)]())
    try:
        listed = _listed(source, least_classes, reading)
    except OSError as error:
        place = error.filename or source
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
    check_classes(source, listed.classes, reading.classes_as_given)
    for name in listed.classes:
        if not printable(name):
            raise DataError(
                f"{source}: class {name[:40]!r}: wanted a name of up to {MOST_NAME} characters, "
                "none of them a control character"
            )
    return without_doubles(listed)


def _listed(source: Path, least_classes: int, reading: ReadingOptions) -> LabelledPaths:
    if reading.crops:
        return read_crops(source, least_classes, reading)
    if source.suffix.lower() in TABLES and not source.is_dir():
        return read_csv(source, least_classes, reading)
    if source.is_dir():
        tables = tables_in(source)
        if tables:
            return read_tables(source, tables, least_classes, reading)
    kind = kind_of_boxes(source)
    if kind is not None:
        refuse_boxes(source, kind)
    return read_folder(source, least_classes)


def list_unlabelled(source: Path, reading: ReadingOptions = PLAIN) -> LabelledPaths:
    """Returns images without their labels: of a folder all at any depth, or those of `list_photos`.

    Photos that a table or boxes keep for a test are left out.

    Args:
        source: a folder, a table, or boxes where `reading` says so.
        reading: what the user allows.

    Raises:
        DataError: it cannot be read, or has none.
    """
    if not reading.crops and not (source.suffix.lower() in TABLES and source.is_file()):
        return without_doubles(list_files(source))
    listed = list_photos(source, 0, replace(reading, classes_as_given=True))
    assert isinstance(listed, LabelledPaths)
    kept = [i for i in range(len(listed)) if not listed.roles or listed.roles[i] != TEST]
    if not kept:
        raise DataError(f"{source}: no images in it")
    chosen = listed.take(np.array(kept, np.int64))
    return replace(chosen, classes=(), labels=np.full(len(chosen), UNLABELLED), roles=())


def decode_photos(
    listed: LabelledPaths | Photos,
    size: int,
    on_step: OnStep = silent,
    place: Path | None = None,
    peak: float | None = None,
) -> Photos:
    """Returns listed images, cropped and resized.

    Args:
        listed: by `list_photos`.
        size: in pixels.
        on_step: called after each image.
        place: folder for a set that is large for the memory; None for that of temporary files.
        peak: largest value of images of more than 8 bits; None takes that of these images.

    Raises:
        DataError: too many images cannot be read, or all of a class.
    """
    if isinstance(listed, Photos):
        images = [prepare(image, size) for image in counted(READING, [*listed.images], on_step)]
        return Photos(listed.classes, stack(images, size), listed.labels)
    decoded, kept = decode_all(listed, size, on_step, place, peak)
    readable = np.bincount(kept.labels[kept.labels >= 0], minlength=len(kept.classes))
    if not readable.all():
        raise DataError(f"no photo of class {kept.classes[readable.argmin()]!r} can be read")
    return Photos(kept.classes, decoded, kept.labels, kept.roles, kept.origins, kept)


def read_photos(
    source: Path, size: int, least_classes: int = 2, reading: ReadingOptions = PLAIN
) -> Photos:
    """Returns all images of a `source`, decoded to a `size`: `list_photos`, then `decode_photos`.

    There are at least `least_classes`; `reading` says what the user allows.
    """
    return decode_photos(list_photos(source, least_classes, reading), size)


def read_some(
    source: Path, size: int, count: int, seed: int, reading: ReadingOptions = PLAIN
) -> ImageArray:
    """Returns up to `count` images of a source, drawn at random, uint8, (N, size, size, 3).

    Args:
        source: as for `read_photos`.
        size: to crop and resize to.
        count: of images.
        seed: of the draw.
        reading: what the user allows.

    Raises:
        DataError: it cannot be read, or too many of the images cannot.
    """
    listed = list_photos(source, reading=reading)
    chosen = np.random.default_rng(seed).permutation(len(listed.labels))[:count]
    if isinstance(listed, Photos):
        return stack([prepare(image, size) for image in listed.images[chosen]], size)
    return decode_all(listed.take(chosen), size)[0]
