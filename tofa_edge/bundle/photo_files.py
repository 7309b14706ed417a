"""Photos as people name them: by files, folders and patterns, in an order that does not vary."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tofa_edge.images.formats import SUFFIXES, is_photo
from tofa_edge.images.walk import LINK, walk


@dataclass(frozen=True)
class PhotoFile:
    """A file to read as a photo, or why there is none where one was named.

    Attributes:
        path: of the file, as it was named or found.
        error: in one sentence that begins with the path; "" where there is a file.
    """

    path: Path
    error: str = ""


def find_photos(places: Iterable[str | os.PathLike[str]]) -> list[PhotoFile]:
    """Returns the photos that are named by files, folders and patterns, each path once.

    They come in the order of `places`; those of a folder, of the folders in it and of a pattern are
    sorted by their paths. A file is taken whatever its name is. In folders, files are judged by
    their names, as `walk` does. What does not exist and has `*`, `?` or `[` is a pattern, as a
    shell reads it, with `**` for any folders; what it matches counts as if it had been named.

    Args:
        places: paths or patterns; names that are no UTF-8 as Python holds them (surrogateescape).
    """
    found: dict[str, PhotoFile] = {}
    for place in places:
        for photo in _photos_at(os.fspath(place)):
            found.setdefault(os.fspath(photo.path), photo)
    return list(found.values())


def _photos_at(place: str) -> Iterator[PhotoFile]:
    if not place:
        yield PhotoFile(Path(place), "wanted an image, a folder or a pattern, got an empty name")
    elif os.path.lexists(place) or not glob.has_magic(place):
        yield from _named(Path(place))
    else:
        matching = sorted(glob.glob(place, recursive=True))  # noqa: PTH207 - as shells do
        for path in matching:
            yield from _named(Path(path))
        if not matching:
            yield PhotoFile(Path(place), f"{place}: wanted an image, no file matches")


def _named(path: Path) -> Iterator[PhotoFile]:
    """Yields what one name stands for."""
    try:
        mode = path.stat().st_mode
        photos = _in_folder(path) if stat.S_ISDIR(mode) else []
    except OSError as error:
        yield PhotoFile(path, f"{path}: wanted an image, cannot read it: {error.strerror or error}")
        return
    if stat.S_ISREG(mode):
        yield PhotoFile(path)
    elif not stat.S_ISDIR(mode):  # a pipe or a device could be waited for, or read, for ever
        yield PhotoFile(path, f"{path}: wanted an image, got something else than a regular file")
    elif not photos:
        yield PhotoFile(path, f"{path}: wanted images, the folder has none ({', '.join(SUFFIXES)})")
    for photo in photos:
        yield from _named(photo)


def _in_folder(folder: Path) -> list[Path]:
    """Returns the photos of a folder, and links called like photos that lead nowhere."""
    found = walk(folder)
    broken = [
        each.path
        for each in found.passed_over
        if each.reason == LINK and is_photo(each.path) and not each.path.exists()
    ]
    return sorted([*found.photos, *broken])
