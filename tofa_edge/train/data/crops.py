"""Crops of photos at many scales, decoded as they are needed: no set of them lies anywhere.

Single large photos hold enough to learn from, if they are cropped at many scales and for long
(Asano and Saeed, "The Augmented Image Prior", ICLR 2023). A row of every batch shows one photo for
a number of batches, each time another crop, then the next photo: each batch has as many photos as
rows, and few of them are decoded anew. What a batch shows depends on its number, the seed and the
photos alone, so a resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.errors import DataError, ImageError
from tofa_edge.images.reading import read
from tofa_edge.train.data.camera import degraded
from tofa_edge.train.data.files.decoding import MOST_UNREADABLE

log = logging.getLogger(__name__)

CROPS = 16  # of a photo that is decoded once
DECODED = 3  # times a crop's size: of that, `read` decodes three times as much of a JPEG or more
ENLARGED = 4 / 3  # how many times a crop's pixels are enlarged, at most
ASPECT = 4 / 3  # of a crop, at most, before it is made square
DEGRADED = 0.3  # of all crops
AHEAD = 2  # batches that are decoded while an earlier one is used


@dataclass(frozen=True)
class CropSettings:
    """Which crops a batch has.

    Attributes:
        size: of a crop in pixels.
        rows: crops of a batch.
        seed: of everything random.
        flips: whether half of the crops are flipped, left to right.
        per_photo: crops, one in each batch, of a photo that is decoded once.
        degraded: the part of the crops that looks as small cameras would make it.
    """

    size: int
    rows: int
    seed: int = 0
    flips: bool = True
    per_photo: int = CROPS
    degraded: float = DEGRADED


@dataclass(eq=False)
class Crops:
    """Batches of crops by their number.

    Attributes:
        paths: of the photos.
        settings: which crops a batch has.
        mine: the rows of a batch that this process computes.
    """

    paths: Sequence[Path]
    settings: CropSettings
    mine: range
    _visits: dict[tuple[int, int], Future[ImageArray]] = field(default_factory=dict)
    _unreadable: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0))))

    def batch(self, number: int) -> ImageArray:
        """Returns this process's rows of batch `number`, from 0: uint8, (rows, size, size, 3).

        The next batches are decoded meanwhile.

        Raises:
            DataError: too many of the photos that were asked for cannot be read.
        """
        wanted = {row: self._place(row, number) for row in self.mine}
        ahead = [self._place(row, number + n)[0] for n in range(1, AHEAD + 1) for row in self.mine]
        needed = dict.fromkeys([*((row, visit) for row, (visit, _) in wanted.items())])
        needed |= dict.fromkeys(zip([*self.mine] * AHEAD, ahead, strict=True))
        for key in [*self._visits]:
            if key not in needed:
                self._visits.pop(key).cancel()
        for key in needed:
            if key not in self._visits:
                self._visits[key] = self._pool.submit(self._visit, *key)
        return np.stack(
            [self._visits[row, visit].result()[turn] for row, (visit, turn) in wanted.items()]
        )

    def close(self) -> None:
        """Ends the decoding of further batches."""
        self._visits.clear()
        self._pool.shutdown(cancel_futures=True)

    def _place(self, row: int, number: int) -> tuple[int, int]:
        """Returns how many photos a row has shown before, and which crop of this one is due.

        Rows change their photos one after the other, so that each batch decodes about as many.
        """
        per_photo = self.settings.per_photo
        return divmod(number + row * per_photo // self.settings.rows, per_photo)

    def _visit(self, row: int, visit: int) -> ImageArray:
        """Returns a visit's crops of the photo that a row shows, (per_photo, size, size, 3)."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, row, visit])
        photo = self._photo(visit * settings.rows + row)
        return np.stack([_crop(photo, settings, rng) for _ in range(settings.per_photo)])

    def _photo(self, place: int) -> Image.Image:
        """Returns the photo at a place of the endless sequence, or the next that can be read.

        Each photo comes once before any comes again.
        """
        count = len(self.paths)
        for turn in range(count):
            place_now = place + turn
            order = np.random.default_rng([self.settings.seed, place_now // count])
            path = self.paths[order.permutation(count)[place_now % count]]
            if path in self._unreadable:
                continue
            try:
                return read(path, DECODED * self.settings.size).image
            except ImageError as error:
                self._note_unreadable(path, error)
        raise DataError(f"none of the {count} photos can be read: {self._named()}")

    def _note_unreadable(self, path: Path, error: ImageError) -> None:
        self._unreadable[path] = str(error)
        if len(self._unreadable) > MOST_UNREADABLE * len(self.paths):
            counts = f"{len(self._unreadable)} of {len(self.paths)}"
            raise DataError(f"{counts} photos cannot be read: {self._named()}")
        log.warning(f"skipped: {error}")

    def _named(self) -> str:
        return "; ".join([*self._unreadable.values()][:3])


def _crop(photo: Image.Image, settings: CropSettings, rng: np.random.Generator) -> ImageArray:
    """Returns a random part of a photo: its side even in the logarithm, up to the whole."""
    size, shorter = settings.size, min(photo.size)
    least = min(1.0, size / (ENLARGED * shorter))
    side, aspect = shorter * least ** rng.random(), ASPECT ** rng.uniform(-0.5, 0.5)
    extents = [min(side * aspect, photo.width), min(side / aspect, photo.height)]
    left, top = (
        (whole - part) * rng.random() for whole, part in zip(photo.size, extents, strict=True)
    )
    box = (left, top, left + extents[0], top + extents[1])
    small = photo.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    flip, worse = rng.random() < 0.5 * settings.flips, rng.random() < settings.degraded
    image = np.asarray(small)
    image = image[:, ::-1] if flip else image
    return degraded(np.ascontiguousarray(image), rng) if worse else image
