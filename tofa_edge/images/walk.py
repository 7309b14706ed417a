"""The photos of a folder and the folders in it, each once; and what lies there and is no photo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tofa_edge.images.formats import HEIF_SUFFIXES, WITH_HEIF, is_image, is_photo

HIDDEN, THUMBNAILS, LINK, FORMAT = "hidden", "thumbnail folder", "link", "format"
LITTER = {  # folders of programs that keep thumbnails or what was deleted, in small letters
    "#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recycle", "@recently-snapshot",
    "@sharebin", "@tmp", "@transcode", "__macosx", "__pycache__", "_thumbs",
    "ipod photo cache", "lost+found",
    "picasaoriginals", "recycler", "system volume information", "thumbnails", "thumbs",
}  # fmt: skip

Identity = tuple[int, int]  # device and number of a file or folder


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file or folder that is not read.

    Attributes:
        path: of it.
        reason: in a word or a few: `HIDDEN`, `THUMBNAILS`, `LINK` or `FORMAT` where a folder was
            walked through; who reads photos further has more.
        detail: more about it, such as where a link leads.
    """

    path: Path
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    """What a folder holds.

    Attributes:
        photos: paths, sorted.
        passed_over: images that are not read, other files by their names, links; sorted.
        links_out: those of `photos` that links lead to outside of the folder.
        links_in: those of `photos` that are links to a file in the folder.
    """

    photos: tuple[Path, ...]
    passed_over: tuple[PassedOver, ...] = ()
    links_out: frozenset[Path] = frozenset()
    links_in: frozenset[Path] = frozenset()


@dataclass(eq=False)
class _Found:
    root: str  # of what is walked through, without links
    visited: set[Identity] = field(default_factory=set)
    photos: list[Path] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    links_out: set[Path] = field(default_factory=set)
    links_in: set[Path] = field(default_factory=set)
    waiting: list[Path] = field(default_factory=list)  # links to folders outside


def walk(root: Path) -> Walk:
    """Returns the photos of a folder and the folders in it, at any depth.

    Their names decide (`formats.is_photo`). Hidden files, folders of thumbnails and what other
    programs keep are passed over. Links to folders outside are followed, once, after all else;
    those into the folder, or around it, are not.

    Args:
        root: the folder.

    Raises:
        OSError: a folder cannot be read.
    """
    found = _Found(os.path.realpath(root))
    _read(root, found, outside=False)
    while found.waiting:
        link = found.waiting.pop(0)
        if _is_new(link, found):
            _read(link, found, outside=True)
        else:
            found.passed_over.append(PassedOver(link, LINK, "to a folder that is read already"))
    passed_over = tuple(sorted(found.passed_over, key=lambda each: each.path))
    links = frozenset(found.links_out), frozenset(found.links_in)
    return Walk(tuple(sorted(found.photos)), passed_over, *links)


def is_litter(name: str) -> bool:
    """Returns whether a folder called `name` is hidden, or holds what a program keeps."""
    return name.startswith(".") or name.casefold() in LITTER


def _read(folder: Path, found: _Found, outside: bool) -> None:
    """Reads a folder, then those in it; `outside` of the root, all photos count as linked."""
    _is_new(folder, found)
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = folder / entry.name
        if entry.is_symlink():
            _read_link(path, found)
        elif entry.is_dir():
            if is_litter(entry.name):
                found.passed_over += _images_in_litter(path)
            elif _is_new(path, found):
                _read(path, found, outside)
        elif entry.is_file() and _take(path, found) and outside:
            found.links_out.add(path)


def _read_link(path: Path, found: _Found) -> None:
    target = os.path.realpath(path)
    inside = _is_within(target, found.root)
    if is_litter(path.name):
        found.passed_over.append(PassedOver(path, HIDDEN))
    elif path.is_dir():
        if inside or _is_within(found.root, target):
            found.passed_over.append(PassedOver(path, LINK, f"to the folder {target}"))
        else:
            found.waiting.append(path)
    elif not path.is_file():
        found.passed_over.append(PassedOver(path, LINK, f"to {target}, which is not there"))
    elif _take(path, found):
        (found.links_in if inside else found.links_out).add(path)


def _take(path: Path, found: _Found) -> bool:
    """Takes a file; returns whether it is a photo."""
    if path.name.startswith("."):
        if is_image(path):
            found.passed_over.append(PassedOver(path, HIDDEN))
    elif is_photo(path):
        found.photos.append(path)
        return True
    else:
        detail = WITH_HEIF if path.suffix.lower() in HEIF_SUFFIXES else ""
        found.passed_over.append(PassedOver(path, FORMAT, detail))
    return False


def _images_in_litter(folder: Path) -> Iterator[PassedOver]:
    """Yields the images in a folder of a program's; others there concern nobody."""
    reason = HIDDEN if folder.name.startswith(".") and "thumb" not in folder.name else THUMBNAILS
    for place, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(place, name) for name in sorted(names)):
            if is_image(path):
                yield PassedOver(path, reason)


def _is_new(folder: Path, found: _Found) -> bool:
    """Returns whether a folder was not read before, by whatever name, and remembers it."""
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    is_new = identity not in found.visited
    found.visited.add(identity)
    return is_new


def _is_within(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
