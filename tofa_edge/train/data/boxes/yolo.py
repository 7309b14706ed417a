"""Boxes of YOLO folders: photos with a text file each, of one line a box."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tofa_edge.bundle.images import files_in
from tofa_edge.errors import DataError
from tofa_edge.train.data.boxes.drawn import Boxes, clipped, gathered, listed_boxes
from tofa_edge.train.data.photo_parts import Box
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.roles import TEST, TRAIN, VALIDATION, role_among, role_called
from tofa_edge.train.data.tables.dialects import read_bytes

MOST_BYTES = 4_000_000  # of one file of text
NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
NAMES = re.compile(rb"^names\s*:", re.MULTILINE)
SPLITS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "test": TEST}
IMAGES, LABELS = "images", "labels"
MOST_SHARE = 1.5  # of a photo's side; beyond, values are pixels or something else
UNIT = (1.0, 1.0)


@dataclass(frozen=True)
class YoloConfig:
    """What a YOLO folder says of itself.

    Attributes:
        path: of the file that names the classes.
        names: of the classes, by number.
        roles: the parts of the paths of photos, by role.
        key_points: whether lines go on with key points after the box.
    """

    path: Path
    names: Mapping[int, str]
    roles: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())
    key_points: bool = False


def is_yolo(root: Path) -> bool:
    """Returns whether a folder has text files with boxes and, mostly, names of classes.

    Raises:
        OSError: it cannot be read.
    """
    trees = [root, *(place for place in root.iterdir() if role_called(place.name))]
    for tree in trees:
        if (tree / LABELS).is_dir() and (tree / IMAGES).is_dir():
            return any((tree / LABELS).rglob("*.txt"))
    return _config_file(root) is not None and any(
        path.with_suffix(".txt").is_file() for path in files_in(root)
    )


def _config_file(root: Path) -> Path | None:
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        if path.is_file() and NAMES.search(read_bytes(path, MOST_BYTES)):
            return path
    places = (folder / name for name in NAME_LISTS for folder in (root, root / LABELS))
    return next((path for path in places if path.is_file()), None)


def read_yolo(root: Path, reading: ReadingOptions) -> Boxes:
    """Returns the boxes of a YOLO folder.

    Text files lie beside the photos, or in a folder labels/ where the photos are in images/. A line
    is a class and a box (centre, width, height as shares of the photo), or a class and a polygon.

    Args:
        root: the folder.
        reading: the margin.

    Raises:
        DataError: there are no names of classes, or a line is something else.
    """
    config = _config(root)
    parts = []
    for photo in files_in(root):
        relative = photo.relative_to(root)
        found = _boxes(_text_of(photo, root), config, reading.crop_margin)
        parts.append(listed_boxes(photo, _role(relative, config), found))
    return gathered(parts)


def _text_of(photo: Path, root: Path) -> Path:
    parts = list(photo.relative_to(root).with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() == IMAGES:
            there = root.joinpath(*parts[:place], LABELS, *parts[place + 1 :])
            if there.is_file():
                return there
            break
    return photo.with_suffix(".txt")


def _boxes(path: Path, config: YoloConfig, margin: float) -> list[tuple[str, Box | None, bool]]:
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            name, corners = _line(f"{path}: line {number}", line.split(), config)
            found.append((name, *clipped(corners, UNIT, margin, drawn_on=False)))
    return found


def _line(where: str, words: Sequence[str], config: YoloConfig) -> tuple[str, Sequence[float]]:
    """Returns the class of a line and its box: left, top, right, bottom."""
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise DataError(f"{where}: wanted a class and numbers in 0..1: {error}") from error
    if len(values) < 5 or (not config.key_points and len(values) > 6 and len(values) % 2 == 0):
        raise DataError(f"{where}: wanted a class and 4 values, or a polygon, got {len(words)}")
    number = int(values[0]) if values[0].is_integer() else -1
    if number not in config.names:
        raise DataError(
            f"{where}: class {words[0]} has no name; {config.path} has {len(config.names)}"
        )
    polygon = len(values) > 6 and not config.key_points  # a sixth value is a probability
    shares = values[1:] if polygon else values[1:5]
    if not all(abs(share) <= MOST_SHARE for share in shares):
        raise DataError(
            f"{where}: wanted shares of the photo's width and height in 0..1, got "
            f"{max(shares, key=abs):g}: are they pixels?"
        )
    if polygon:
        across, down = shares[0::2], shares[1::2]
        return config.names[number], (min(across), min(down), max(across), max(down))
    x, y, width, height = shares
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return config.names[number], corners


def _role(relative: Path, config: YoloConfig) -> str | None:
    """Returns the role that the folder's own description gives a photo, or else its folders."""
    matches: dict[int, set[str]] = {}
    for role, parts in config.roles:
        for start in range(len(parts)):
            tail = parts[start:]
            if relative.parts[: len(tail)] == tail:
                matches.setdefault(len(tail), set()).add(role)
                break
    if matches:
        best = matches[max(matches)]
        return next(iter(best)) if len(best) == 1 else None
    return role_among(relative.parts[:-1])


def _config(root: Path) -> YoloConfig:
    path = _config_file(root)
    if path is None:
        raise DataError(
            f"{root}: wanted the names of the classes, in data.yaml or in {NAME_LISTS[0]}: add one"
        )
    if path.name in NAME_LISTS:
        lines = [line.strip() for line in _text(path).splitlines()]
        return YoloConfig(path, {i: name for i, name in enumerate(lines) if name})
    content = _yaml(path)
    names = content.get("names")
    named = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(named, dict) or not named:
        raise DataError(
            f"{path}: wanted names, a list or a name for each number, got {names!r:.60}"
        )
    try:
        numbered = {int(key): _name(value) for key, value in named.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: wanted a name for each number: {error}") from error
    return YoloConfig(path, numbered, tuple(_roles(root, content)), "kpt_shape" in content)


def _name(value: object) -> str:
    """Returns a name; YAML reads unquoted numbers, and yes and no, as other things than text."""
    if isinstance(value, bool):
        raise ValueError("names such as yes, no, on and off want quotation marks in YAML")
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise ValueError(f"got {str(value)[:40]!r}")
    return str(value).strip()


def _roles(root: Path, content: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Returns the folders and files that a description names for each role, as parts of paths."""
    found = []
    for key, role in SPLITS.items():
        value = content.get(key)
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, str):
                continue
            entries = [each]
            if each.endswith(".txt") and (root / each).is_file():
                entries = _text(root / each).splitlines()
            found += [(role, _parts(entry)) for entry in entries if _parts(entry)]
    return found


def _parts(entry: str) -> tuple[str, ...]:
    parts = PurePosixPath(entry.strip().replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", ".", ".."))


def _text(path: Path) -> str:
    try:
        return read_bytes(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: wanted UTF-8: {error.reason}") from error


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise DataError(f"{path}: cannot be read without PyYAML: pip install PyYAML") from error
    try:
        content = yaml.safe_load(_text(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{path}: wanted YAML, cannot read it: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: wanted YAML with names: in it")
    return content
