"""Images as public reports describe them: read right, or refused in a sentence.

The reports are listed in docs/photo-cases.md.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tofa_edge.bundle.images import prepare, prepare_with_changes
from tofa_edge.errors import ImageError
from tofa_edge.images.formats import formats, what_it_is
from tofa_edge.images.reading import ROTATED

LEFT, RIGHT = (200, 10, 20), (20, 30, 200)
SIZE = 32
EXIF = b"Exif\0\0"
TURNED = 6  # the top of what is seen is the left of what is stored


def photo(mode: str = "RGB") -> Image.Image:
    """Returns an image whose left half has another colour than its right half."""
    image = Image.new("RGB", (SIZE, SIZE), LEFT)
    image.paste(RIGHT, (SIZE // 2, 0, SIZE, SIZE))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png_with(name: bytes, content: bytes) -> bytes:
    whole = saved(photo(), "PNG")
    return whole[:33] + chunk(name, content) + whole[33:]


def jpeg_with_exif(content: bytes) -> bytes:
    whole = saved(photo(), "JPEG", quality=95, subsampling=0)
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + whole[2:]


def directory(*entries: tuple[int, int, int, bytes], values: bytes = b"") -> bytes:
    """Returns EXIF of entries: tag, type, count, and four bytes of value; with `values` behind."""
    rows = b"".join(
        struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4) + values


def turned(*entries: tuple[int, int, int, bytes], values: bytes = b"") -> bytes:
    return directory((0x0112, 3, 1, struct.pack("<HH", TURNED, 0)), *entries, values=values)


def behind(entries: int) -> bytes:
    """Returns the place of values behind so many entries."""
    return struct.pack("<I", 14 + 12 * entries)


def tiff(channels: int, bits: int, sample_format: int = 1) -> bytes:
    """Returns a TIFF of many channels, as satellites and microscopes make them."""
    pixels = bytes(SIZE * SIZE * channels * bits // 8)
    entries = 11
    at = 8 + 2 + 12 * entries + 4
    lists = struct.pack(f"<{channels}H", *[bits] * channels)
    lists += struct.pack(f"<{channels}H", *[sample_format] * channels)
    rows = [
        (256, 3, 1, SIZE), (257, 3, 1, SIZE),
        (258, 3, channels, at if channels > 2 else bits | bits << 16),
        (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, at + len(lists)), (277, 3, 1, channels),
        (278, 3, 1, SIZE), (279, 4, 1, len(pixels)), (284, 3, 1, 1),
        (339, 3, channels, at + 2 * channels if channels > 2
         else sample_format | sample_format << 16),
    ]  # fmt: skip
    content = b"II*\0" + struct.pack("<IH", 8, entries)
    content += b"".join(struct.pack("<HHII", *row) for row in rows) + bytes(4)
    return content + lists + pixels


def float_tiff(largest: float) -> bytes:
    return saved(Image.fromarray(np.linspace(0, largest, 1024, dtype=np.float32).reshape(32, 32)),
                 "TIFF")  # fmt: skip


def renamed_brand(content: bytes, brand: bytes) -> bytes:
    return content[:8] + brand + content[12:]


def extraneous_bytes() -> bytes:
    whole = saved(photo(), "JPEG", quality=95, subsampling=0)
    return whole[:-2] + bytes(245) + whole[-2:]


READ: dict[str, Callable[[], bytes]] = {
    "16 bits grey": lambda: saved(Image.fromarray(
        np.asarray(photo("L")).astype(np.uint16) * 257), "PNG"),
    "palette with alpha": lambda: saved(photo().quantize(4), "PNG", transparency=bytes([9, 255])),
    "bytes before the end": extraneous_bytes,
    "a PNG called .jpg": lambda: saved(photo(), "PNG"),
    "a GIF called .jpg": lambda: saved(photo(), "GIF"),
    "WebP": lambda: saved(photo(), "WEBP", lossless=True),
    "MPO called .jpg": lambda: saved(photo(), "MPO", quality=95, subsampling=0, save_all=True,
                                     append_images=[photo()]),
    "CMYK": lambda: saved(photo("CMYK"), "JPEG", quality=95, subsampling=0),
    "empty EXIF": lambda: jpeg_with_exif(EXIF),
    "EXIF that is none": lambda: jpeg_with_exif(EXIF + b"\0\x08\0\x02\x01\x12\0\x03"),
    "EXIF of a PNG that is none": lambda: png_with(b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03"),
    "an ICC profile that is none": lambda: png_with(b"iCCP", b"x\0\0" + zlib.compress(b"none")),
    "a long comment": lambda: saved(photo(), "JPEG", quality=95, subsampling=0,
                                    comment=b"x" * 60_000),
    "fractions": lambda: saved(Image.fromarray(
        np.asarray(photo("L")).astype(np.float32) / 255), "TIFF"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.jpg").write_bytes(READ[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = prepare(tmp_path / "x.jpg", SIZE).astype(int)
    grey = name in ("16 bits grey", "fractions")
    wanted = np.asarray(photo("L").convert("RGB") if grey else photo()).astype(int)
    worst = 40 if name == "CMYK" else 12
    assert np.abs(pixels - wanted)[:, [2, -3]].max() <= worst


TURNS: dict[str, bytes] = {
    "twice the beginning": EXIF + EXIF + turned(),
    "a rational of -1 over 0": EXIF + turned(
        (0x9204, 10, 1, behind(2)), values=struct.pack("<ii", -1, 0)),
    "a resolution twice": EXIF + turned(
        (0x011A, 5, 2, behind(2)), values=struct.pack("<4I", 72, 1, 72, 1)),
    "a number where bytes belong": EXIF + turned((0x9286, 4, 1, struct.pack("<I", 7))),
    "text where a number belongs": EXIF + turned((0x0128, 2, 3, b"ab\0\0")),
    "values beyond the end": EXIF + turned((0x010F, 2, 900, struct.pack("<I", 5000))),
}  # fmt: skip


@pytest.mark.parametrize("name", TURNS)
def test_turned(tmp_path: Path, name: str) -> None:
    """Where EXIF is damaged, the turn is still that of the camera."""
    (tmp_path / "x.jpg").write_bytes(jpeg_with_exif(TURNS[name]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = prepare_with_changes(tmp_path / "x.jpg", SIZE)
    assert ROTATED in found.changes
    wanted = np.asarray(photo().transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(found.pixels - wanted)[[2, -3]].max() <= 12


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut JPEG": (lambda: saved(photo(), "JPEG")[:-60], "Truncated"),
    "cut PNG": (lambda: saved(photo(), "PNG")[:-40], "truncated|broken|not enough"),
    "PNG without an end": (lambda: saved(photo(), "PNG")[:50], "cannot read it"),
    "five channels": (lambda: tiff(5, 8), "a damaged TIFF, or one of a rare kind"),
    "grey of 16 bits with alpha": (lambda: tiff(2, 16), "a damaged TIFF, or one of a rare kind"),
    "numbers of 64 bits": (lambda: tiff(3, 64, 3), "a damaged TIFF, or one of a rare kind"),
    "temperatures": (lambda: float_tiff(90_000), "wanted values of up to 16 bits"),
    "a large ICC profile": (
        lambda: png_with(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**21))), "too large"),
    "a Git LFS pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:6fd5\nsize 9\n",
        "git lfs pull"),
    "a web page": (lambda: b"<!DOCTYPE html><title>403</title>", "a web page"),
    "a file of no bytes": (lambda: b"", "it is empty"),
    "HEIC called .jpg": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC"),
    "HEIC of the brand mif1": (lambda: b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99), "HEIC"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    (tmp_path / "x.jpg").write_bytes(content())
    with pytest.raises(ImageError, match=reason) as caught:
        prepare(tmp_path / "x.jpg", SIZE)
    assert str(caught.value).startswith(f"{tmp_path / 'x.jpg'}: ")


def test_avif_of_the_brand_mif1(tmp_path: Path) -> None:
    """Named after what it is, too, where it is damaged."""
    head = b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf"
    assert what_it_is(head) == "AVIF"
    if "AVIF" not in formats():
        pytest.skip("this Pillow has no AVIF")
    content = renamed_brand(saved(photo(), "AVIF", quality=95), b"mif1")
    (tmp_path / "x.avif").write_bytes(content)
    assert np.abs(prepare(tmp_path / "x.avif", SIZE)[:, 2].astype(int) - LEFT).max() <= 12
