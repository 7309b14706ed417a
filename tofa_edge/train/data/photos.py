"""Images with and without labels: find, split by role, decode."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.bundle.images import SUFFIXES, ImageSource, files_in, prepare, stack
from tofa_edge.errors import DataError, ImageError
from tofa_edge.train.config import READING, OnStep, counter, silent

log = logging.getLogger(__name__)

MOST_UNREADABLE = 0.05  # of all images; beyond, something is wrong with the folder

UNLABELLED = -1  # the label of an image that has none
UNLABELLED_FOLDER = "unlabelled"


@dataclass(frozen=True, eq=False)
class Photos:
    """Decoded images.

    Attributes:
        classes: names.
        images: uint8, (N, S, S, 3); of a data set as it is installed, grey, (N, S, S).
        labels: index into `classes`, `UNLABELLED` where there is none, (N,).
    """

    classes: tuple[str, ...]
    images: ImageArray
    labels: IndexArray

    def take(self, indices: IndexArray) -> Photos:
        """Returns the images at `indices`, (N,)."""
        return Photos(self.classes, self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class LabelledPaths:
    """Image files with labels.

    Attributes:
        classes: names, sorted.
        paths: of the images.
        labels: index into `classes`, `UNLABELLED` where there is none, (N,).
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: IndexArray

    def take(self, indices: IndexArray) -> LabelledPaths:
        """Returns the images at `indices`, (N,)."""
        paths = tuple(self.paths[i] for i in indices)
        return LabelledPaths(self.classes, paths, self.labels[indices])

    def __len__(self) -> int:
        return len(self.paths)


def read_csv(path: Path, least_classes: int = 2) -> LabelledPaths:
    """Returns the images of a CSV file with a path and a label in each row.

    Paths are relative to the file. A missing or empty label means unlabelled; a first row
    `path,label` is a header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row and row[0].strip()]
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    if rows and [cell.strip().lower() for cell in rows[0][:2]] == ["path", "label"]:
        rows = rows[1:]
    paths = tuple(path.parent / row[0].strip() for row in rows)
    missing = [str(file) for file in paths if not file.is_file()]
    if missing:
        raise DataError(f"{path}: {len(missing)} files are not there: {', '.join(missing[:3])}")
    names = [row[1].strip() if len(row) > 1 else "" for row in rows]
    _check_once(path, paths, names)
    classes = tuple(sorted(set(names) - {""}))
    if len(classes) < least_classes:
        wanted = "two classes or more" if least_classes > 1 else "a label"
        raise DataError(f"{path}: wanted rows of path,label with {wanted}")
    labels = [classes.index(name) if name else UNLABELLED for name in names]
    return LabelledPaths(classes, paths, np.array(labels, np.int64))


def _check_once(path: Path, paths: Sequence[Path], names: Sequence[str]) -> None:
    """Checks that no photo is listed twice: one copy might be trained on, the other validate."""
    listed: dict[Path, str] = {}
    for file, name in zip(paths, names, strict=True):
        whole = file.resolve()
        if whole in listed:
            both = f"as {listed[whole]!r} and {name!r}" if name != listed[whole] else "twice"
            raise DataError(f"{path}: {file} is listed {both}")
        listed[whole] = name


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
        files = {folder.name: files_in(folder) for folder in folders}
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


def split(
    labels: IndexArray, parts: Mapping[str, float], seed: int, classes: Sequence[str] = ()
) -> dict[str, IndexArray]:
    """Returns disjoint indices by role, each class divided alike; the first role takes the rest.

    Unlabelled images all go to the first role.

    Args:
        labels: of all images, (N,).
        parts: by role, for example {"train": 0.8, "validation": 0.2}; each role gets at least one
            image of every class, and the first gets the rest.
        seed: of the shuffle.
        classes: names that a message uses, by label.

    Raises:
        DataError: a class has fewer images than there are roles.
    """
    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    if len(counts) and counts.min() < len(parts):
        rarest = present[counts.argmin()]
        name = f"class {classes[rarest]!r}" if rarest < len(classes) else "one class"
        raise DataError(
            f"wanted {len(parts)} photos or more of each class, one for each of "
            f"{', '.join(parts)}; {name} has {counts.min()}"
        )
    rng = np.random.default_rng(seed)
    first, *others = parts
    members: dict[str, list[IndexArray]] = {role: [] for role in parts}
    for label, total in zip(present, counts, strict=True):
        left = rng.permutation(np.flatnonzero(labels == label))
        for role in others:
            count = max(1, min(round(int(total) * parts[role]), len(left) - len(others)))
            members[role].append(left[:count])
            left = left[count:]
        members[first].append(left)
    members[first].append(np.flatnonzero(labels < 0))
    return {role: rng.permutation(np.concatenate(part)) for role, part in members.items()}


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
        for result in pool.map(lambda path: decoded(path, size), data.paths):
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


def decoded(source: ImageSource, size: int) -> ImageArray | ImageError:
    """Returns a `source`'s image, uint8 (size, size, 3) of a `size`, or why there is none."""
    try:
        return prepare(source, size)
    except ImageError as error:
        return error


def resized(images: ImageArray, size: int) -> ImageArray:
    """Returns square `images`, uint8, (N, S, S, 3) or grey (N, S, S), as (N, `size`, `size`, 3)."""
    return stack([prepare(image, size) for image in images], size)
