"""The size of a photo, read from its header."""

from __future__ import annotations

from pathlib import Path

ORIENTATION = 0x0112  # Exif
TRANSPOSED = (5, 6, 7, 8)


def upright_size(path: Path) -> tuple[float, float] | None:
    """Returns the width and height in pixels of an upright photo; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in TRANSPOSED
    except Exception:  # Pillow's plug-ins raise many kinds for damaged files
        return None
    return (float(height), float(width)) if turned else (float(width), float(height))
