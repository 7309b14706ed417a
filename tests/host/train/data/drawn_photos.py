"""Small photos of one colour for tests of what lists them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def draw(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> None:
    """Draws a photo of each name in a folder."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number * 20 % 256, 100, 50)).save(path)
