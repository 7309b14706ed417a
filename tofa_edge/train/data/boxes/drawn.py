"""Boxes as a list gives them: clipped, empty ones left out, counted."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tofa_edge.errors import DataError
from tofa_edge.train.data.class_names import one_form
from tofa_edge.train.data.photo_parts import Box
from tofa_edge.train.data.tables.files import are_there
from tofa_edge.train.data.tables.listing import Listed

log = logging.getLogger(__name__)

EMPTY, CROWD, IGNORED = "empty", "of a crowd", "marked as ignored or difficult"
TWICE, NO_PHOTO = "drawn twice", "of photos that are not listed"
CLIPPED = "clipped at the edge of the photo"
NO_BOX = "photos without a box, not read"
MOST_OUTSIDE = 0.01  # of a photo's side: rounding, not worth counting as clipped


@dataclass(frozen=True)
class Boxes:
    """The boxes of a data set.

    Attributes:
        photos: one entry for each box.
        counts: of what was left out or changed, by reason.
    """

    photos: tuple[Listed, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Boxes) -> Boxes:
        return Boxes(self.photos + other.photos, self.counts + other.counts)


def clipped(
    corners: Sequence[object], size: tuple[float, float], margin: float, drawn_on: bool = True
) -> tuple[Box | None, bool]:
    """Returns a box of left, top, right, bottom, and whether it reached out of its photo.

    There is no box where the corners are no numbers, or less than a pixel of it is in the photo.

    Args:
        corners: in the unit of `size`, numbers or text.
        size: width and height of the photo.
        margin: of the box.
        drawn_on: whether `size` is in pixels, of the photo that it was drawn on.
    """
    try:
        left, top, right, bottom = (float(value) for value in corners)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None, False
    width, height = size
    if not all(map(math.isfinite, (left, top, right, bottom))):
        return None, False
    inside = [max(0.0, left), max(0.0, top), min(width, right), min(height, bottom)]
    least = 1.0 if drawn_on else 0.0
    sides = inside[2] - inside[0], inside[3] - inside[1]
    if min(sides) < least or min(sides) <= 0:
        return None, False
    beyond = max(-left / width, -top / height, right / width - 1, bottom / height - 1)
    shares = (inside[0] / width, inside[1] / height, inside[2] / width, inside[3] / height)
    return Box(*shares, margin, size if drawn_on else None), beyond > MOST_OUTSIDE


def listed_boxes(
    path: Path, role: str | None, found: Sequence[tuple[str, Box | None, bool]]
) -> Boxes:
    """Returns the boxes of one photo.

    Args:
        path: of the photo.
        role: of the photo.
        found: of each box, its class and what `clipped` returns.
    """
    counts: Counter[str] = Counter()
    kept: dict[tuple[str, Box], Listed] = {}
    for name, box, out_of_photo in found:
        if box is None:
            counts[EMPTY] += 1
        elif (name, box) in kept:
            counts[TWICE] += 1
        else:
            counts[CLIPPED] += out_of_photo
            kept[name, box] = Listed(path, one_form(name), role, box)
    if not kept:
        counts[NO_BOX] += 1
    return Boxes(tuple(kept.values()), counts)


def gathered(parts: Sequence[Boxes]) -> Boxes:
    """Returns the boxes of many photos as one."""
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    return Boxes(tuple(photo for part in parts for photo in part.photos), counts)


def usable(source: Path, kind: str, boxes: Boxes, margin: float) -> tuple[Listed, ...]:
    """Returns the boxes whose photos are there, and logs how many there are and what was left out.

    Args:
        source: of the boxes, for messages.
        kind: of data set, such as "COCO".
        boxes: all that were found.
        margin: that crops show around them.

    Raises:
        DataError: there is none, or more than 5 % of the photos are missing.
    """
    there = are_there(source, [photo.path for photo in boxes.photos])
    kept = tuple(photo for photo, found in zip(boxes.photos, there, strict=True) if found)
    others = ", ".join(f"{count} {reason}" for reason, count in boxes.counts.items() if count)
    if not kept:
        raise DataError(f"{source}: no box to crop in it ({kind}{'; ' * bool(others)}{others})")
    classes, photos = {photo.label for photo in kept}, {photo.path for photo in kept}
    log.info(
        f"{source}: {len(kept)} boxes of {len(classes)} classes in {len(photos)} photos ({kind}), "
        f"each cropped to a photo with {margin:.0%} of its longer side around it"
        f"{'; ' * bool(others)}{others}"
    )
    return kept
