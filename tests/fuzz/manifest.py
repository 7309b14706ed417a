"""Hostile manifests, whatever their fields mean: wrong types, numbers, keys, depth, size, text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.fuzz.crafted import (
    MANIFEST,
    Damage,
    DamagedFile,
    Sample,
    manifest_case,
    pick,
    with_manifest,
)
from tofa_edge.bundle.manifest import SCHEMA

Path = tuple[str | int, ...]

WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, "", "x", "7", "\0", "\ud800", "\x1b[2J\n", "é" * 5000, [], {},
    [[]], [None], {"": None}, {"a": {"b": []}}, [1, 2, 3], ["a"], [[1, [[1, 1]]]],
)  # fmt: skip
EXTREME: tuple[Any, ...] = (
    -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 10**4200, 1e308, -1e308, math.nan,
    math.inf, -math.inf, 1e-320,
)  # fmt: skip
EVIL_KEYS = ("x", "", "\0", "__class__", "__init__", "self", "\n\x1b[31m", "\ud800", "k" * 100_000)
OPTIONAL_FLAGS = ("squeeze_excitation", "shortcut", "kernel_transforms")


def _walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, node
    children: dict[Any, Any] = dict(enumerate(node)) if isinstance(node, list) else {}
    for key, child in (node if isinstance(node, dict) else children).items():
        yield from _walk(child, (*path, key))


def _spot(
    manifest: dict[str, Any], rng: np.random.Generator, kind: type | tuple[type, ...]
) -> Path:
    """Returns the path of a value of some type, every field of the manifest equally likely."""
    field = pick(rng, sorted(manifest))
    paths = [(field, *path) for path, node in _walk(manifest[field]) if isinstance(node, kind)]
    return pick(rng, paths) if paths else _spot(manifest, rng, kind)


def _parent(manifest: dict[str, Any], path: Path) -> Any:
    node: Any = manifest
    for key in path[:-1]:
        node = node[key]
    return node


def _json_type(value: Any) -> str:
    plain = type(value).__name__
    return "number" if plain in ("int", "float") else plain


def wrong_type(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Puts a value of another JSON type in any place."""
    manifest = sample.manifest()
    path = _spot(manifest, rng, object)
    parent = _parent(manifest, path)
    value = pick(rng, [item for item in WRONG if _json_type(item) != _json_type(parent[path[-1]])])
    parent[path[-1]] = value
    return manifest_case(sample, manifest, f"{path} is {value!r}", path[0] == "provenance")


def extreme_number(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Puts a number far outside the field's bounds in place of any number."""
    manifest = sample.manifest()
    path = _spot(manifest, rng, (int, float))
    value = pick(rng, EXTREME)
    _parent(manifest, path)[path[-1]] = value
    fits = path[:2] == ("preprocessing", "mean") and value in (-1, 1e-320)
    fits |= path[-1] == "accuracy" and value == 1e-320
    return manifest_case(
        sample, manifest, f"{path} is {str(value)[:30]}", path[0] == "provenance" or fits
    )


def missing_key(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Takes out any key or list item; fewer choices, or another subnet, do no harm."""
    manifest = sample.manifest()
    path = _spot(manifest, rng, object)
    if len(path) == 1 or rng.integers(4) == 0:
        path = path[:1]
    del _parent(manifest, path)[path[-1]]
    choice = path[0] == "space" and isinstance(path[-1], int)
    flag = path[0] == "space" and path[-1] in OPTIONAL_FLAGS
    inside = (path[0] in ("provenance", "finalists") and len(path) > 1) or (
        path[0] == "golden" and len(path) > 2
    )
    return manifest_case(sample, manifest, f"{path} missing", choice or flag or inside)


def unknown_key(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Adds a key that no version knows; later ones may, so most places ignore it."""
    manifest = sample.manifest()
    path = pick(rng, ((), _spot(manifest, rng, dict)))
    node = _parent(manifest, (*path, ""))
    key, value = pick(rng, EVIL_KEYS), pick(rng, (*WRONG, *EXTREME))
    node[key] = value
    refused = path[:1] == ("space",) or path == ("members",)
    return manifest_case(sample, manifest, f"{path} has {key[:20]!r}", not refused)


def nesting(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Nests lists or objects from 100 to a million deep, in a known or an unknown place."""
    depth = int(10 ** rng.uniform(2, 6))
    opening, closing = pick(rng, (("[", "]"), ('{"a":', "}"), ("[[0],", "]"), ("[", "")))
    deep = opening * depth + "0" + closing * depth
    manifest = sample.manifest()
    field = pick(rng, (*sorted(manifest), "unknown"))
    manifest[field] = "HERE"
    text = json.dumps(manifest).replace('"HERE"', deep)
    what = f"{field} nested {depth} deep with {opening}"
    return DamagedFile(with_manifest(sample.members, text.encode()), what, field == "unknown")


def flood(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Fills the manifest with as many small values as fit, or more."""
    item = pick(rng, ("[]", "{}", '""', '"ab"', "0", "1e1", "null", '{"a":0}', "[[]]", '"\\u0101"'))
    count = int(pick(rng, (0.1, 1.0, 3.8, 5.0)) * 2**20 / len(item))
    manifest = sample.manifest()
    field = pick(rng, (*sorted(manifest), "unknown"))
    manifest[field] = "HERE"
    many = "[" + ",".join([item] * count) + "]"
    if rng.integers(4) == 0:  # as many keys
        many = "{" + ",".join(f'"{index:x}":0' for index in range(count // 4)) + "}"
    text = json.dumps(manifest).replace('"HERE"', many)
    harmless = field in ("unknown", "provenance")
    return DamagedFile(
        with_manifest(sample.members, text.encode()), f"{field} has {count} {item}", harmless
    )


def text(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Stores a manifest that is no JSON text in UTF-8."""
    good = sample.members[MANIFEST]
    at = int(rng.integers(len(good)))
    schema = b'"schema":%d' % SCHEMA
    assert schema in good
    texts: tuple[bytes, ...] = (
        b"", b"\0", bytes(100), b"null", b"[]", b'"tofa-edge bundle"', b"{}", b"[" * 200_000,
        b"\xef\xbb\xbf" + good, good.decode().encode("utf-16"), good.decode().encode("utf-32"),
        good[:at], good[at:], good + b"\0", good + good, good[:at] + b"\0" + good[at:],
        good[:at] + b"\xff\xfe" + good[at:], good[:at] + b"\xed\xa0\x80" + good[at:],
        b"\x80\x04}q\x00.", b"<?xml version='1.0'?>", b"--- !!python/object:os.system\n",
        good.replace(schema, b'"schema":' + b"9" * 100_000),
        good.replace(schema, schema + b"0" * 4200), good.replace(schema, b'"schema":01'),
        good.replace(schema, b'"schema":2e999'),
    )  # fmt: skip
    index = int(rng.integers(len(texts)))
    return DamagedFile(with_manifest(sample.members, texts[index]), f"manifest text {index}, {at=}")


DAMAGES: dict[str, Damage] = {
    f"manifest_{damage.__name__}": damage
    for damage in (wrong_type, extreme_number, missing_key, unknown_key, nesting, flood, text)
}
