"""The size of a photo, read from its header."""

from __future__ import annotations

from pathlib import Path

from tofa_edge.images.formats import formats
from tofa_edge.images.strips import orientation

TRANSPOSED = (5, 6, 7, 8)


def upright_size(path: Path) -> tuple[float, float] | None:
    """Returns the width and height in pixels of an upright photo; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=formats()) as image:
            width, height = image.size
            turned = orientation(image) in TRANSPOSED
    except Exception:  # Pillow's plug-ins raise many kinds for damaged files
        return None
    return (float(height), float(width)) if turned else (float(width), float(height))
