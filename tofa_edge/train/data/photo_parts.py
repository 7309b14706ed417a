"""Parts of photos: boxes around things, each read as a photo of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tofa_edge.errors import ImageError
from tofa_edge.images.reading import Picture, read

MOST_STRETCH = 1.02  # of a photo's aspect ratio against the one that its boxes were drawn on


@dataclass(frozen=True, slots=True)
class Box:
    """A box in an upright photo.

    Attributes:
        left: as a share of the photo's width, 0..1, like `right`.
        top: as a share of its height, 0..1, like `bottom`.
        right: more than `left`.
        bottom: more than `top`.
        margin: share of the box's longer side that is shown around it, on each side.
        drawn_on: width and height in pixels of the photo that it was drawn on, if they are known.
    """

    left: float
    top: float
    right: float
    bottom: float
    margin: float = 0.0
    drawn_on: tuple[float, float] | None = None

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Returns the square to crop of a photo of that size: left, top, right, bottom.

        It is moved into the photo, and where the photo is smaller, it ends with it.
        """
        sides = (self.right - self.left) * width, (self.bottom - self.top) * height
        side = max(1.0, max(sides) * (1 + 2 * self.margin))
        left, right = _span((self.left + self.right) / 2 * width, side, width)
        top, bottom = _span((self.top + self.bottom) / 2 * height, side, height)
        return left, top, right, bottom


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    length = max(1, min(round(side), limit))
    start = min(max(round(centre - length / 2), 0), limit - length)
    return start, start + length


@dataclass(frozen=True, slots=True)
class PhotoPart:
    """A box of a photo.

    Attributes:
        path: of the photo.
        box: which part of it.
    """

    path: Path
    box: Box

    def read(self, peak: float | None = None) -> Picture:
        """Returns the part, upright and RGB, and what was changed of its photo.

        Args:
            peak: largest value of the set of images, for those of more than 8 bits; None: that of
                the photo itself.

        Raises:
            ImageError: the photo cannot be read, or has another shape than the one that the box
                was drawn on, as it has where a program that draws boxes overlooks its rotation.
        """
        picture = read(self.path, peak=peak)
        image = picture.image
        if self.box.drawn_on is not None:
            width, height = self.box.drawn_on
            stretch = image.width * height / (image.height * width)
            if not 1 / MOST_STRETCH <= stretch <= MOST_STRETCH:
                raise ImageError(
                    f"{self.path}: its boxes were drawn on {width:g}×{height:g} pixels, the "
                    f"upright photo has {image.width}×{image.height}"
                )
        part = image.crop(self.box.pixels(image.width, image.height))
        return replace(picture, image=part)
