"""Images with and without labels: find, decode."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.bundle.images import SUFFIXES, ImageSource, files_in, prepare, stack
from tofa_edge.errors import DataError, ImageError
from tofa_edge.train.config import READING, OnStep, counter, silent
from tofa_edge.train.data.class_names import one_form
from tofa_edge.train.data.photo_parts import Box, PhotoPart

log = logging.getLogger(__name__)

MOST_UNREADABLE = 0.05  # of all images; beyond, something is wrong with the folder

Value = TypeVar("Value")

UNLABELLED = -1  # the label of an image that has none
UNLABELLED_FOLDER = "unlabelled"


@dataclass(frozen=True, eq=False)
class Photos:
    """Decoded images.

    Attributes:
        classes: names.
        images: uint8, (N, S, S, 3); of a data set as it is installed, grey, (N, S, S).
        labels: index into `classes`, `UNLABELLED` where there is none, (N,).
        roles: that the data set gives them, `roles.TRAIN` and the like, None for none; empty where
            it gives none at all.
        origins: numbers of the photos that these are parts of, (N,) integers; empty where all are
            whole.
        names: of the files, for messages; empty where there are none.
    """

    classes: tuple[str, ...]
    images: ImageArray
    labels: IndexArray
    roles: tuple[str | None, ...] = ()
    origins: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def take(self, indices: IndexArray) -> Photos:
        """Returns the images at `indices`, (N,)."""
        roles, origins = chosen_of(self.roles, indices), chosen_of(self.origins, indices)
        names, images = chosen_of(self.names, indices), self.images[indices]
        return Photos(self.classes, images, self.labels[indices], roles, origins, names)


@dataclass(frozen=True)
class LabelledPaths:
    """Image files with labels.

    Attributes:
        classes: names, sorted.
        paths: of the images.
        labels: index into `classes`, `UNLABELLED` where there is none, (N,).
        boxes: the part of each that is read, None for all; empty where all are read whole.
        roles: as of `Photos`.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: IndexArray
    boxes: tuple[Box | None, ...] = ()
    roles: tuple[str | None, ...] = ()

    @property
    def sources(self) -> tuple[Path | PhotoPart, ...]:
        """What to decode: whole files, and the parts of files that boxes give."""
        if not self.boxes:
            return self.paths
        return tuple(
            path if box is None else PhotoPart(path, box)
            for path, box in zip(self.paths, self.boxes, strict=True)
        )

    @property
    def origins(self) -> tuple[int, ...]:
        """As of `Photos`."""
        numbers = {path: number for number, path in enumerate(dict.fromkeys(self.paths))}
        return tuple(numbers[path] for path in self.paths) if self.boxes else ()

    def take(self, indices: IndexArray) -> LabelledPaths:
        """Returns the images at `indices`, (N,)."""
        paths, boxes = chosen_of(self.paths, indices), chosen_of(self.boxes, indices)
        roles = chosen_of(self.roles, indices)
        return LabelledPaths(self.classes, paths, self.labels[indices], boxes, roles)

    def __len__(self) -> int:
        return len(self.paths)


def chosen_of(values: tuple[Value, ...], indices: IndexArray) -> tuple[Value, ...]:
    """Returns the `values` at `indices`, (N,); none where there are none."""
    return tuple(values[i] for i in indices) if values else ()


def forget_labels(labels: IndexArray, per_class: int | None, seed: int) -> IndexArray:
    """Returns `labels`, (N,), all but `per_class` of each class, drawn by `seed`, as unlabelled."""
    if per_class is None:
        return labels
    kept = np.full_like(labels, UNLABELLED)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels[labels >= 0]):
        members = rng.permutation(np.flatnonzero(labels == label))[:per_class]
        kept[members] = label
    return kept


