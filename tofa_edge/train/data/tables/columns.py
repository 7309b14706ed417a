"""Which column of a table holds the photos, which the labels, and which the roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tofa_edge.errors import DataError
from tofa_edge.train.data.roles import role_called
from tofa_edge.train.data.tables.column_names import (
    CORNERS,
    IDENTIFIERS,
    INDICES,
    LABEL_NUMBERS,
    LABELS,
    PATHS,
    SPLITS,
    is_path_name,
    normal,
)
from tofa_edge.train.data.tables.dialects import PhotoTable, is_photo_name

LOOKED_AT = 50  # rows that say what a column holds
BITS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
WANTED = "a header such as path,label[,split], or rows of a path and a label"

IsPhoto = Callable[[str], bool]


@dataclass(frozen=True)
class Columns:
    """Where a table's columns stand, from 0.

    Attributes:
        header: whether the first row names the columns.
        path: of the photos.
        label: of their labels; None where there are none.
        split: of the photos' roles; None where there are none.
        classes: of one column for each class, its place and name; empty where labels are written.
        unread: names of the others.
    """

    header: bool
    path: int
    label: int | None = None
    split: int | None = None
    classes: tuple[tuple[int, str], ...] = ()
    unread: tuple[str, ...] = ()


def columns_of(table: PhotoTable, is_photo: IsPhoto, one_column_a_class: bool = False) -> Columns:
    """Returns where the columns of a `table` are: by their names, or without any by what they hold.

    Args:
        table: with a row or more.
        is_photo: whether a cell names a photo that is there.
        one_column_a_class: whether all columns but the first are classes, as in Roboflow's files.

    Raises:
        DataError: there is more than one way to understand it, or none.
    """
    first, following = table.rows[0], table.rows[1:LOOKED_AT]
    photos = any(is_photo_name(cell) or is_photo(cell) for cell in first)
    if any(map(is_path_name, first)) and (table.named or not photos):
        return _named(table, is_photo, one_column_a_class)
    names_columns = not photos and any(is_photo_name(cell) for row in following for cell in row)
    if table.named or names_columns:
        raise DataError(f"{table.path}: wanted {WANTED}; no column of paths in it; {table.seen()}")
    return _unnamed(table, is_photo)


def _named(table: PhotoTable, is_photo: IsPhoto, one_column_a_class: bool) -> Columns:
    names = [normal(cell) for cell in table.rows[0]]
    if set(names) >= CORNERS:
        raise DataError(
            f"{table.path}: its rows are boxes ({', '.join(sorted(CORNERS))}): export them as COCO "
            "JSON, YOLO or Pascal VOC, and give --crops"
        )
    path = _path(table, names, is_photo)
    rest = [i for i in range(len(names)) if i != path and names[i] not in INDICES]
    if one_column_a_class:
        return Columns(True, path, classes=_class_columns(table, rest))
    split = _only(table, [i for i in rest if names[i] in SPLITS and _holds_roles(table, i)])
    label = _label(table, names, [i for i in rest if i != split])
    used = {split, label}
    rest = [i for i in rest if i not in used]
    _check_splits(table, [i for i in rest if names[i] in SPLITS])
    others = [i for i in rest if names[i] not in (*PATHS, *IDENTIFIERS)]
    if label is None and others:
        if len(others) < 2 or not all(_bits(table, i) for i in others):
            seen = ", ".join(repr(cell) for cell in table.rows[0])
            raise DataError(
                f"{table.path}: wanted a column called {', '.join(LABELS[:6])} with the labels, or "
                f"a column of 0 and 1 for each class; the columns are {seen}; {table.seen()}"
            )
        return Columns(True, path, None, split, _class_columns(table, others))
    return Columns(True, path, label, split, unread=tuple(table.rows[0][i] for i in rest))


def _path(table: PhotoTable, names: Sequence[str], is_photo: IsPhoto) -> int:
    """Returns the column whose cells are photos, or the most usual name among several."""
    order = (*PATHS, *IDENTIFIERS)
    found = [i for i, name in enumerate(names) if name in order]

    def rank(column: int) -> tuple[float, int]:
        return -_share(table, column, is_photo), order.index(names[column])

    return min(found, key=rank)


def _label(table: PhotoTable, names: Sequence[str], candidates: Sequence[int]) -> int | None:
    """Returns the column of labels; one of words is preferred to one of numbers."""
    for wanted in (LABELS, LABEL_NUMBERS):
        found = [i for i in candidates if names[i] in wanted]
        words = [i for i in found if not all(cell.isdecimal() for cell in _cells(table, i))]
        if found:
            return _only(table, words or found)
    return None


def _only(table: PhotoTable, found: Sequence[int]) -> int | None:
    if len(found) > 1:
        named = " and ".join(repr(table.rows[0][i]) for i in found)
        raise DataError(
            f"{table.path}: the columns {named} may both be meant: rename or remove one of them"
        )
    return found[0] if found else None


def _check_splits(table: PhotoTable, columns: Sequence[int]) -> None:
    """Refuses a column that is called a split and holds no roles: its test rows would train."""
    for column in columns:
        held = sorted(set(_cells(table, column)))
        raise DataError(
            f"{table.path}: column {table.rows[0][column]!r} holds {', '.join(held[:6])}; wanted "
            "train, validation or test: write these, or rename the column if it means another thing"
        )


def _class_columns(table: PhotoTable, columns: Sequence[int]) -> tuple[tuple[int, str], ...]:
    return tuple((i, table.rows[0][i]) for i in columns)


def _unnamed(table: PhotoTable, is_photo: IsPhoto) -> Columns:
    places = range(max(len(row) for row in table.rows[:LOOKED_AT]))
    paths = [i for i in places if _share(table, i, lambda c: is_photo(c) or is_photo_name(c)) > 0.5]
    if len(paths) > 1:
        paths = [max(paths, key=lambda i: _share(table, i, is_photo))]
    if not paths and len(places) > 2:
        raise DataError(f"{table.path}: wanted {WANTED}; no column of paths in it; {table.seen()}")
    path = paths[0] if paths else 0
    rest = [i for i in places if i != path]
    split = None
    if len(rest) > 1:
        rest = [i for i in rest if not _counts_rows(table, i)]
        splits = [i for i in rest if _holds_roles(table, i)]
        split = splits[0] if len(splits) == 1 and len(rest) > 1 else None
        rest = [i for i in rest if i != split]
    if len(rest) > 1:
        raise DataError(
            f"{table.path}: its first row has {len(places)} columns and names none: wanted "
            f"{WANTED}; {table.seen()}"
        )
    return Columns(False, path, rest[0] if rest else None, split)


def _cells(table: PhotoTable, column: int) -> list[str]:
    """Returns what a column holds below the header, without empty cells."""
    return [row[column] for row in table.rows[1:] if column < len(row) and row[column]]


def _share(table: PhotoTable, column: int, kind: IsPhoto) -> float:
    """Returns the share of a column's first cells that are of a `kind`."""
    rows = [row for row in table.rows[:LOOKED_AT] if column < len(row)]
    return sum(kind(row[column]) for row in rows) / max(1, len(rows))


def _holds_roles(table: PhotoTable, column: int) -> bool:
    cells = _cells(table, column)
    return bool(cells) and all(role_called(cell) is not None for cell in cells)


def _bits(table: PhotoTable, column: int) -> bool:
    return all(cell.casefold() in BITS for cell in _cells(table, column))


def _counts_rows(table: PhotoTable, column: int) -> bool:
    """Returns whether a column without a name counts the rows, from 0 or 1."""
    cells = [row[column] if column < len(row) else "" for row in table.rows]
    return any(cells == [str(i) for i in range(start, start + len(cells))] for start in (0, 1))
