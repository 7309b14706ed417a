"""Boxes of Pascal VOC's XML: one file for each photo, as labelImg and CVAT write them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

from tofa_edge.errors import DataError
from tofa_edge.images.formats import SUFFIXES
from tofa_edge.train.data.boxes.drawn import IGNORED, Boxes, clipped, gathered, listed_boxes
from tofa_edge.train.data.boxes.photo_size import upright_size
from tofa_edge.train.data.photo_parts import Box
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.roles import role_among, role_called
from tofa_edge.train.data.tables.dialects import read_bytes
from tofa_edge.train.data.tables.files import Place

MOST_BYTES = 8_000_000
SAMPLE = 1000
ANNOTATIONS, PHOTOS = "annotations", ("JPEGImages", "images", "Images")
SETS = Path("ImageSets", "Main")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _WithoutTypes(ElementTree.TreeBuilder):
    """Refuses declarations of types: they may define entities that grow without bound."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ValueError("wanted an annotation without <!DOCTYPE")


def voc_files(root: Path) -> list[Path]:
    """Returns the annotations of a folder: in it, in Annotations/, or in train/ and so on.

    Raises:
        OSError: it cannot be read.
    """
    places = [root]
    for place in sorted(path for path in root.iterdir() if path.is_dir()):
        if place.name.lower() == ANNOTATIONS or role_called(place.name):
            places += [place, place / "Annotations", place / "annotations"]
    files = {os.path.realpath(path): path for place in places for path in place.glob("*.xml")}
    return sorted(path for path in files.values() if _is_annotation(path))


def _is_annotation(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"<annotation" in file.read(SAMPLE).replace(b"\0", b"")


def read_voc(root: Path, files: Sequence[Path], reading: ReadingOptions) -> Boxes:
    """Returns the boxes of annotations.

    Args:
        root: the folder of the data set.
        files: the annotations, by `voc_files`.
        reading: what the user allows, and the margin.

    Raises:
        DataError: one of them cannot be read, or names a photo outside of the folder.
    """
    sets = _sets(root)
    return gathered([_photo(root, path, sets.get(path.stem), reading) for path in files])


def _sets(root: Path) -> dict[str, str]:
    """Returns the role of photos that ImageSets/Main lists, by the stem of their name."""
    found: dict[str, str] = {}
    for path in sorted((root / SETS).glob("*.txt")):
        role = role_called(path.stem)
        if role is not None:
            lines = read_bytes(path, MOST_BYTES).decode("utf-8", "replace").splitlines()
            found |= {line.split()[0]: role for line in lines if line.split()}
    return found


def _photo(root: Path, path: Path, role: str | None, reading: ReadingOptions) -> Boxes:
    tree = _tree(path)
    file = _file(root, path, (tree.findtext("filename") or "").strip(), reading)
    folders = (path.parent.name, path.parent.parent.name) if path.parent != root else ()
    role = role or role_among(folders)
    counts: Counter[str] = Counter()
    found: list[tuple[str, Box | None, bool]] = []
    size = _size(tree) or upright_size(file)
    for thing in tree.findall("object"):
        name = (thing.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{path}: an object has no name")
        if (thing.findtext("difficult") or "0").strip() == "1":
            counts[IGNORED] += 1
            continue
        corners = [thing.findtext(f"bndbox/{corner}") for corner in CORNERS]
        found.append(
            (name, *(clipped(corners, size, reading.crop_margin) if size else (None, False)))
        )
    return Boxes((), counts) + listed_boxes(file, role, found)


def _tree(path: Path) -> ElementTree.Element:
    content = read_bytes(path, MOST_BYTES)
    parser = ElementTree.XMLParser(target=_WithoutTypes())  # noqa: S314 - without types or entities
    try:
        parser.feed(content)
        tree = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(
            f"{path}: wanted a Pascal VOC annotation, cannot read it: {error}"
        ) from error
    assert isinstance(tree, ElementTree.Element)
    return tree


def _size(tree: ElementTree.Element) -> tuple[float, float] | None:
    """Returns the size that an annotation gives its photo; some programs write 0."""
    try:
        width = float(tree.findtext("size/width") or 0)
        height = float(tree.findtext("size/height") or 0)
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _file(root: Path, path: Path, name: str, reading: ReadingOptions) -> Path:
    """Returns the photo of an annotation: called like it, or else as it says."""
    folders = [path.parent, *(path.parent.parent / photos for photos in PHOTOS)]
    for folder in folders:
        for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES)):
            if (folder / f"{path.stem}{suffix}").is_file():
                return folder / f"{path.stem}{suffix}"
    if not name:
        return path.with_suffix(SUFFIXES[0])
    return Place(path, root, tuple(folders), reading.allow_outside).find(name)
