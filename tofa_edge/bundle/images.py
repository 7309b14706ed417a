"""Images as the network sees them: decoded, upright, RGB, cropped and resized. Pillow only."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 64_000_000
MOST_STORED_PIXELS = 2048**2  # of a photo in a bundle, where `encode` keeps to the network's size
MOST_SCANS = 32  # a progressive JPEG of few bytes may ask for thousands of passes
START_OF_SCAN = b"\xff\xda"
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SUPPORTED = "a path, a PIL image, or a uint8 array (height, width, 3) or (height, width)"
JPEG_QUALITY = 92

ImageSource: TypeAlias = Union[ImageArray, "Image", str, os.PathLike[str]]


def prepare(source: ImageSource, size: int, crop: float = 1.0) -> ImageArray:
    """Returns an image as the network wants it: uint8 RGB, (size, size, 3).

    An image of another size is cropped to its central square, `crop` times its shorter side wide,
    and resized (bicubic, antialiased).
    EXIF orientation is applied, grey is repeated, transparency dropped, 16 bits become 8.

    Args:
        source: a path, a PIL image, or uint8 RGB, (height, width, 3).
        size: of the result, in pixels.
        crop: share of the shorter side that is kept.

    Raises:
        ImageError: the file or image cannot be read, or `source` has another type or shape.
    """
    if isinstance(source, np.ndarray):
        if source.shape == (size, size, 3) and source.dtype == np.uint8:
            return source
        return _fitted(_from_array(source), size, crop)
    if isinstance(source, str | os.PathLike):
        return _fitted(load(source), size, crop)
    with _reading("image"):
        return _fitted(_upright(_pillow_image(source), "image", MOST_PIXELS), size, crop)


def load(path: str | os.PathLike[str]) -> Image:
    """Returns the image of the file at `path`, upright and RGB."""
    from PIL import Image

    name = os.fspath(path)
    with _reading(name), Image.open(name) as image:
        return _upright(image, name, MOST_PIXELS)


def files_in(folder: Path) -> list[Path]:
    """Returns the image files in a `folder` and the folders in it, sorted; judged by their names.

    Names that begin with a dot are left out: other programs keep such files.

    Raises:
        OSError: one of the folders cannot be read.
    """
    images: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (Path(place, name) for name in files if not name.startswith("."))
        images += [path for path in visible if path.suffix.lower() in SUFFIXES]
    return sorted(images)


def _raise(error: OSError) -> None:
    raise error


def decode(content: bytes, size: int, name: str, crop: float = 1.0) -> ImageArray:
    """Returns a bundle's photo, the `content` of a JPEG file: uint8 RGB, (size, size, 3).

    It has the `size` and the `crop` that `prepare` would give it.

    Raises:
        ImageError: it cannot be decoded cheaply; the message gives its `name`.
    """
    from PIL import Image, UnidentifiedImageError

    if content.count(START_OF_SCAN) > MOST_SCANS:
        raise ImageError(f"{name}: a JPEG of over {MOST_SCANS} scans; refused")
    try:
        with _reading(name), Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            return _fitted(_upright(image, name, MOST_STORED_PIXELS), size, crop)
    except ImageError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise ImageError(f"{name}: wanted a JPEG, got something else") from error
        raise


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


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # Pillow's plug-ins raise many kinds for damaged files
        raise ImageError(f"{name}: wanted an image, cannot read it: {error}") from error


def _pillow_image(source: object) -> Image:
    from PIL import Image

    if not isinstance(source, Image.Image):
        raise ImageError(f"wanted {SUPPORTED}; got {type(source).__name__}")
    return source


def _upright(image: Image, name: str, most_pixels: int) -> Image:
    from PIL import ImageOps

    if not 0 < image.width * image.height <= most_pixels:
        got = f"{image.width}×{image.height}"
        raise ImageError(f"{name}: wanted 1 to {most_pixels} pixels, got {got}")
    if image.mode.startswith("I;16") or image.mode == "I":
        image = _eight_bits(image)
    if image.mode == "F":
        high = float(np.asarray(image).max())
        if 0 < high <= 1:  # they would all be black
            raise ImageError(f"{name}: wanted 8 or 16 bits a value, got fractions up to {high:.2g}")
    upright = ImageOps.exif_transpose(image)
    if "transparency" in upright.info:  # which Pillow cannot drop on the way to RGB
        upright = upright.convert("RGBA")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _eight_bits(image: Image) -> Image:
    from PIL import Image

    exif = image.getexif()
    eight = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    eight.getexif().update(exif)
    return eight


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
