"""Photos of a zip, for benchmarks that run where there is no torch."""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.bundle.images import prepare, stack


@lru_cache(maxsize=4)
def photos_to_test(path: Path, size: int) -> tuple[ImageArray, IndexArray]:
    """Returns the test images of a zip, uint8, (N, size, size, 3), and their labels, (N,)."""
    images, names = [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if "/test/" in name and name.endswith(".jpg"):
                with Image.open(io.BytesIO(archive.read(name))) as image:
                    images.append(prepare(image.convert("RGB"), size))
                names.append(name.rsplit("/", 2)[1])
    classes = sorted(set(names))
    return stack(images, size), np.array([classes.index(name) for name in names], np.int64)
