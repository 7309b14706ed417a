"""One image file, or an image of Pillow's, upright, RGB, 8 bits; and what was changed for that."""

from __future__ import annotations

import contextlib
import io
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tofa_edge.errors import ImageError
from tofa_edge.images.depth import (
    colours_of_eight_bits,
    grey_of_eight_bits,
    has_deep_colours,
    is_deep,
)
from tofa_edge.images.formats import HEAD, READ, formats, what_it_is
from tofa_edge.images.strips import central_square, is_see_through, orientation, turned_upright

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from tofa_edge.images.depth import Again

MOST_PIXELS = 64_000_000  # that are decoded whole
MOST_REDUCED_PIXELS = 512_000_000  # of a JPEG that is reduced while it is decoded
MOST_SCANS = 100  # a progressive JPEG of few bytes may ask for thousands of passes
DETAIL = 3  # pixels decoded for each wanted one, a side, at least
MOST_WHOLE_PIXELS = 16_000_000  # that are converted at once, where fewer are wanted
NARROW = 8  # times as long as wide: the central square shows an eighth
START_OF_SCAN = b"\xff\xda"

DEEP, CMYK, ALPHA, ROTATED = "16 bits", "CMYK", "alpha", "rotated"
FIRST_FRAME, REDUCED, CENTRE = "first frame", "reduced", "central square alone"
CHANGES = (DEEP, CMYK, ALPHA, ROTATED, FIRST_FRAME, REDUCED, CENTRE)


class FormatError(ImageError):
    """A file that is no image, or one of a format that is not read."""


class SizeError(ImageError):
    """An image of too many pixels."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and where it comes from.

    Attributes:
        image: upright, RGB, 8 bits.
        changes: of `CHANGES`, in their order.
        peak: the largest stored value where values have more than 8 bits; else None.
    """

    image: Image
    changes: tuple[str, ...] = ()
    peak: float | None = None


def read(
    path: str | os.PathLike[str], wanted: int | None = None, peak: float | None = None
) -> Picture:
    """Returns the image of a file.

    Args:
        path: of the file.
        wanted: pixels that the shorter side needs; a JPEG is decoded with three times as many or
            more, not whole. None: as many as there are, up to 64 million in all.
        peak: largest value of the set of images, for those of more than 8 bits; None: its own.

    Raises:
        FormatError: it is no image of a format that is read; the message says what it is.
        SizeError: it has too many pixels.
        ImageError: it cannot be read.
    """
    name = os.fspath(path)
    with reading(name), _regular(name).open("rb") as file:
        with opened(file, name) as image:
            reduced = _reduce(image, file, name, wanted)
            picture = upright(
                image, name, peak=peak, again=lambda: opened(file, name), wanted=wanted
            )
        if reduced:
            changes = (*picture.changes, REDUCED)
            return Picture(picture.image, tuple(c for c in CHANGES if c in changes), picture.peak)
        return picture


def _regular(name: str) -> Path:
    """Returns the path of a file that is no pipe and no device: those could block for ever."""
    path = Path(name)
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise ImageError(f"{name}: wanted an image, got something else than a regular file")
    return path


def opened(file: BinaryIO, name: str) -> ImageFile:
    """Returns the image of a `file` of a format that is read, not decoded; no other is tried.

    Raises:
        FormatError: it is none; the message gives its `name` and says what it is.
        ImageError: it is empty or damaged.
    """
    from PIL import Image, JpegImagePlugin, UnidentifiedImageError

    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    if head.startswith(b"\xff\xd8\xff"):  # Pillow's limit of pixels is for those decoded whole
        with contextlib.suppress(SyntaxError, IndexError, TypeError):
            return JpegImagePlugin.jpeg_factory(file)
    try:
        return Image.open(file, formats=formats())
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise SizeError(f"{name}: wanted up to {MOST_PIXELS} pixels, got far more") from error
        what = what_it_is(head) or "of a kind that nobody here knows"
        kind: type[ImageError] = FormatError
        if what in READ or not head:
            kind = ImageError
            what = f"a damaged {what}, or one of a rare kind" if head else what
        raise kind(
            f"{name}: wanted an image, cannot read it: it is {what}; {READ} are read"
        ) from error


