"""Hostile tensors: the zip and every hash are in order, the safetensors files are not."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from tests.fuzz.crafted import Damage, DamagedFile, Sample, pick, replaced, seal

WEIGHTS, GOLDEN = "weights.safetensors", "golden.safetensors"
CLASSIFIER, GOLDEN_IMAGES = "classifier.safetensors", "golden_images.safetensors"
FINALISTS = "finalists.safetensors"
MEMBERS = (WEIGHTS, CLASSIFIER, GOLDEN, GOLDEN_IMAGES, FINALISTS)
SPREADS = (".variance", ".deviation")  # of arrays whose numbers are not negative
ITEM_BYTES = {
    "I64": 8, "U64": 8, "F64": 8, "I32": 4, "U32": 4, "I16": 2, "BF16": 2, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8, "F128": 16, "f32": 4, "": 4,
}  # fmt: skip
Header = dict[str, Any]


def _split(content: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(content[:8], "little")
    header: Header = json.loads(content[8 : 8 + length])
    return header, content[8 + length :]


def _joined(header: Header | bytes, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensors(sample: Sample, rng: np.random.Generator) -> tuple[str, Header, bytes]:
    name = pick(rng, MEMBERS)
    header, data = _split(sample.members[name])
    header.pop("__metadata__", None)
    return name, header, data


def header(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Lies about the header's length, or stores something else than its JSON."""
    name, good, data = _tensors(sample, rng)
    text = json.dumps(good).encode()
    if rng.integers(2):
        length = pick(rng, (0, 1, 7, len(text) - 1, len(text) + 1, 2**20, 2**20 + 1, 10**8, 2**62))
        content = _joined(text, data, pick(rng, (length, 2**64 - 1, len(text) + len(data) + 1)))
        return DamagedFile(replaced(sample, name, content), f"{name}: header length {length}")
    texts = (
        b"", b"{}", b"[]", b"null", b"\0" * 64, text[:-1], text + b"\0", text.replace(b'"', b"'"),
        b"[" * 500_000, b'{"a":' * 190_000, b"{" + b"\xff" * 100 + b"}", b'{"\\ud800":0}',
        b'{"__metadata__":{"x":1},' + text[1:], b'{"__metadata__":[],' + text[1:],
        b'{"a":{"dtype":"F32","shape":[' + b"1," * 400_000 + b'1],"data_offsets":[0,4]}}',
    )  # fmt: skip
    index = int(rng.integers(len(texts)))
    return DamagedFile(
        replaced(sample, name, _joined(texts[index], data)), f"{name}: header {index}"
    )


