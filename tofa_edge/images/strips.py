"""The central square of a large image, reduced and in RGB, without a second copy of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112  # in EXIF
STRIP_PIXELS = 1_000_000  # that are converted at once


def central_square(image: Image, least: int) -> tuple[Image, bool]:
    """Returns an image's central square in RGB, and whether a pixel of it is not opaque.

    Squares of pixels are averaged, strip by strip, so that the image is never in memory twice. It
    is turned as the image was, and keeps its orientation alone.

    Args:
        image: perhaps not loaded, with 8 bits a value.
        least: pixels a side to keep, at least, where there are so many.
    """
    from PIL import Image

    image.load()  # which turns a TIFF
    turn = orientation(image)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    factor = max(1, side // least)
    rows = factor * max(1, STRIP_PIXELS // (side * factor))
    result = Image.new("RGB", (-(-side // factor), -(-side // factor)))
    see_through = False
    for first in range(0, side, rows):
        last = min(side, first + rows)
        strip = image.crop((left, top + first, left + side, top + last))
        see_through |= is_see_through(strip)
        if "transparency" in strip.info:  # which Pillow cannot drop on the way to RGB
            strip = strip.convert("RGBA")
        strip = strip if strip.mode == "RGB" else strip.convert("RGB")
        result.paste(strip.reduce(factor), (0, first // factor))
    result.getexif()[ORIENTATION] = turn
    return result, see_through


def orientation(image: Image) -> int:
    """Returns how an image is turned by its EXIF, 1 to 8; 1 where that is damaged or says nothing.

    Args:
        image: a TIFF has to be loaded before: Pillow turns it, and says 1 from then on.
    """
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises many kinds for damaged EXIF
        return 1
    return found if found in range(1, 9) else 1


def turned_upright(image: Image) -> Image:
    """Returns an image, turned as its EXIF says.

    `ImageOps.exif_transpose` does the same and writes the rest of the EXIF again, which it cannot
    where a value is of a wrong type.
    """
    from PIL.Image import Transpose

    image.load()
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }  # fmt: skip
    turn = turns.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def is_see_through(image: Image) -> bool:
    """Returns whether a loaded image has a pixel that is not opaque."""
    if "transparency" in image.info:
        return True
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return False
    low, _ = image.getchannel(image.getbands()[-1]).getextrema()
    return isinstance(low, int) and low < 255
