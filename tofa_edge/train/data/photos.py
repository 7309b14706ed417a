"""Photos with and without labels, as files and decoded; split by role."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.bundle.images import prepare, stack
from tofa_edge.images.walk import PassedOver
from tofa_edge.train.data.photo_parts import Box, PhotoPart

Value = TypeVar("Value")

UNLABELLED = -1  # the label of an image that has none


@dataclass(frozen=True, eq=False)
class Photos:
    """Decoded images.

    Attributes:
        classes: names.
        images: uint8, (N, S, S, 3); of a data set as it is installed, grey, (N, S, S).
        labels: index into `classes`, `UNLABELLED` where there is none, (N,).
        roles: that the data set gives them, `roles.TRAIN` and the like, None for none; empty where
            it gives none at all.
        origins: numbers of the photos that these are parts of, (N,) integers; empty where all are
            whole.
        listed: the files they were decoded from, in the same order; None where there are none.
    """

    classes: tuple[str, ...]
    images: ImageArray
    labels: IndexArray
    roles: tuple[str | None, ...] = ()
    origins: tuple[int, ...] = ()
    listed: LabelledPaths | None = None

    def take(self, indices: IndexArray) -> Photos:
        """Returns the images at `indices`, (N,)."""
        return self.with_images(self.images[indices], indices)

    def with_images(self, images: ImageArray, indices: IndexArray) -> Photos:
        """Returns the photos at `indices`, (N,), whose `images` are given, (N, S, S, 3)."""
        roles, origins = chosen_of(self.roles, indices), chosen_of(self.origins, indices)
        listed = None if self.listed is None else self.listed.take(indices)
        return Photos(self.classes, images, self.labels[indices], roles, origins, listed)


@dataclass(frozen=True)
class LabelledPaths:
    """Image files with labels.

    Attributes:
        classes: names, sorted.
        paths: of the images.
        labels: index into `classes`, `UNLABELLED` where there is none, (N,).
        boxes: the part of each that is read, None for all; empty where all are read whole.
        roles: as of `Photos`.
        remarks: what is worth saying of each, "" for nothing; empty where there is nothing at all.
        changes: what was changed of each on decoding, of `reading.CHANGES`; empty before that.
        passed_over: files that are not among them, and why.
        peak: the largest value of those of more than 8 bits, None where there are none; known when
            they are decoded.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: IndexArray
    boxes: tuple[Box | None, ...] = ()
    roles: tuple[str | None, ...] = ()
    remarks: tuple[str, ...] = ()
    changes: tuple[tuple[str, ...], ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    peak: float | None = None

    @property
    def sources(self) -> tuple[Path | PhotoPart, ...]:
        """What to decode: whole files, and the parts of files that boxes give."""
        if not self.boxes:
            return self.paths
        return tuple(
            path if box is None else PhotoPart(path, box)
            for path, box in zip(self.paths, self.boxes, strict=True)
        )

    @property
    def origins(self) -> tuple[int, ...]:
        """As of `Photos`."""
        numbers = {path: number for number, path in enumerate(dict.fromkeys(self.paths))}
        return tuple(numbers[path] for path in self.paths) if self.boxes else ()

    def take(self, indices: IndexArray) -> LabelledPaths:
        """Returns the images at `indices`, (N,)."""
        return replace(
            self,
            paths=chosen_of(self.paths, indices),
            labels=self.labels[indices],
            boxes=chosen_of(self.boxes, indices),
            roles=chosen_of(self.roles, indices),
            remarks=chosen_of(self.remarks, indices),
            changes=chosen_of(self.changes, indices),
        )

    def __len__(self) -> int:
        return len(self.paths)


def chosen_of(values: tuple[Value, ...], indices: IndexArray) -> tuple[Value, ...]:
    """Returns the `values` at `indices`, (N,); none where there are none."""
    return tuple(values[i] for i in indices) if values else ()


def forget_labels(labels: IndexArray, per_class: int | None, seed: int) -> IndexArray:
    """Returns `labels`, (N,), all but `per_class` of each class, drawn by `seed`, as unlabelled."""
    if per_class is None:
        return labels
    kept = np.full_like(labels, UNLABELLED)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels[labels >= 0]):
        members = rng.permutation(np.flatnonzero(labels == label))[:per_class]
        kept[members] = label
    return kept


def resized(images: ImageArray, size: int) -> ImageArray:
    """Returns square `images`, uint8, (N, S, S, 3) or grey (N, S, S), as (N, `size`, `size`, 3)."""
    return stack([prepare(image, size) for image in images], size)
