"""Boxes of COCO's JSON (https://cocodataset.org/#format-data), as many programs export it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tofa_edge.errors import DataError
from tofa_edge.train.data.boxes.drawn import (
    CROWD,
    IGNORED,
    NO_PHOTO,
    Boxes,
    clipped,
    gathered,
    listed_boxes,
)
from tofa_edge.train.data.boxes.photo_size import upright_size
from tofa_edge.train.data.photo_parts import Box
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.roles import role_among, role_called
from tofa_edge.train.data.tables.dialects import read_bytes
from tofa_edge.train.data.tables.files import Place

MOST_BYTES = 2_000_000_000
SAMPLE = 1_000_000
KEYS = ("images", "annotations", "categories")
ANNOTATIONS = "annotations"  # the folder in which COCO and CVAT keep their files
PREFIX = "instances"

Found = tuple[str, Box | None, bool]
Object = Mapping[str, Any]


def coco_files(root: Path) -> dict[Path, str | None]:
    """Returns the COCO files of a folder with their role: in it, in annotations/, train/ and so on.

    Raises:
        OSError: it cannot be read.
    """
    folders = [root] + [
        place
        for place in sorted(root.iterdir())
        if place.is_dir() and (place.name.lower() == ANNOTATIONS or role_called(place.name))
    ]
    files = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    files = [path for path in files if path.is_file() and _looks_like_coco(path)]
    instances = [path for path in files if path.name.startswith(PREFIX)]
    return {path: _role(path, root) for path in instances or files}


def _looks_like_coco(path: Path) -> bool:
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    return sample.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{") and any(
        f'"{key}"'.encode() in sample for key in KEYS[:2]
    )


def _role(path: Path, root: Path) -> str | None:
    words = [path.parent.name] if path.parent != root else []
    words += path.stem.replace("-", "_").split("_")
    return role_among(words)


def read_coco(path: Path, role: str | None, reading: ReadingOptions) -> Boxes:
    """Returns the boxes of a COCO file.

    Args:
        path: of the file.
        role: of its photos.
        reading: what the user allows, and the margin.

    Raises:
        DataError: it is no such file, contradicts itself, or names a photo outside of its folder.
    """
    images, annotations, categories = _parts(path)
    place = _place(path, [str(image.get("file_name", "")) for image in images], reading)
    by_photo: dict[str, list[Object]] = defaultdict(list)
    for annotation in annotations:
        by_photo[str(annotation.get("image_id"))].append(annotation)
    parts = []
    for image in images:
        drawn = by_photo.pop(str(image.get("id")), [])
        parts.append(_photo(path, image, drawn, categories, place, role, reading.crop_margin))
    strange = sum(map(len, by_photo.values()))
    return gathered([*parts, Boxes((), Counter({NO_PHOTO: strange}))])


def _photo(
    path: Path,
    image: Object,
    drawn: Sequence[Object],
    categories: Mapping[str, str],
    place: Place,
    role: str | None,
    margin: float,
) -> Boxes:
    name = image.get("file_name")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{path}: image {image.get('id')!r} has no file_name")
    file = place.find(name.strip())
    counts: Counter[str] = Counter()
    kept = []
    for annotation in drawn:
        if annotation.get("iscrowd") in (1, "1", True):
            counts[CROWD] += 1
        elif annotation.get("ignore") in (1, "1", True):
            counts[IGNORED] += 1
        else:
            kept.append(annotation)
    size = (_size(image) or upright_size(file)) if kept else None
    found = [_box(path, annotation, categories, size, margin) for annotation in kept]
    return Boxes((), counts) + listed_boxes(file, role, found)


def _size(image: Object) -> tuple[float, float] | None:
    try:
        width, height = float(image.get("width", 0)), float(image.get("height", 0))
    except (TypeError, ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _box(
    path: Path,
    annotation: Object,
    categories: Mapping[str, str],
    size: tuple[float, float] | None,
    margin: float,
) -> Found:
    category = str(annotation.get("category_id"))
    if category not in categories:
        raise DataError(
            f"{path}: annotation {annotation.get('id')!r} is of category {category}; there are "
            f"{', '.join(list(categories)[:10])}"
        )
    box = annotation.get("bbox")
    if size is None or not isinstance(box, list) or len(box) != 4:
        return categories[category], None, False
    try:
        left, top, width, height = (float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        return categories[category], None, False
    corners = (left, top, left + width, top + height)
    return categories[category], *clipped(corners, size, margin)


def _parts(path: Path) -> tuple[list[Object], list[Object], dict[str, str]]:
    """Returns images, annotations, and the names of categories by their number."""
    try:
        content = json.loads(read_bytes(path, MOST_BYTES).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: wanted COCO JSON, cannot read it: {error}") from error
    lists = [content.get(key) if isinstance(content, dict) else None for key in KEYS]
    for key, value in zip(KEYS, lists, strict=True):
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise DataError(f"{path}: wanted COCO JSON with lists of {', '.join(KEYS)}; no {key}")
    images, annotations, categories = lists
    names = {str(each.get("id")): str(each.get("name", "")).strip() for each in categories or []}
    if "" in names.values():
        raise DataError(f"{path}: a category has no name")
    return images or [], annotations or [], names


def _place(path: Path, names: Sequence[str], reading: ReadingOptions) -> Place:
    """Returns where the photos lie: beside the file, in images/, or where COCO has them."""
    folder = path.parent
    root = folder.parent if folder.name.lower() == ANNOTATIONS else folder
    stem = path.stem.removeprefix(f"{PREFIX}_")
    every = dict.fromkeys(
        (folder, root, root / "images", root / stem, root / "images" / stem, folder / "data")
    )
    return Place(path, root, tuple(every), reading.allow_outside)
