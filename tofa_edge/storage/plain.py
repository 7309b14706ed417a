"""Frozen dataclasses as plain JSON values, and back, with every type checked.

What comes from a file may be damaged or hostile, so nothing is converted: a field that is unknown,
or has another type than its annotation, is an error with the path to it.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Value = TypeVar("Value")
MOST_ITEMS = 20_000
MOST_TEXT = 2_000
MOST = sys.float_info.max  # not a number is never below it


def to_plain(value: Any) -> Any:
    """Returns a dataclass `value` as dicts, lists and scalars, without fields at their default.

    So a file says what is known, and a reader with more fields still reads it.
    """
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != field.default
        }
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[Value], value: object) -> Value:
    """Returns a dataclass of a `kind` from the `value` that `to_plain` made of it, through JSON.

    Raises:
        ValueError: a field is missing, unknown or of another type; the message says which.
    """
    return _read(kind, value, kind.__name__.lower())  # type: ignore[no-any-return]


def _read(kind: Any, value: object, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):  # only `X | None` occurs
        return None if value is None else _read(inner[0], value, where)
    if origin is Literal:
        return _checked(value in inner, value, f"one of {', '.join(map(repr, inner))}", where)
    if origin is tuple:
        held = isinstance(value, list) and len(value) <= MOST_ITEMS
        items: Any = _checked(held, value, "a list", where)
        if inner[-1] is not Ellipsis:  # of a fixed length
            _checked(len(items) == len(inner), value, f"a list of {len(inner)}", where)
        kinds = [inner[0]] * len(items) if inner[-1] is Ellipsis else inner
        pairs = zip(kinds, items, strict=True)
        return tuple(_read(kind, item, f"{where}[{n}]") for n, (kind, item) in enumerate(pairs))
    if origin is not None:  # a Mapping from text
        held = isinstance(value, dict) and len(value) <= MOST_ITEMS
        fields: Any = _checked(held, value, "an object", where)
        return {_text(key, where): _read(inner[1], item, where) for key, item in fields.items()}
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, where)
    return _scalar(kind, value, where)


def _read_fields(kind: Any, value: object, where: str) -> Any:
    held: Any = _checked(isinstance(value, dict), value, "an object", where)
    hints = _hints(kind)
    unknown = sorted(set(held) - set(hints))
    if unknown:
        raise ValueError(f"{where} has no field {unknown[0][:60]!r}")
    for field in dataclasses.fields(kind):
        if field.name not in held and field.default is dataclasses.MISSING:
            raise ValueError(f"{where} lacks the field {field.name!r}")
    read = {name: _read(hints[name], item, f"{where}.{name}") for name, item in held.items()}
    try:
        return kind(**read)
    except ValueError as error:  # by its __post_init__
        raise ValueError(f"{where}: {error}") from error


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _scalar(kind: Any, value: object, where: str) -> Any:
    if kind is str:
        return _text(value, where)
    if kind is float:
        number = type(value) in (int, float) and abs(value) <= MOST  # type: ignore[arg-type]
        return float(_checked(number, value, "a finite number", where))  # type: ignore[arg-type]
    read: Any = _checked(type(value) is kind, value, kind.__name__, where)
    return _checked(kind is not int or abs(read) <= MOST, value, "an int that fits a float", where)


def _text(value: object, where: str) -> str:
    held = isinstance(value, str) and len(value) <= MOST_TEXT and value.isprintable()
    return str(_checked(held, value, "printable text", where))


def _checked(held: bool, value: object, wanted: str, where: str) -> object:
    if not held:
        raise ValueError(f"{where}: wanted {wanted}, got {value!r:.60}")
    return value