def offsets(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Makes tensors overlap, leaves holes, or points outside."""
    name, good, data = _tensors(sample, rng)
    one, other = pick(rng, list(good)), pick(rng, list(good))
    start, end = good[one]["data_offsets"]
    lies: tuple[Any, ...] = (
        good[other]["data_offsets"], [end, start], [start, end + 4], [start + 4, end], [0, 2**63],
        [start + 2**32, end + 2**32], [-4, end - start - 4], [2**64 - 4, 2**64 - 1], [start], [],
        None, [start, end, end], [float(start), end], ["0", "4"], [0, 0], [end, end],
    )  # fmt: skip
    good[one]["data_offsets"] = lie = pick(rng, lies)
    return DamagedFile(
        replaced(sample, name, _joined(good, data)),
        f"{name}: {one} has offsets {lie}",
        harmless=lie == [start, end],
    )


def dtype(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Stores an array of the right shape in a type that bundles do not use."""
    name, good, data = _tensors(sample, rng)
    one = pick(rng, list(good))
    kind = pick(rng, [kind for kind in ITEM_BYTES if kind != good[one]["dtype"]])
    count = int(np.prod(good[one]["shape"]))
    stream, moved = io.BytesIO(), {}
    for key, entry in good.items():
        start, end = entry["data_offsets"]
        content = bytes(count * ITEM_BYTES[kind]) if key == one else data[start:end]
        begin = stream.tell()
        stream.write(content)
        moved[key] = {**entry, "data_offsets": [begin, stream.tell()]}
    moved[one]["dtype"] = kind
    content = _joined(moved, stream.getvalue())
    return DamagedFile(replaced(sample, name, content), f"{name}: {one} is {kind}")


def shape(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Gives an array another shape, of the same number of items or not."""
    name, good, data = _tensors(sample, rng)
    one = pick(rng, list(good))
    right = good[one]["shape"]
    total = int(np.prod(right))
    lies: tuple[Any, ...] = (
        [total], [1, *right], [*right, 1], right[::-1], [], [0], [0, 2**63], [2**32, 2**32], [-1],
        [total, 0], [2**63, 2], None, "1", [1.0 * total], [1] * 70 + [total], [[total]], right[1:],
    )  # fmt: skip
    good[one]["shape"] = lie = pick(rng, lies)
    content = replaced(sample, name, _joined(good, data))
    return DamagedFile(content, f"{name}: {one} has shape {str(lie)[:40]}", harmless=lie == right)


def values(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Hides a number that is not finite, or a negative variance; wrong logits are for engines."""
    name = pick(rng, (WEIGHTS, CLASSIFIER, GOLDEN, FINALISTS))
    arrays = {key: array.copy() for key, array in _loaded(sample, name).items()}
    floats = [key for key, array in arrays.items() if array.dtype.kind == "f"]
    one = pick(rng, floats)
    bad = pick(rng, (np.nan, np.inf, -np.inf, -1.0))
    if bad == -1.0 and name in (WEIGHTS, FINALISTS):
        one = pick(rng, [key for key in floats if key.endswith(SPREADS)])
    flat = arrays[one].reshape(-1)
    flat[int(rng.integers(flat.size))] = bad
    content = replaced(sample, name, _saved(arrays))
    return DamagedFile(
        content, f"{one} holds {bad}", harmless=bad == -1.0 and name in (CLASSIFIER, GOLDEN)
    )


def names(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Leaves out, adds, renames or doubles an array."""
    name, good, data = _tensors(sample, rng)
    one, change = pick(rng, list(good)), int(rng.integers(4))
    text = json.dumps(good)
    if change == 0:
        arrays = _loaded(sample, name)
        del arrays[one]
        content = _saved(arrays)
    elif change == 1:
        arrays = _loaded(sample, name)
        arrays[pick(rng, ("extra", "\n\x1b[31m", "n" * 10_000, ""))] = np.zeros(3, np.float32)
        content = _saved(arrays)
    elif change == 2:
        evil = pick(rng, ("", "../x", "__metadata__", "\\u0000", "images_99", "n" * 10_000))
        content = _joined(text.replace(f'"{one}"', f'"{evil}"', 1).encode(), data)
    else:
        other = pick(rng, [key for key in good if key != one])
        twin = json.dumps({one: good[other]})[1:-1]
        content = _joined(f"{{{twin},{text[1:-1]},{twin}}}".encode(), data)
    return DamagedFile(replaced(sample, name, content), f"{name}: {one}, names {change=}")


def _saved(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    saved: bytes = safetensors.numpy.save(dict(arrays))
    return saved


def _loaded(sample: Sample, name: str) -> dict[str, NDArray[Any]]:
    """Returns a member's arrays in the order of their names: the library's own order is random."""
    return dict(sorted(safetensors.numpy.load(sample.members[name]).items()))


def cut(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Cuts, extends or replaces the whole file of tensors."""
    name = pick(rng, MEMBERS)
    good = sample.members[name]
    at = int(rng.integers(len(good)))
    contents = (
        good[:at], good + b"\0", b"", b"\0" * 8, good[:8], good[8:], b"PK\5\6" + bytes(18),
    )  # fmt: skip
    content = replaced(sample, name, pick(rng, contents))
    return DamagedFile(content, f"{name} cut at {at} or replaced")


def golden_flood(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Makes the golden cases as large as they may be, or larger."""
    if rng.integers(20):
        return cut(sample, rng)  # the flood is slow to make
    count = pick(rng, (30_000, 80_000, 90_000))
    manifest = sample.manifest()
    size = manifest["golden"][0]["resolution"]
    count = count * 16 * 16 // size**2
    images, logits = _loaded(sample, GOLDEN_IMAGES), _loaded(sample, GOLDEN)
    images["images_0"] = np.zeros((count, size, size, 3), np.uint8)
    logits["logits_0"] = np.zeros((count, len(manifest["classes"])), np.float32)
    flood = {GOLDEN_IMAGES: _saved(images), GOLDEN: _saved(logits)}
    content = seal({**sample.members, **flood}, manifest)
    return DamagedFile(content, f"golden case of {count} images", harmless=True)


DAMAGES: dict[str, Damage] = {
    f"tensor_{damage.__name__}": damage
    for damage in (header, offsets, dtype, shape, values, names, cut, golden_flood)
}
