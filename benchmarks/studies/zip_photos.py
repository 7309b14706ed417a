"""Photos of a zip, `*/{train,test}/<class>/<name>.jpg`, for studies that run without torch."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.bundle.images import prepare, stack

Photo = tuple[Image.Image, str]  # RGB, and the name of its class


def names_of(path: Path, role: str) -> list[str]:
    """Returns the names of the photos of "train" or "test", in order."""
    with zipfile.ZipFile(path) as archive:
        return [
            name
            for name in sorted(archive.namelist())
            if name.endswith(".jpg") and name.split("/")[-3] == role
        ]


def read_photos(path: Path, names: list[str]) -> Iterator[Photo]:
    with zipfile.ZipFile(path) as archive:
        for name in names:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                yield image.convert("RGB"), name.split("/")[-2]


@lru_cache(maxsize=4)
def photos_to_test(path: Path, size: int) -> tuple[ImageArray, IndexArray]:
    """Returns the test images of a zip, uint8, (N, size, size, 3), and their labels, (N,)."""
    photos, names = zip(*read_photos(path, names_of(path, "test")), strict=True)
    classes = sorted(set(names))
    images = stack([prepare(photo, size) for photo in photos], size)
    return images, np.array([classes.index(name) for name in names], np.int64)
