"""Photos dealt to roles: as their data set says, else by chance, parts of one photo together."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.errors import DataError
from tofa_edge.train.data.grouping import joined, split
from tofa_edge.train.data.photos import UNLABELLED, LabelledPaths, Photos
from tofa_edge.train.data.roles import TEST, TRAIN, VALIDATION

log = logging.getLogger(__name__)


def divided(
    photos: LabelledPaths | Photos,
    parts: Mapping[str, float],
    seed: int,
    groups: IndexArray | None = None,
) -> dict[str, IndexArray]:
    """Returns disjoint indices of photos by role, (N,) integers each.

    Photos that their data set keeps for a test are in none. Those that it gives to validate
    validate, and no others do; the rest is drawn, as by `split`. Parts of one photo have one role,
    and so have nearly equal photos: those like one that is kept to validate or to test have none.

    Args:
        photos: all of them.
        parts: shares by role, as for `split`; the first role is that of training.
        seed: of the draw.
        groups: number of each photo's group of nearly equal ones, (N,) integers; None: no two are.

    Raises:
        DataError: a class has too few photos, or none to train on.
    """
    given = np.array([role or "" for role in photos.roles] or [""] * len(photos.labels))
    validated = _labelled(photos, VALIDATION)
    fixed = {VALIDATION: validated} if len(validated) else {}
    free = (given != TEST) & (given != VALIDATION)
    groups = np.arange(len(given)) if groups is None else groups
    like_kept = free & np.isin(groups, groups[~free])
    if like_kept.any():
        log.warning(f"{like_kept.sum()} photos are nearly equal to some kept to test: left out")
    pool = np.flatnonzero(free & ~like_kept)
    labels = photos.labels[pool]
    drawn = {role: share for role, share in parts.items() if role not in fixed}
    if photos.origins:
        origins = joined(np.array(photos.origins, np.int64)[pool], groups[pool])
        chosen = split_together(labels, origins, drawn, seed, photos.classes)
    else:
        chosen = split(labels, drawn, seed, photos.classes, groups[pool])
    roles = {role: fixed[role] if role in fixed else pool[chosen[role]] for role in parts}
    _check_trained(photos, roles[TRAIN])
    return roles


def _labelled(photos: LabelledPaths | Photos, role: str) -> IndexArray:
    """Returns the indices of labelled photos to which their data set gives a `role`."""
    given = [i for i, each in enumerate(photos.roles) if each == role and photos.labels[i] >= 0]
    return np.array(given, np.int64)


def _check_trained(photos: LabelledPaths | Photos, trained: IndexArray) -> None:
    lacking = set(photos.labels.tolist()) - set(photos.labels[trained].tolist()) - {UNLABELLED}
    if lacking:
        raise DataError(
            f"class {photos.classes[min(lacking)]!r} has no photo to train on: its data set keeps "
            "them for validation or a test: give it some of the role train"
        )


def to_test(photos: LabelledPaths | Photos) -> dict[str, IndexArray]:
    """Returns the indices of labelled photos that their data set keeps for a test, by that role.

    It is empty where there are none.
    """
    tested = _labelled(photos, TEST)
    return {TEST: tested} if len(tested) else {}


def held_out(photos: LabelledPaths | Photos) -> LabelledPaths | Photos:
    """Returns the photos that their data set keeps out of training: to test, else to validate.

    All of them where it gives no such role. The classes are those that are left.
    """
    for role in (TEST, VALIDATION):
        kept = _labelled(photos, role)
        if len(kept):
            log.info(f"{len(kept)} photos whose role is {role!r}, of {len(photos.labels)}")
            chosen = photos.take(kept)
            present, labels = np.unique(chosen.labels, return_inverse=True)
            classes = tuple(photos.classes[label] for label in present)
            return replace(chosen, classes=classes, labels=labels.astype(np.int64))
    return photos


def split_together(
    labels: IndexArray,
    origins: IndexArray,
    parts: Mapping[str, float],
    seed: int,
    classes: Sequence[str],
) -> dict[str, IndexArray]:
    """Returns disjoint indices by role as `split` does, all of one origin in one role.

    Rare classes are dealt first. A class whose photos come with those of other classes may have
    none in a role; it is warned of.

    Args:
        labels: of all images, (N,) integers.
        origins: the photo that each image is a part of, (N,) integers.
        parts: shares by role; the first gets the rest.
        seed: of the draw.
        classes: names that a message uses, by label.

    Raises:
        DataError: a class comes from fewer photos than there are roles.
    """
    first, *others = parts
    held: dict[int, Counter[int]] = defaultdict(Counter)  # by origin: how many of each class
    for origin, label in zip(origins.tolist(), labels.tolist(), strict=True):
        held[origin][label] += 1
    free = Counter(label for counts in held.values() for label in counts)
    for label in sorted(free.keys() - {UNLABELLED}, key=lambda label: (free[label], label)):
        if free[label] < len(parts):
            raise DataError(
                f"wanted boxes of each class in {len(parts)} photos or more, one for each of "
                f"{', '.join(parts)}; class {classes[label]!r} is in {free[label]}"
            )
    order = np.random.default_rng(seed).permutation(np.array(sorted(held))).tolist()
    role_of = _dealt(order, held, {role: parts[role] for role in others})
    for role in others:
        _warn_of_lacking(role, role_of, held, classes)
    roles = np.array([role_of.get(origin, first) for origin in origins.tolist()])
    rng = np.random.default_rng(seed)
    return {role: rng.permutation(np.flatnonzero(roles == role)) for role in parts}


def _dealt(
    order: Sequence[int], held: Mapping[int, Counter[int]], parts: Mapping[str, float]
) -> dict[int, str]:
    """Returns the role of each origin that gets one of `parts`; one of each class is left over."""
    role_of: dict[int, str] = {}
    free = Counter(label for counts in held.values() for label in counts)
    total: Counter[int] = Counter()
    for counts in held.values():
        total.update(counts)
    dealt: dict[str, Counter[int]] = {role: Counter() for role in parts}
    for label in sorted(free, key=lambda label: (free[label], label)):
        for role, share in parts.items():
            wanted = max(1, round(total[label] * share))
            for origin in order:
                if dealt[role][label] >= wanted:
                    break
                counts = held[origin]
                if label not in counts or origin in role_of or min(free[k] for k in counts) < 2:
                    continue
                role_of[origin] = role
                dealt[role].update(counts)
                free.subtract(counts.keys())
    return role_of


def _warn_of_lacking(
    role: str,
    role_of: Mapping[int, str],
    held: Mapping[int, Counter[int]],
    classes: Sequence[str],
) -> None:
    there = {label for origin, given in role_of.items() if given == role for label in held[origin]}
    lacking = [name for label, name in enumerate(classes) if label not in there]
    if lacking:
        log.warning(f"no photo of class {', '.join(map(repr, lacking[:5]))} for {role}")
