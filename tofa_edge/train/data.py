"""Image folders: find, split by role, decode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tofa_edge.errors import DataError, ImageError
from tofa_edge.images import prepare, stack
from tofa_edge.network import ImageArray

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
MOST_UNREADABLE = 0.05  # of all images; beyond, something is wrong with the folder

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledPaths:
    """Image files with labels.

    Attributes:
        classes: names, sorted.
        paths: of the images.
        labels: index into `classes`, (N,).
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]

    def take(self, indices: Indices) -> LabelledPaths:
        """Returns the chosen images."""
        return LabelledPaths(
            self.classes, tuple(self.paths[i] for i in indices), self.labels[indices]
        )

    def __len__(self) -> int:
        return len(self.paths)


def read_folder(root: Path) -> LabelledPaths:
    """Returns the images of `root/<class>/*`, classes in alphabetical order.

    Raises:
        DataError: the folder cannot be read, has fewer than two classes, or an empty one.
    """
    try:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        files = {folder.name: _images(folder) for folder in folders}
    except OSError as error:
        raise DataError(f"{root}: cannot be read: {error.strerror or error}") from error
    if len(files) < 2:
        found = f"only {next(iter(files))!r}" if files else "none"
        raise DataError(f"{root}: wanted a folder per class ({root}/<class>/*.jpg), found {found}")
    empty = [name for name, paths in files.items() if not paths]
    if empty:
        raise DataError(
            f"{root}: no images in class {', '.join(map(repr, empty[:5]))}: "
            f"add some ({', '.join(sorted(SUFFIXES))}) or remove the folder"
        )
    paths = tuple(path for group in files.values() for path in group)
    labels = np.repeat(np.arange(len(files)), [len(group) for group in files.values()])
    return LabelledPaths(tuple(files), paths, labels.astype(np.int64))


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def split(labels: NDArray[np.int64], shares: Mapping[str, float], seed: int) -> dict[str, Indices]:
    """Returns disjoint indices by role, each class divided alike; the first role takes the rest.

    Args:
        labels: of all images, (N,).
        shares: by role, for example {"train": 0.8, "validation": 0.2}; each role gets at least one
            image of every class, and the first gets the rest.
        seed: of the shuffle.

    Raises:
        DataError: a class has fewer images than there are roles.
    """
    rarest = int(np.bincount(labels)[np.unique(labels)].min())
    if rarest < len(shares):
        raise DataError(
            f"wanted {len(shares)} photos or more of each class, one for each of "
            f"{', '.join(shares)}; one class has {rarest}"
        )
    rng = np.random.default_rng(seed)
    first, *others = shares
    parts: dict[str, list[Indices]] = {role: [] for role in shares}
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        total = len(members)
        for role in others:
            count = max(1, min(round(total * shares[role]), len(members) - len(others)))
            parts[role].append(members[:count])
            members = members[count:]
        parts[first].append(members)
    return {role: rng.permutation(np.concatenate(part)) for role, part in parts.items()}


def decode_all(
    data: LabelledPaths, size: int, tell: Callable[[str], None] = lambda line: None
) -> tuple[ImageArray, LabelledPaths]:
    """Returns the images that can be read, uint8, (N, size, size, 3), and which they are.

    Args:
        data: whose images to read.
        size: to crop and resize to.
        tell: called with a line for each image that is skipped.

    Raises:
        DataError: more than 5 % of the images cannot be read; the first are named.
    """
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda path: _decoded(path, size), data.paths))
    failures = [result for result in results if isinstance(result, ImageError)]
    if len(failures) > MOST_UNREADABLE * len(data):
        named = "; ".join(str(failure) for failure in failures[:3])
        raise DataError(f"{len(failures)} of {len(data)} images cannot be read: {named}")
    for failure in failures:
        tell(f"skipped: {failure}")
    kept = [index for index, r in enumerate(results) if not isinstance(r, ImageError)]
    images = stack([r for r in results if not isinstance(r, ImageError)], size)
    return images, data.take(np.array(kept, np.int64))


def _decoded(path: Path, size: int) -> ImageArray | ImageError:
    try:
        return prepare(path, size)
    except ImageError as error:
        return error
