"""The JSON Schema of what `to_plain` writes of a dataclass, from its types and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ATTRIBUTES = re.compile(r"^Attributes:\n(.*?)(?:\n\S|\Z)", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^ {4}(\w+): (.+?)(?=^ {4}\w+:|\Z)", re.MULTILINE | re.DOTALL)
MOST_DEPTH, SHORT = 4, 200  # from which an object is on one line; characters of one that is
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema(kind: type[Any], title: str) -> dict[str, Any]:
    """Returns the JSON Schema, draft 2020-12, of a dataclass of a `kind`, with a `title`.

    Descriptions are the first lines of the docstrings and their entries under "Attributes:". It
    knows the types that `from_plain` reads; checks of `__post_init__` are not in it.
    """
    definitions: dict[str, Any] = {}
    _described(kind, definitions)
    top = definitions.pop(kind.__name__)
    ordered = dict(sorted(definitions.items()))
    return {"$schema": DRAFT, "title": title, **top, "$defs": ordered}


def schema_text(schema: dict[str, Any]) -> str:
    """Returns a `schema` as JSON text, each property of an object on a line of its own."""
    return _dumped(schema, 0) + "\n"


def attribute_docs(kind: type[Any]) -> dict[str, str]:
    """Returns what the docstrings of a `kind` and of its bases say of their attributes."""
    said: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        part = ATTRIBUTES.search(inspect.cleandoc(each.__doc__ or ""))
        if part:
            said |= {name: " ".join(words.split()) for name, words in ENTRY.findall(part[1] + "\n")}
    return said


def _dumped(value: Any, depth: int) -> str:
    short = json.dumps(value, ensure_ascii=False)
    nested = isinstance(value, dict) and any(isinstance(item, dict) for item in value.values())
    if not nested or depth == MOST_DEPTH or len(short) <= SHORT:
        return short
    margin = " " * depth
    lines = (
        f"{margin} {json.dumps(name)}: {_dumped(item, depth + 1)}" for name, item in value.items()
    )
    return "{\n" + ",\n".join(lines) + f"\n{margin}}}"


def _described(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_described(inner[0], definitions), {"type": "null"}]}
    if origin is Literal:
        return {"enum": [*inner]}
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return {"type": "array", "items": _described(inner[0], definitions)}
        each = [_described(kind, definitions) for kind in inner]
        return {"type": "array", "prefixItems": each, "items": False, "minItems": len(each)}
    if origin is not None:  # a Mapping from text
        return {"type": "object", "additionalProperties": _described(inner[1], definitions)}
    if dataclasses.is_dataclass(kind):
        name = getattr(kind, "__name__", "")
        if name not in definitions:
            definitions[name] = {}  # while it is being described
            definitions[name] = _of_fields(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    return {"type": SCALARS[kind]}


def _of_fields(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, said = get_type_hints(kind), attribute_docs(kind)
    fields = dataclasses.fields(kind)
    properties = {}
    for field in fields:
        described = _described(hints[field.name], definitions)
        known = {"description": said[field.name]} if field.name in said else {}
        properties[field.name] = described | known
    return {
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "type": "object",
        "properties": properties,
        "required": [f.name for f in fields if f.default is dataclasses.MISSING],
        "additionalProperties": False,
    }
