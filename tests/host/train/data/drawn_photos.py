"""Small photos of one colour for tests of what lists them."""

from __future__ import annotations

import zlib
from pathlib import Path

from PIL import Image


def draw(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> None:
    """Draws a photo of each name in a folder, of a colour of its own."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = zlib.crc32(name.encode()).to_bytes(4, "big")
        Image.new("RGB", size, (colour[0], colour[1], colour[2])).save(path)
