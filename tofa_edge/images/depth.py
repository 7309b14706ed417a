"""Values of more than 8 bits as 8 bits, scaled by the range that they are really in.

Cameras and scanners store 10, 12 or 14 bits in files of 16; taken as 16 bits they are black. What
range it is, the largest value of a whole set tells, or of the one image there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tofa_edge.errors import ImageError
from tofa_edge.images.strips import ORIENTATION, orientation

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    Again = Callable[[], ImageFile]  # opens the same file once more

BITS = (8, 10, 12, 14, 16)  # that values are said to have
FRACTIONS = 0  # "bits" of floating-point values in 0..1
HIGH_BYTE_IS_ALL = 64  # from it on, values have 16 bits: the low byte would be shifted out
RAW_MODES = ("RGB;16", "RGBA;16", "RGBX;16")


def bits_of(peak: float) -> int:
    """Returns how many bits values up to `peak` have: 8, 10, 12, 14 or 16; 0 for fractions.

    Raises:
        ImageError: it is no number, or needs more than 16 bits.
    """
    if 0 < peak <= 1:
        return FRACTIONS
    for bits in BITS:
        if peak < 2**bits:
            return bits
    raise ImageError(f"wanted values of up to 16 bits (0 to 65535), got {peak:.6g}")


def is_deep(image: Image) -> bool:
    """Returns whether an `image` has one channel of more than 8 bits a value."""
    return image.mode.startswith("I") or image.mode == "F"


def has_deep_colours(image: Image) -> bool:
    """Returns whether an `image`, opened and not loaded, stores colours of 16 bits a value."""
    return _raw_mode(image).startswith(RAW_MODES)


def grey_of_eight_bits(image: Image, peak: float | None) -> tuple[Image, float]:
    """Returns a deep grey `image` with 8 bits a value, and its own largest value.

    Args:
        image: of mode I, I;16 or F.
        peak: largest value of the set it belongs to; None takes its own.

    Raises:
        ImageError: a value is negative, no number or over 65535.
    """
    from PIL import Image

    values = np.asarray(image)
    turn = orientation(image)  # after loading: a TIFF is turned by it
    low, own = float(values.min()), float(values.max())
    if not 0 <= low <= own:  # also NaN
        raise ImageError(f"wanted values of 0 or more, got {low:.6g} to {own:.6g}")
    fractions = values.dtype.kind == "f" and own <= 1
    common = own if peak is None or peak <= 1 or fractions else peak
    eight = Image.fromarray(_scaled(values, common))
    eight.getexif()[ORIENTATION] = turn
    return eight, own


def colours_of_eight_bits(image: Image, again: Again, peak: float | None) -> tuple[Image, float]:
    """Returns an image with colours of 16 bits with 8 bits a value, and its own largest value.

    Pillow keeps the high byte of each value. Where values have fewer bits than 16, the file is read
    a second time with the order of bytes exchanged, which gives the low one.

    Args:
        image: opened and not loaded (`has_deep_colours`).
        again: opens it once more.
        peak: largest value of the set it belongs to; None takes its own.
    """
    from PIL import Image

    high = np.asarray(image)
    turn, largest = orientation(image), int(high[..., :3].max())
    if largest >= HIGH_BYTE_IS_ALL and (peak is None or bits_of(peak) == BITS[-1]):
        return image, 256.0 * largest
    with again() as other:
        other.tile = [tile._replace(args=_exchanged(tile.args)) for tile in other.tile]
        values = high.astype(np.uint16) << 8 | np.asarray(other)
    own = float(values[..., :3].max())
    eight = Image.fromarray(_scaled(values, own if peak is None else peak))
    eight.getexif()[ORIENTATION] = turn
    return eight, own


def _scaled(values: NDArray[np.generic], peak: float) -> NDArray[np.uint8]:
    """Returns values of the range that `peak` is in as 8 bits."""
    bits = bits_of(peak) if values.dtype.kind == "f" else bits_of(max(peak, 2.0))
    if bits == FRACTIONS:
        whole = np.clip(np.rint(values.astype(np.float32) * 255), 0, 255)
        return np.asarray(whole, np.uint8)
    whole = np.clip(values, 0, 2**bits - 1).astype(np.uint16)
    return np.asarray(whole >> (bits - 8), np.uint8)


def _raw_mode(image: Image) -> str:
    """Returns how the file stores pixels, in Pillow's words; "" where it is not said."""
    tiles = getattr(image, "tile", None) or [()]
    arguments = tiles[0][3] if len(tiles[0]) > 3 else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _exchanged(arguments: object) -> object:
    """Returns the arguments of a tile with the other order of bytes."""
    if isinstance(arguments, tuple):
        return (_exchanged(arguments[0]), *arguments[1:])
    mode = str(arguments)
    return mode[:-1] + ("L" if mode.endswith("B") else "B")
