"""Photos and labels from tables: CSV, Hugging Face's metadata, Roboflow's classes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tofa_edge.errors import DataError
from tofa_edge.images.walk import PassedOver, walk
from tofa_edge.train.data.class_names import one_form
from tofa_edge.train.data.photos import LabelledPaths
from tofa_edge.train.data.reading import PLAIN, ReadingOptions
from tofa_edge.train.data.roles import role_called
from tofa_edge.train.data.tables.column_names import LABEL_NUMBERS, LABELS, is_path_name, normal
from tofa_edge.train.data.tables.columns import BITS, Columns, columns_of
from tofa_edge.train.data.tables.dialects import MOST_BYTES, PhotoTable, read_bytes, read_table
from tofa_edge.train.data.tables.files import Place, are_there
from tofa_edge.train.data.tables.listing import Listed, labelled

log = logging.getLogger(__name__)

ROBOFLOW = "_classes.csv"
METADATA = ("metadata.csv", "metadata.jsonl")
LINES = ".jsonl"
NOT_LISTED = "not in the table"
TABLES = (".csv", ".tsv", ".txt", LINES)


def read_csv(path: Path, least_classes: int = 2, reading: ReadingOptions = PLAIN) -> LabelledPaths:
    """Returns the photos of a table with a path and a label in each row.

    Paths are relative to the file. A missing or empty label means unlabelled.

    Args:
        path: of the file: CSV of any usual dialect, or one JSON object a line (.jsonl).
        least_classes: how many there must be.
        reading: what the user allows.

    Raises:
        DataError: it cannot be understood, a photo is outside of its folder or listed twice, or
            more than 5 % of them are not there.
    """
    return labelled(path, _photos(path, reading), least_classes)


def tables_in(root: Path) -> dict[Path, str | None]:
    """Returns the tables that a folder is read by, with the role of their photos.

    They are Hugging Face's metadata or Roboflow's classes, in the folder itself or in folders in it
    that are called train, valid, test and the like. None is found where none names photos and
    labels.

    Raises:
        OSError: the folder cannot be read.
    """
    folders = {root: None} | {
        place: role_called(place.name)
        for place in sorted(root.iterdir())
        if place.is_dir() and role_called(place.name)
    }
    found: dict[Path, str | None] = {}
    for folder, role in folders.items():
        for name in (ROBOFLOW, *METADATA):
            if (folder / name).is_file() and _lists_photos(folder / name):
                found[folder / name] = role
                break
    return found


def read_tables(
    root: Path, tables: dict[Path, str | None], least_classes: int, reading: ReadingOptions
) -> LabelledPaths:
    """Returns the photos of all `tables` in a folder; each has the role of its table.

    Photos in the folder that no table lists are in `passed_over`.
    """
    photos = []
    for path, role in tables.items():
        photos += [
            Listed(each.path, each.label, each.role or role) for each in _photos(path, reading)
        ]
    found, known = walk(root), {os.path.realpath(each.path) for each in photos}
    others = [PassedOver(path, NOT_LISTED) for path in found.photos
              if os.path.realpath(path) not in known]  # fmt: skip
    return replace(labelled(root, photos, least_classes), passed_over=tuple(others))


def _lists_photos(path: Path) -> bool:
    """Returns whether a table names photos and labels; says so where it does not."""
    if path.name == ROBOFLOW:
        return True
    table = _read(path)
    names = table.rows[0] if table.rows else ()
    labels = any(normal(name) in (*LABELS, *LABEL_NUMBERS) for name in names)
    if labels and any(map(is_path_name, names)):
        return True
    log.warning(f"{path}: not read: no columns of paths and labels; {table.seen()}")
    return False


def _photos(path: Path, reading: ReadingOptions) -> list[Listed]:
    table = _read(path)
    if not table.rows:
        raise DataError(f"{path}: wanted rows of a path and a label, got none ({table.dialect})")
    place = Place(path, path.parent, (path.parent,), reading.allow_outside)
    columns = columns_of(table, place.has, one_column_a_class=path.name == ROBOFLOW)
    if columns.unread:
        log.info(f"{path}: columns that are not read: {', '.join(map(repr, columns.unread))}")
    rows = list(zip(table.rows, table.lines, strict=True))[1 if columns.header else 0 :]
    width = len(table.rows[0])
    photos = []
    for row, line in rows:
        if any(row[width:]):
            raise DataError(
                f"{path}: line {line} has {len(row)} columns, the first row {width}: does a name "
                f"with a separator in it lack quotation marks? ({table.seen()})"
            )
        photos += _listed(path, row, line, columns, place)
    there = are_there(path, [photo.path for photo in photos], table.seen())
    return [photo for photo, found in zip(photos, there, strict=True) if found]


def _listed(
    path: Path, row: Sequence[str], line: int, columns: Columns, place: Place
) -> list[Listed]:
    """Returns the photo of a row, none where the row names none."""

    def cell(column: int | None) -> str:
        return row[column] if column is not None and column < len(row) else ""

    name, split = cell(columns.path), cell(columns.split)
    if not name:
        return []
    role = role_called(split)
    if split and role is None:
        raise DataError(f"{path}: line {line}: wanted train, validation or test, got {split!r}")
    label = cell(columns.label)
    if columns.classes:
        bits = [(name, BITS.get(cell(i).casefold() or "0")) for i, name in columns.classes]
        wrong = [name for name, bit in bits if bit is None]
        if wrong:
            raise DataError(f"{path}: line {line}: wanted 0 or 1 for class {wrong[0]!r}")
        named = [name for name, bit in bits if bit]
        if len(named) > 1:
            raise DataError(
                f"{path}: line {line}: {name!r} is of several classes "
                f"({', '.join(map(repr, named[:4]))}): wanted one class for each photo"
            )
        label = named[0] if named else ""
    return [Listed(place.find(name), one_form(label), role)]


def _read(path: Path) -> PhotoTable:
    return _read_lines(path) if path.suffix.lower() == LINES else read_table(path)


def _read_lines(path: Path) -> PhotoTable:
    """Returns the rows of a file with a JSON object in each line; their keys are the header."""
    objects, lines = [], []
    try:
        content = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
        for number, line in enumerate(content.split("\n"), 1):
            if line.strip():
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise ValueError("wanted a JSON object")
                _check_one_label(value)
                objects.append(value)
                lines.append(number)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: wanted UTF-8: {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: line {number}: wanted a JSON object: {error}") from error
    names = tuple(dict.fromkeys(name for value in objects for name in value))
    rows = [tuple(_text(value.get(name)) for name in names) for value in objects]
    table = (names, *rows) if rows else ()
    return PhotoTable(path, table, (0, *lines)[: len(table)], "JSON lines", named=True)


def _check_one_label(value: dict[str, object]) -> None:
    for name, content in value.items():
        if normal(name) in LABELS and isinstance(content, list | dict):
            raise ValueError(f"{name!r} is {json.dumps(content)[:60]}: wanted one label")


def _text(value: object) -> str:
    """Returns a JSON value as a cell; null is empty."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
