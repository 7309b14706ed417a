"""Values of 10, 12 and 14 bits in files of 16: scaled by the range they are in."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tofa_edge.bundle.images import prepare, prepare_with_changes
from tofa_edge.errors import ImageError
from tofa_edge.images.depth import bits_of
from tofa_edge.images.reading import DEEP, read


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">L", len(content)) + body + struct.pack(">L", zlib.crc32(body))


def colour_png(values: NDArray[np.uint16]) -> bytes:
    """A PNG with 16 bits a value, which Pillow does not write."""
    height, width, channels = values.shape
    header = struct.pack(">2L5B", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def colour_tiff(values: NDArray[np.uint16], order: str, packed: bool) -> bytes:
    """A TIFF with 16 bits a value, which Pillow does not write; `packed` by deflate."""
    height, width, channels = values.shape
    content = values.astype(f"{order}u2").tobytes()
    content = zlib.compress(content) if packed else content
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 8), (259, 3, 1, 8 if packed else
        1), (262, 3, 1, 2), (273, 4, 1, 8 + len(bits)), (277, 3, 1, channels), (278, 4, 1, height),
        (279, 4, 1, len(content)),
    ]  # fmt: skip
    start = 8 + len(bits) + len(content)
    start += start % 2
    entries = b""
    for tag, kind, count, value in tags:
        inline = kind == 3 and count == 1
        entries += struct.pack(f"{order}2HL", tag, kind, count)
        entries += struct.pack(f"{order}2H" if inline else f"{order}L", *[value, 0][: 1 + inline])
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, start)
    body = (head + bits + content).ljust(start, b"\0")
    return body + struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}L", 0)


def ramp(bits: int) -> NDArray[np.uint16]:
    return np.linspace(0, 2**bits - 1, 1024).astype(np.uint16).reshape(32, 32)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["tif", "png"])
def test_grey_is_scaled_by_its_range(tmp_path: Path, bits: int, kind: str) -> None:
    Image.fromarray(ramp(bits)).save(tmp_path / f"x.{kind}")
    made = prepare_with_changes(tmp_path / f"x.{kind}", 32)
    assert np.array_equal(made.pixels[..., 0], ramp(bits) >> (bits - 8))
    assert made.changes == (DEEP,)
    assert made.peak == 2**bits - 1


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "png with alpha", "<", ">", "<packed", ">packed"])
def test_colours_are_scaled_by_their_range(tmp_path: Path, bits: int, kind: str) -> None:
    values = np.stack([ramp(bits), ramp(bits)[::-1], ramp(bits).T], axis=2)
    if kind.startswith("png"):
        alpha = np.full((32, 32, 1), 65535, np.uint16)
        whole = np.concatenate([values, alpha], axis=2) if "alpha" in kind else values
        content = colour_png(whole)
    else:
        content = colour_tiff(values, kind[0], "packed" in kind)
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    picture = read(path)
    assert np.array_equal(np.asarray(picture.image), values >> (bits - 8))
    assert picture.changes == (DEEP,)
    assert picture.peak is not None
    assert bits_of(picture.peak) == bits


def test_a_dark_photo_is_scaled_as_its_set(tmp_path: Path) -> None:
    Image.fromarray(ramp(8)).save(tmp_path / "x.png")
    assert prepare(tmp_path / "x.png", 32, peak=4000).max() == 255 >> 4
    colours = np.repeat(ramp(8)[..., None], 3, axis=2)
    (tmp_path / "y.png").write_bytes(colour_png(colours))
    assert prepare(tmp_path / "y.png", 32, peak=4000).max() == 255 >> 4


def test_whole_numbers_of_32_bits(tmp_path: Path) -> None:
    Image.fromarray(ramp(12).astype(np.int32)).save(tmp_path / "x.tif")
    assert np.array_equal(prepare(tmp_path / "x.tif", 32)[..., 0], ramp(12) >> 4)
    Image.fromarray(np.full((9, 9), 10**6, np.int32)).save(tmp_path / "y.tif")
    with pytest.raises(ImageError, match=r"y\.tif: wanted values of up to 16 bits .* got 1e\+06"):
        prepare(tmp_path / "y.tif", 32)


def test_fractions_of_another_range(tmp_path: Path) -> None:
    Image.fromarray(ramp(12).astype(np.float32)).save(tmp_path / "x.tif")
    assert np.array_equal(prepare(tmp_path / "x.tif", 32)[..., 0], ramp(12) >> 4)


def test_black_stays_black(tmp_path: Path) -> None:
    for kind in (np.uint16, np.int32, np.float32):
        Image.fromarray(np.zeros((9, 9), kind)).save(tmp_path / "x.tif")
        assert prepare(tmp_path / "x.tif", 9).max() == 0
