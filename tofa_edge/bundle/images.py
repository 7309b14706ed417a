"""Images as the network sees them: decoded, upright, RGB, cropped and resized."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.errors import ImageError
from tofa_edge.images.reading import START_OF_SCAN, from_bytes, read, reading, upright
from tofa_edge.images.walk import walk

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_STORED_PIXELS = 2048**2  # of a photo in a bundle, where `encode` keeps to the network's size
MOST_SCANS = 32  # a progressive JPEG of few bytes may ask for thousands of passes
SUPPORTED = "a path, a PIL image, or a uint8 array (height, width, 3) or (height, width)"
JPEG_QUALITY = 92

ImageSource: TypeAlias = Union[ImageArray, "Image", str, os.PathLike[str]]


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as the network wants it, and what became of it.

    Attributes:
        pixels: uint8 RGB, (size, size, 3).
        changes: of `reading.CHANGES`.
        peak: the largest stored value where values have more than 8 bits; else None.
    """

    pixels: ImageArray
    changes: tuple[str, ...] = ()
    peak: float | None = None


def prepare(
    source: ImageSource, size: int, crop: float = 1.0, peak: float | None = None
) -> ImageArray:
    """Returns an image as the network wants it: uint8 RGB, (size, size, 3).

    An image of another size is cropped to its central square, `crop` times its shorter side wide,
    and resized (bicubic, antialiased); a much larger JPEG file is decoded at an eighth, a quarter
    or half of its size, three times the wanted one at least. EXIF orientation is applied, grey is
    repeated, transparency dropped, the first frame of several taken. Values of more than 8 bits are
    scaled by the range they are in: 10, 12, 14 or 16 bits, or fractions.

    Args:
        source: a path, a PIL image, or uint8 RGB, (height, width, 3).
        size: of the result, in pixels.
        crop: share of the shorter side that is kept.
        peak: largest value of images of more than 8 bits that a network was trained on, which
            tells their range; None: the image's own does.

    Raises:
        ImageError: the file or image cannot be read, or `source` has another type or shape.
    """
    return prepare_with_changes(source, size, crop, peak).pixels


def prepare_with_changes(
    source: ImageSource, size: int, crop: float = 1.0, peak: float | None = None
) -> Prepared:
    """Returns the same as `prepare`, with what was changed on the way.

    Args:
        source: as for `prepare`, as are `size`, `crop` and `peak`.

    Raises:
        ImageError: as by `prepare`.
    """
    if isinstance(source, np.ndarray):
        if source.shape == (size, size, 3) and source.dtype == np.uint8:
            return Prepared(source)
        return Prepared(_fitted(_from_array(source), size, crop))
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        with reading(name):
            picture = read(source, math.ceil(size / crop), peak)
            pixels = _fitted(picture.image, size, crop)
    else:
        with reading("image"):
            picture = upright(_pillow_image(source), "image", peak=peak)
            pixels = _fitted(picture.image, size, crop)
    return Prepared(pixels, picture.changes, picture.peak)


def load(path: str | os.PathLike[str], peak: float | None = None) -> Image:
    """Returns the image of the file at `path`, upright and RGB; a JPEG of over 64 Mpx is reduced.

    Values of more than 8 bits are scaled by `peak`, as `prepare` does.

    Raises:
        ImageError: it cannot be read.
    """
    return read(path, peak=peak).image


def files_in(folder: Path) -> list[Path]:
    """Returns the photos in a `folder` and the folders in it, sorted, as `walk` finds them.

    Raises:
        OSError: one of the folders cannot be read.
    """
    return list(walk(folder).photos)


def decode(content: bytes, size: int, name: str, crop: float = 1.0) -> ImageArray:
    """Returns a bundle's photo, the `content` of a JPEG file: uint8 RGB, (size, size, 3).

    It has the `size` and the `crop` that `prepare` would give it.

    Raises:
        ImageError: it cannot be decoded cheaply; the message gives its `name`.
    """
    if content.count(START_OF_SCAN) > MOST_SCANS:
        raise ImageError(f"{name}: a JPEG of over {MOST_SCANS} scans; refused")
    with reading(name):
        return _fitted(from_bytes(content, name, MOST_STORED_PIXELS).image, size, crop)


def encode(image: Image, largest: int) -> bytes:
    """Returns an upright RGB `image`'s central square as JPEG, at most `largest` pixels wide."""
    size = min(largest, *image.size)
    from PIL import Image

    stream = io.BytesIO()
    square = Image.fromarray(_fitted(image, size))
    square.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def stack(images: Sequence[ImageArray], size: int) -> ImageArray:
    """Returns images of one `size` as a batch, uint8, (N, size, size, 3), also for N = 0."""
    return np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8)


def _pillow_image(source: object) -> Image:
    from PIL import Image

    if not isinstance(source, Image.Image):
        raise ImageError(f"wanted {SUPPORTED}; got {type(source).__name__}")
    return source


def _from_array(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Image:
    from PIL import Image

    grey = array.ndim == 2
    if array.dtype != np.uint8 or not (grey or (array.ndim == 3 and array.shape[2] == 3)):
        got = f"{array.dtype} {array.shape}"
        raise ImageError(f"wanted {SUPPORTED}; got an array {got}")
    if 0 in array.shape:
        raise ImageError(f"wanted an image with pixels, got an array {array.shape}")
    return Image.fromarray(array).convert("RGB")


def _fitted(image: Image, size: int, crop: float = 1.0) -> ImageArray:
    from PIL import Image

    width, height = image.size
    if (width, height) != (size, size):
        side = max(1, round(min(width, height) * crop))
        left, top = (width - side) // 2, (height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        image = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)
