"""Photos as a table or boxes list them, and the whole of them as paths with labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tofa_edge.errors import DataError
from tofa_edge.train.data.photo_parts import Box
from tofa_edge.train.data.photos import UNLABELLED, LabelledPaths


@dataclass(frozen=True, slots=True)
class Listed:
    """One photo of a list.

    Attributes:
        path: of its file.
        label: name of its class, "" for none.
        role: "train", "validation", "test", or None.
        box: which part of it; None for all.
    """

    path: Path
    label: str = ""
    role: str | None = None
    box: Box | None = None


def labelled(source: Path, photos: Sequence[Listed], least_classes: int) -> LabelledPaths:
    """Returns listed photos with their classes in alphabetical order.

    Args:
        source: the list, for messages.
        photos: that are there.
        least_classes: how many there must be.

    Raises:
        DataError: a photo is listed twice, or there are too few classes.
    """
    _check_once(source, [photo for photo in photos if photo.box is None])
    _check_one_role(source, [photo for photo in photos if photo.box is not None])
    classes = tuple(sorted({photo.label for photo in photos} - {""}))
    if len(classes) < least_classes:
        found = f"only {classes[0]!r}" if classes else "none"
        wanted = "two classes or more" if least_classes > 1 else "photos with a label"
        raise DataError(f"{source}: wanted {wanted}, found {found}")
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [numbers.get(photo.label, UNLABELLED) for photo in photos]
    boxes = tuple(photo.box for photo in photos)
    roles = tuple(photo.role for photo in photos)
    return LabelledPaths(
        classes,
        tuple(photo.path for photo in photos),
        np.array(labels, np.int64),
        boxes if any(boxes) else (),
        roles if any(roles) else (),
    )


def _check_once(source: Path, photos: Sequence[Listed]) -> None:
    """Checks that no photo is listed twice: one copy might be trained on, the other validate."""
    listed: dict[str, Listed] = {}
    for photo in photos:
        whole = os.path.realpath(photo.path)
        if whole in listed:
            first = listed[whole]
            both = "twice"
            if photo.label != first.label:
                both = f"as {first.label!r} and {photo.label!r}"
            elif photo.role != first.role:
                both = f"for {first.role} and {photo.role}"
            raise DataError(f"{source}: {photo.path} is listed {both}: remove one of the rows")
        listed[whole] = photo


def _check_one_role(source: Path, parts: Sequence[Listed]) -> None:
    """Checks that no photo has boxes in two roles."""
    roles: dict[Path, str | None] = {}
    for part in parts:
        if roles.setdefault(part.path, part.role) != part.role:
            both = f"{roles[part.path]} and {part.role}"
            raise DataError(f"{source}: {part.path} has boxes for {both}: remove it from one")