def upright(
    image: Image,
    name: str,
    most_pixels: int | None = None,
    peak: float | None = None,
    again: Again | None = None,
    wanted: int | None = None,
) -> Picture:
    """Returns an opened `image` upright, RGB, 8 bits; errors give its `name`.

    Args:
        image: opened, perhaps not loaded.
        name: for messages.
        most_pixels: that it may have; 64 million by default.
        peak: as for `read`.
        again: opens the same file once more; None where there is no file.
        wanted: as for `read`; of a large image the central square alone is kept, and reduced.

    Raises:
        SizeError: it has more pixels, or none.
        ImageError: a value is negative or over 65535.
    """
    most_pixels = MOST_PIXELS if most_pixels is None else most_pixels
    if not 0 < image.width * image.height <= most_pixels:
        got = f"{image.width}×{image.height}"
        raise SizeError(f"{name}: wanted 1 to {most_pixels} pixels, got {got}")
    deep_colours = has_deep_colours(image)  # a PNG is loaded for its EXIF
    changes = _changes(image)
    own: float | None = None
    try:
        if is_deep(image):
            image, own = grey_of_eight_bits(image, peak)
        elif again is not None and deep_colours:
            image, own = colours_of_eight_bits(image, again, peak)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    if wanted is not None and image.width * image.height > MOST_WHOLE_PIXELS:
        image, see_through = central_square(image, DETAIL * wanted)
        changes |= {ALPHA} if see_through else set()
    turned = turned_upright(image)
    if is_see_through(turned):
        changes.add(ALPHA)
    if "transparency" in turned.info:  # which Pillow cannot drop on the way to RGB
        turned = turned.convert("RGBA")
    if own is not None:
        changes.add(DEEP)
    result = turned if turned.mode == "RGB" else turned.convert("RGB")
    return Picture(result, tuple(change for change in CHANGES if change in changes), own)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Makes every error of a block an `ImageError` with a `name`.

    Raises:
        ImageError: the block raised an error of any kind.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # Pillow's plug-ins raise many kinds for damaged files
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ImageError(f"{name}: wanted an image, cannot read it: {why}") from error


def _changes(image: Image) -> set[str]:
    """Returns what will be changed of an image, as far as its header tells."""
    changes = {CMYK} & {image.mode}
    if orientation(image) > 1:
        changes.add(ROTATED)
    if getattr(image, "is_animated", False) and getattr(image, "format", "") != "MPO":
        changes.add(FIRST_FRAME)
    if max(image.size) > NARROW * min(image.size):
        changes.add(CENTRE)
    return changes


def _reduce(image: ImageFile, file: BinaryIO, name: str, wanted: int | None) -> bool:
    """Asks libjpeg for a half, quarter or eighth of a JPEG's pixels a side, where that is enough.

    Returns whether it would else be too large.

    Raises:
        SizeError: it is too large even so.
        ImageError: it has too many scans.
    """
    from PIL import JpegImagePlugin

    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return False
    pixels = image.width * image.height
    _check_scans(image, file, name, pixels)
    too_large = pixels > MOST_PIXELS
    if wanted is not None and min(image.size) >= 2 * DETAIL * wanted:
        image.draft(None, (DETAIL * wanted, DETAIL * wanted))
    elif too_large:
        scale = math.sqrt(MOST_PIXELS / pixels)
        image.draft(None, (int(image.width * scale / 2) or 1, int(image.height * scale / 2) or 1))
    return too_large


def _check_scans(image: ImageFile, file: BinaryIO, name: str, pixels: int) -> None:
    """Checks that a JPEG costs no more than its pixels: several scans are kept in memory whole."""
    progressive, most, kind = "progressive" in image.info, MOST_REDUCED_PIXELS, "a JPEG"
    if pixels > MOST_PIXELS and progressive:
        most, kind = MOST_PIXELS, "a progressive JPEG"
    elif pixels > MOST_PIXELS and _first_scan_is_partial(file):
        most, kind = MOST_PIXELS, "a JPEG in several scans"
    if pixels > most:
        got = f"{image.width}×{image.height}"
        raise SizeError(f"{name}: wanted up to {most} pixels of {kind}, got {got}")
    if progressive and _scans(file) > MOST_SCANS:
        raise ImageError(f"{name}: a JPEG of over {MOST_SCANS} scans; refused")


def _scans(file: BinaryIO) -> int:
    place = file.tell()
    file.seek(0)
    scans = file.read().count(START_OF_SCAN)
    file.seek(place)
    return scans


def _first_scan_is_partial(file: BinaryIO) -> bool:
    """Returns whether the first scan of a JPEG lacks a component: libjpeg then keeps all of it."""
    place, components = file.tell(), 0
    file.seek(2)
    try:
        while len(marker := file.read(4)) == 4:
            kind, length = marker[1], int.from_bytes(marker[2:], "big")
            if kind == 0xDA:
                return file.read(1)[0] != components
            content = file.read(length - 2)
            if kind in (0xC0, 0xC1):
                components = content[5]
    except (IndexError, ValueError):
        return True
    finally:
        file.seek(place)
    return True


def from_bytes(content: bytes, name: str, most_pixels: int) -> Picture:
    """Returns the image of a JPEG's `content`, decoded whole; errors give its `name`.

    Raises:
        FormatError: it is no JPEG.
        SizeError: it has more pixels than `most_pixels`.
        ImageError: it cannot be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with reading(name), Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            return upright(image, name, most_pixels)
    except ImageError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise FormatError(f"{name}: wanted a JPEG, got something else") from error
        raise
