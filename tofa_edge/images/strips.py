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
    orientation = image.getexif().get(ORIENTATION, 1)
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
    result.getexif()[ORIENTATION] = orientation
    return result, see_through


def is_see_through(image: Image) -> bool:
    """Returns whether a loaded image has a pixel that is not opaque."""
    if "transparency" in image.info:
        return True
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return False
    low, _ = image.getchannel(image.getbands()[-1]).getextrema()
    return isinstance(low, int) and low < 255