def read_folder(root: Path, least_classes: int = 2) -> LabelledPaths:
    """Returns the images of `root/<class>/*`, classes in alphabetical order.

    Those in a folder `unlabelled` have no label.

    Args:
        root: the folder.
        least_classes: how many there must be.

    Raises:
        DataError: the folder cannot be read, has too few classes, or an empty one.
    """
    try:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        files: dict[str, list[Path]] = {}
        for folder in folders:
            files.setdefault(one_form(folder.name), []).extend(files_in(folder))
    except OSError as error:
        raise DataError(_unreadable(root, error)) from error
    unlabelled = files.pop(UNLABELLED_FOLDER, [])
    if len(files) < least_classes:
        found = f"only {next(iter(files))!r}" if files else "none"
        if unlabelled and not files:
            found = f"only unlabelled photos ({root / UNLABELLED_FOLDER})"
        raise DataError(f"{root}: wanted a folder per class ({root}/<class>/*.jpg), found {found}")
    empty = [name for name, paths in files.items() if not paths]
    if empty:
        raise DataError(
            f"{root}: no images in class {', '.join(map(repr, empty[:5]))}: "
            f"add some ({', '.join(SUFFIXES)}) or remove the folder"
        )
    numbers = [*range(len(files)), UNLABELLED]
    groups = [*files.values(), unlabelled]
    paths = tuple(path for group in groups for path in group)
    labels = np.repeat(numbers, [len(group) for group in groups])
    return LabelledPaths(tuple(files), paths, labels.astype(np.int64))


def _unreadable(root: Path, error: OSError) -> str:
    return f"{error.filename or root}: cannot be read: {error.strerror or error}"


def list_files(root: Path) -> LabelledPaths:
    """Returns every image in the folder `root`, at any depth, without classes.

    Raises:
        DataError: the folder cannot be read, or has none.
    """
    if not root.is_dir():
        found = "it is a file" if root.exists() else "there is none"
        raise DataError(f"{root}: wanted a folder of photos, {found}")
    try:
        paths = tuple(files_in(root))
    except OSError as error:
        raise DataError(_unreadable(root, error)) from error
    if not paths:
        raise DataError(f"{root}: no images in it ({', '.join(SUFFIXES)})")
    return LabelledPaths((), paths, np.full(len(paths), UNLABELLED))


def decode_all(
    data: LabelledPaths, size: int, on_step: OnStep = silent
) -> tuple[ImageArray, LabelledPaths]:
    """Returns the images that can be read, uint8, (N, size, size, 3), and which they are.

    Args:
        data: whose images to read.
        size: to crop and resize to.
        on_step: called after each image.

    Raises:
        DataError: more than 5 % of the images cannot be read; the first are named.
    """
    results, count = [], counter(READING, len(data), on_step)
    with ThreadPoolExecutor() as pool:
        for result in pool.map(lambda source: decoded(source, size), data.sources):
            results.append(result)
            count()
    failures = [result for result in results if isinstance(result, ImageError)]
    if len(failures) > MOST_UNREADABLE * len(data):
        named = "; ".join(str(failure) for failure in failures[:3])
        raise DataError(f"{len(failures)} of {len(data)} images cannot be read: {named}")
    for failure in failures:
        log.warning(f"skipped: {failure}")
    kept = [index for index, r in enumerate(results) if not isinstance(r, ImageError)]
    images = stack([r for r in results if not isinstance(r, ImageError)], size)
    return images, data.take(np.array(kept, np.int64))


def decoded(source: ImageSource | PhotoPart, size: int) -> ImageArray | ImageError:
    """Returns a `source`'s image, uint8 (size, size, 3) of a `size`, or why there is none."""
    try:
        return prepare(source.load() if isinstance(source, PhotoPart) else source, size)
    except ImageError as error:
        return error


def resized(images: ImageArray, size: int) -> ImageArray:
    """Returns square `images`, uint8, (N, S, S, 3) or grey (N, S, S), as (N, `size`, `size`, 3)."""
    return stack([prepare(image, size) for image in images], size)
