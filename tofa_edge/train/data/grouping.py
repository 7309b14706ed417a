"""Groups of nearly equal photos, dealt to roles whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.errors import DataError
from tofa_edge.train.data.likeness.near_duplicates import near_duplicates
from tofa_edge.train.data.likeness.thumbnails import SIDE, thumbnails
from tofa_edge.train.data.photos import UNLABELLED, Photos

log = logging.getLogger(__name__)

SAME = 2.0  # grey levels, root mean square: thumbnails that differ less are of one photo
NAMED = 3  # pairs that a message names
NONE: IndexArray = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Grouped:
    """Photos, and which of them are nearly equal.

    Attributes:
        photos: where one photo had two labels, it has none.
        groups: number of each photo's group, (N,).
    """

    photos: Photos
    groups: IndexArray


def grouped(photos: Photos) -> Grouped:
    """Returns photos in groups of nearly equal ones, and says what it found.

    The same photo under two labels loses both: one of them is wrong, and nothing tells which.
    """
    groups = near_duplicates(photos.images)
    counts = np.bincount(groups)
    if len(counts) < len(groups):
        log.info(
            f"{counts[counts > 1].sum()} photos are equal or nearly equal to others, in "
            f"{(counts > 1).sum()} groups: each goes to one role, and counts once unless it trains"
        )
    pairs = under_two_labels(photos, groups)
    if not pairs:
        return Grouped(photos, groups)
    labels = photos.labels.copy()
    labels[np.unique(pairs)] = UNLABELLED
    named = "; ".join(_named(photos, *pair) for pair in pairs[:NAMED])
    more = f"; and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
    log.warning(f"the same photo under two labels counts as unlabelled: {named}{more}")
    listed = None if photos.listed is None else replace(photos.listed, labels=labels)
    return Grouped(replace(photos, labels=labels, listed=listed), groups)


def _named(photos: Photos, first: int, second: int) -> str:
    one, two = (photos.classes[photos.labels[index]] for index in (first, second))
    if photos.listed is not None:
        paths = photos.listed.paths
        return f"{paths[first]} ({one!r}) and {paths[second]} ({two!r})"
    return f"photos {first} ({one!r}) and {second} ({two!r})"


def under_two_labels(photos: Photos, groups: IndexArray) -> list[tuple[int, int]]:
    """Returns pairs of photos that are the same, perhaps saved again, and differ in label.

    Each photo of such a group comes with the first one that contradicts it. Other crops or the next
    photos of a burst may well be of another class.
    """
    pairs: list[tuple[int, int]] = []
    lowest = np.full(groups.max(initial=-1) + 1, len(photos.classes))
    highest = np.full_like(lowest, UNLABELLED)
    known = photos.labels >= 0
    np.minimum.at(lowest, groups[known], photos.labels[known])
    np.maximum.at(highest, groups[known], photos.labels[known])
    for group in np.flatnonzero(highest > lowest):
        members = np.flatnonzero((groups == group) & known)
        small = thumbnails(photos.images[members], SIDE)
        labels = photos.labels[members]
        for place, member in enumerate(members):
            difference = np.sqrt(((small - small[place]) ** 2).mean(axis=(1, 2)))
            against = members[(difference <= SAME) & (labels != labels[place])]
            if len(against):
                pairs.append((int(min(member, against[0])), int(max(member, against[0]))))
    return sorted(set(pairs))


def split(
    labels: IndexArray,
    parts: Mapping[str, float],
    seed: int,
    classes: Sequence[str] = (),
    groups: IndexArray | None = None,
) -> dict[str, IndexArray]:
    """Returns disjoint indices by role, each class divided alike; the first role takes the rest.

    A group of nearly equal photos goes to one role. In the first role are all its photos; in the
    others it counts once for each of its classes, and its further photos are left out. Unlabelled
    images that are like no labelled one all go to the first role.

    Args:
        labels: of all images, (N,).
        parts: by role, for example {"train": 0.8, "validation": 0.2}; each role gets at least one
            image of every class that has as many groups, and the first gets the rest.
        seed: of the shuffle.
        classes: names that a message uses, by label.
        groups: number of each image's group, (N,); None: no two are alike.

    Raises:
        DataError: a class has fewer images than there are roles.
    """
    _check_counts(labels, parts, classes)
    groups = np.arange(len(labels)) if groups is None else groups
    strata = _strata(labels, groups)
    rng = np.random.default_rng(seed)
    first, *others = parts
    small: dict[str, list[IndexArray]] = {role: [] for role in others}
    for label in np.unique(labels[labels >= 0]):
        left = rng.permutation(np.flatnonzero(strata == label))
        total = len(left)
        if total < len(parts):
            _say_too_few(label, total, parts, classes)
        for role in others:
            most = max(len(left) - len(others), min(1, len(left) - 1))
            count = max(0, min(max(1, round(total * parts[role])), most))
            small[role].append(left[:count])
            left = left[count:]
    own = {role: np.concatenate([*dealt, NONE]) for role, dealt in small.items()}
    members = {role: _once(labels, groups, chosen) for role, chosen in own.items()}
    rest = ~np.isin(groups, np.concatenate([*own.values(), NONE]))
    every = {first: np.flatnonzero(rest), **members}
    return {role: rng.permutation(part) for role, part in every.items()}


def _check_counts(labels: IndexArray, parts: Mapping[str, float], classes: Sequence[str]) -> None:
    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    if len(counts) and counts.min() < len(parts):
        rarest = present[counts.argmin()]
        name = f"class {classes[rarest]!r}" if rarest < len(classes) else "one class"
        raise DataError(
            f"wanted {len(parts)} photos or more of each class, one for each of "
            f"{', '.join(parts)}; {name} has {counts.min()}"
        )


def _say_too_few(
    label: int, total: int, parts: Mapping[str, float], classes: Sequence[str]
) -> None:
    name = f"class {classes[label]!r}" if label < len(classes) else f"class {label}"
    missing = ", ".join(list(parts)[max(1, total) :])
    log.warning(
        f"{name} has {total} photos that are not nearly equal to each other: none of it for "
        f"{missing}; add other photos of it"
    )


def _strata(labels: IndexArray, groups: IndexArray) -> IndexArray:
    """Returns the class that each group is dealt with, −1 for none, (groups,).

    It is the most frequent one of its labelled photos. A group that holds all photos of a rarer
    class is not dealt: it stays in the first role.
    """
    known = np.flatnonzero(labels >= 0)
    strata = np.full(groups.max(initial=-1) + 1, UNLABELLED)
    if not len(known):
        return strata
    classes = int(labels.max()) + 1
    keys, counts = np.unique(groups[known] * classes + labels[known], return_counts=True)
    for place in np.lexsort((-keys, counts)):  # the most frequent one, the lowest of equals, last
        strata[keys[place] // classes] = keys[place] % classes
    hidden = np.setdiff1d(labels[known], strata)
    strata[groups[np.isin(labels, hidden)]] = UNLABELLED
    return strata


def _once(labels: IndexArray, groups: IndexArray, chosen: IndexArray) -> IndexArray:
    """Returns the first labelled image of each class in each of the chosen groups."""
    members = np.flatnonzero((labels >= 0) & np.isin(groups, chosen))
    pairs = np.stack([groups[members], labels[members]], axis=1)
    once: IndexArray = members[np.unique(pairs, axis=0, return_index=True)[1]]
    return once


def joined(numbers: IndexArray, groups: IndexArray) -> IndexArray:
    """Returns numbers, (N,), that images share which share the one or the other, by any way."""
    own: IndexArray = numbers.copy()
    count = -1
    while len(np.unique(own)) != count:
        count = len(np.unique(own))
        for by in (groups, numbers):
            _, places = np.unique(by, return_inverse=True)
            lowest = np.full(places.max(initial=-1) + 1, np.iinfo(np.int64).max)
            np.minimum.at(lowest, places, own)
            own = lowest[places.reshape(-1)]
    return own
