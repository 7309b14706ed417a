"""Hostile photos: bombs, other formats, damage within a JPEG whose hash is in order."""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache

import numpy as np
from PIL import Image

from tests.fuzz.crafted import Damage, DamagedFile, Sample, pick, replaced
from tofa_edge.selftest.small_bundle import smooth_photo


def _png(width: int, height: int, mode: int, depth: int, data: bytes, *more: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">L", len(content)) + body + struct.pack(">L", zlib.crc32(body))

    first = struct.pack(">2L5B", width, height, depth, mode, 0, 0, 0)
    extra = b"".join(chunk(text[:4], text[4:]) for text in more)
    end = chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", first) + extra + end


@lru_cache(maxsize=32)
def _zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


@lru_cache(maxsize=1)
def bombs() -> tuple[bytes, ...]:
    """Small files that want much memory or time: pixels, text, profiles, scans."""
    rng = np.random.default_rng(0)
    text = b"zTXtx\0\0" + _zeros(60 * 2**20)
    profile = b"iCCPx\0\0" + _zeros(60 * 2**20)
    small = (30, 30, 2, 8, zlib.compress(bytes(30 * 91)))
    return (
        _png(60_000, 60_000, 2, 8, _zeros(2**20)),
        _png(2**31 - 1, 2**31 - 1, 6, 16, _zeros(100)),
        _png(12_000, 12_000, 0, 8, _zeros(2**20)),
        _png(8_000, 8_000, 2, 8, _zeros(8_000 * 24_001)),
        _png(8_000, 8_000, 4, 16, _zeros(8_000 * 32_001)),
        _png(60_000, 1_000, 0, 1, _zeros(1_000 * 7_501)),
        _png(2_000, 2_000, 6, 16, _zeros(2_000 * 16_001)),
        _png(*small, text),
        _png(*small, *[text] * 40),
        _png(*small, profile),
        _many_scans(2000, 20_000),
        _many_scans(2000, 20),
        smooth_photo(rng, 2000, progressive=True, quality=100),
        smooth_photo(rng, 6000, quality=10),
        _claiming(smooth_photo(rng), 65_500, 65_500),
        _claiming(smooth_photo(rng), 7_900, 7_900),
    )


def _many_scans(size: int, count: int) -> bytes:
    """Returns a progressive JPEG with empty scans, a few bytes each, that walk over all pixels.

    The only code of their Huffman table is the bit 0, for the symbol 0xE0: the next 2^14 blocks
    and as many more as 14 bits say have no coefficients in this scan (ITU-T T.81, G.1.2.2).
    """
    stream = io.BytesIO()
    Image.new("L", (size, size)).save(stream, "JPEG", progressive=True)
    photo = stream.getvalue()
    table = b"\xff\xc4" + struct.pack(">H17B", 20, 0x10, 1, *[0] * 15) + b"\xe0"
    runs = -(-(((size + 7) // 8) ** 2) // 0x7FFF)
    bits = ("0" + "1" * 14) * runs
    coded = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big")
    scan = (
        b"\xff\xda" + struct.pack(">H6B", 8, 1, 1, 0, 1, 63, 0) + coded.replace(b"\xff", b"\xff\0")
    )
    return photo[:-2] + table + scan * count + photo[-2:]


def _claiming(photo: bytes, width: int, height: int) -> bytes:
    at = photo.index(b"\xff\xc0") + 5
    return photo[:at] + struct.pack(">2H", height, width) + photo[at + 4 :]


def image_bomb(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Puts a decompression bomb in place of a photo; where it is decoded, it must be cheap."""
    index = int(rng.integers(len(bombs())))
    name = pick(rng, _photos(sample))
    content = replaced(sample, name, bombs()[index])
    return DamagedFile(content, f"{name}: bomb {index}", harmless=True)


def image_format(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Puts another format in place of a photo."""
    others: list[bytes] = [
        b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"text",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b"%PDF-1.4\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"push graphic-context\n",
    ]  # fmt: skip
    for kind in ("GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM", "TGA", "PCX"):
        stream = io.BytesIO()
        Image.new("RGB", (20, 20)).save(stream, kind)
        others.append(stream.getvalue())
    index = int(rng.integers(len(others)))
    name = pick(rng, _photos(sample))
    return DamagedFile(replaced(sample, name, others[index]), f"{name}: format {index}")


def image_damage(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Flips bits in a photo, or in its EXIF, or cuts it; what still decodes is a photo."""
    name = pick(rng, _photos(sample))
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(0, 12))
    odd = smooth_photo(rng, exif=exif, progressive=bool(rng.integers(2)), comment=rng.bytes(10))
    photo = bytearray(pick(rng, (sample.members[name], odd)))
    for _ in range(int(rng.integers(0, 20))):
        photo[int(rng.integers(min(len(photo), pick(rng, (100, 10**6)))))] = int(rng.integers(256))
    kept = pick(rng, (len(photo), len(photo), int(rng.integers(len(photo)))))
    content = replaced(sample, name, bytes(photo[:kept]))
    return DamagedFile(content, f"{name}: {kept} of {len(photo)} bytes, damaged", harmless=True)


def image_cut(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Cuts a photo in its first half: too little is left to decode."""
    name = pick(rng, _photos(sample))
    photo = sample.members[name]
    kept = int(rng.integers(len(photo) // 2))
    content = replaced(sample, name, photo[:kept])
    return DamagedFile(content, f"{name}: {kept} of {len(photo)} bytes")


def _photos(sample: Sample) -> list[str]:
    return [name for name in sample.names if name.endswith(".jpg")]


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage for damage in (image_bomb, image_format, image_damage, image_cut)
}
