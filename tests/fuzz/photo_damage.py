"""Small photos of every format that Pillow writes here, and ways to damage one."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from PIL import Image

from tests.fuzz.crafted import pick
from tests.fuzz.images import bombs

SIZE = (90, 70)
MOST_BYTES = 100_000  # of a photo
FORMATS: Mapping[str, tuple[dict[str, object], ...]] = MappingProxyType(
    {  # options to save with, by Pillow's name
        "JPEG": ({}, {"progressive": True}, {"quality": 100, "comment": b"x" * 99}),
        "MPO": ({"save_all": True},),
        "PNG": ({}, {"compress_level": 0}, {"save_all": True}),
        "GIF": ({}, {"save_all": True}, {"interlace": 1, "transparency": 3}),
        "WEBP": ({}, {"lossless": True}, {"save_all": True}),
        "TIFF": (
            {}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"},
            {"compression": "jpeg"}, {"compression": "packbits"}, {"save_all": True},
            {"big_tiff": True},
        ),
        "BMP": ({},),
        "DIB": ({},),
        "PPM": ({},),
        "AVIF": ({"speed": 10}, {"save_all": True, "speed": 10}),
        "JPEG2000": ({}, {"irreversible": True, "no_jp2": True}),
        "ICO": ({},),
        "ICNS": ({},),
        "TGA": ({}, {"compression": "tga_rle"}),
        "PCX": ({},),
        "SGI": ({},),
        "QOI": ({},),
        "DDS": ({}, {"pixel_format": "DXT5"}),
        "IM": ({},),
        "MSP": ({},),
        "BLP": ({},),
        "XBM": ({},),
        "SPIDER": ({},),
    }
)  # fmt: skip
MODES = ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I;16", "F")
SUFFIXES = (".jpg", ".png", ".gif", ".webp", ".tif", ".bmp", ".ppm", ".avif", ".jpeg")
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 30_000, 0x7FFFFFFF, 0xFFFFFFFF)
PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"

Content = bytes
PhotoDamage = Callable[[Content, np.random.Generator], Content]


@lru_cache(maxsize=1)
def photos() -> tuple[tuple[str, bytes], ...]:
    """Returns each photo with the format, options and mode that made it."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8))
    picture, other = (small.resize(SIZE, Image.Resampling(number)) for number in (3, 2))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    made = []
    for name, variants in FORMATS.items():
        for options in variants:
            for mode in MODES:
                content = _saved(picture, other, name, options, mode, exif)
                if 0 < len(content) <= MOST_BYTES:
                    made.append((f"{name} {mode} {options}", content))
    return tuple(made)


def _saved(
    picture: Image.Image,
    other: Image.Image,
    name: str,
    options: dict[str, object],
    mode: str,
    exif: Image.Exif,
) -> bytes:
    """Returns an image as a file, empty where Pillow cannot write it so."""
    stream = io.BytesIO()
    if options.get("compression") == "jpeg" and mode not in ("RGB", "L"):
        return b""  # libtiff would say so on the error stream
    grey = mode in ("I;16", "F")
    image, second = (each.convert("L" if grey else mode) for each in (picture, other))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    more = {"append_images": [second, image]} if options.get("save_all") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some formats will go with a later Pillow
            image.save(stream, name, exif=exif, **options, **more)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return b""
    return stream.getvalue()


def flip(content: Content, rng: np.random.Generator) -> Content:
    """Changes some bytes anywhere."""
    return _changed(content, rng, len(content))


def flip_header(content: Content, rng: np.random.Generator) -> Content:
    """Changes some of the first bytes."""
    return _changed(content, rng, min(len(content), pick(rng, (32, 200, 1000))))


def cut(content: Content, rng: np.random.Generator) -> Content:
    """Keeps the first bytes."""
    return content[: int(rng.integers(len(content)))]


def remove(content: Content, rng: np.random.Generator) -> Content:
    """Leaves a part out."""
    first, last = _span(content, rng)
    return content[:first] + content[last:]


def repeat(content: Content, rng: np.random.Generator) -> Content:
    """Has a part many times."""
    first, last = _span(content, rng)
    return content[:first] + content[first:last] * int(rng.integers(2, 50)) + content[last:]


def fill(content: Content, rng: np.random.Generator) -> Content:
    """Sets a part to one value."""
    first, last = _span(content, rng)
    return content[:first] + bytes([pick(rng, (0, 255, 0x2A))]) * (last - first) + content[last:]


def swap(content: Content, rng: np.random.Generator) -> Content:
    """Puts two parts in each other's place."""
    a, b, c = sorted(int(n) for n in rng.integers(0, len(content) + 1, 3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def graft(content: Content, rng: np.random.Generator) -> Content:
    """Ends like another photo, perhaps of another format."""
    _, other = pick(rng, photos())
    return content[: int(rng.integers(len(content)))] + other[int(rng.integers(len(other))) :]


def claim(content: Content, rng: np.random.Generator) -> Content:
    """Has extreme numbers among the first bytes, such as for its size."""
    changed = bytearray(content)
    reach = pick(rng, (30, 100, 400))
    for _ in range(int(rng.integers(1, 4))):
        form = pick(rng, (">H", "<H", ">L", "<L", "<H", ">L"))
        number = struct.pack(form, pick(rng, EXTREMES) & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
        at = int(rng.integers(min(reach, max(1, len(changed) - len(number)))))
        changed[at : at + len(number)] = number
    return bytes(changed)


def claim_size(content: Content, rng: np.random.Generator) -> Content:
    """Claims another size wherever its own stands as a number."""
    new = [int(n) for n in rng.choice([0, 1, 3, 90, 151, 2_000, 9_000, 16_383, 40_000, 65_535], 2)]
    for form in (">H", "<H", ">L", "<L"):
        for old, number in zip(SIZE, new, strict=True):
            content = content.replace(struct.pack(form, old), struct.pack(form, number))
    return content


def bomb(content: Content, rng: np.random.Generator) -> Content:
    """Is a small file that wants much memory or time, perhaps with a flipped byte."""
    chosen = pick(rng, bombs())
    return chosen if rng.integers(2) else _changed(chosen, rng, min(len(chosen), 100))


DAMAGES: tuple[PhotoDamage, ...] = (
    flip, flip_header, cut, remove, repeat, fill, swap, graft, claim, claim_size,
)  # fmt: skip


def repaired_png(content: Content) -> Content:
    """Returns a damaged PNG with checksums that are right again, so that its damage is read."""
    parts, at = [PNG_BEGINNING], len(PNG_BEGINNING)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        body = content[at + 4 : at + 8 + length]
        if len(body) < length + 4:
            break
        parts += [content[at : at + 4], body, struct.pack(">L", zlib.crc32(body))]
        at += 12 + length
    return b"".join(parts) + content[at:]


def _changed(content: Content, rng: np.random.Generator, reach: int) -> Content:
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 12))):
        at = int(rng.integers(reach))
        changed[at] = pick(rng, (0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))))
    return bytes(changed)


def _span(content: Content, rng: np.random.Generator) -> tuple[int, int]:
    first = int(rng.integers(len(content)))
    return first, min(len(content), first + int(rng.integers(1, pick(rng, (8, 64, 1000)))))
