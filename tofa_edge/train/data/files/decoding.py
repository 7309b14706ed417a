"""From files to pixels, in memory, or in a file that is mapped where a set is too large for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.bundle.images import ImageSource, Prepared, prepare, prepare_with_changes
from tofa_edge.errors import DataError, ImageError
from tofa_edge.images.depth import bits_of
from tofa_edge.images.reading import FormatError, SizeError
from tofa_edge.images.walk import FORMAT, PassedOver
from tofa_edge.train.config import READING, OnStep, counter, silent
from tofa_edge.train.data.files.mapped import room_for
from tofa_edge.train.data.photo_parts import PhotoPart
from tofa_edge.train.data.photos import LabelledPaths, Photos

log = logging.getLogger(__name__)

MOST_UNREADABLE = 0.05  # of all images; beyond, something is wrong with the folder
MOST_NAMED = 20  # of those that cannot be read
UNREADABLE, TOO_LARGE = "unreadable", "too large"

Source = ImageSource | PhotoPart


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one photo."""

    changes: tuple[str, ...] = ()
    peak: float | None = None
    error: ImageError | None = None


def decode_all(
    data: LabelledPaths,
    size: int,
    on_step: OnStep = silent,
    place: Path | None = None,
    peak: float | None = None,
) -> tuple[ImageArray, LabelledPaths]:
    """Returns the images that can be read, uint8, (N, size, size, 3), and which they are.

    The others are in `passed_over`, with the reason. Images of more than 8 bits are scaled by the
    range of all of them. A set that is large for the memory is kept on disk (`room_for`).

    Args:
        data: whose images to read.
        size: to crop and resize to.
        on_step: called after each image.
        place: folder for a large set; None for that of temporary files.
        peak: largest value of images of more than 8 bits; None takes that of these images.

    Raises:
        DataError: more than 5 % of the images cannot be read, and the first are named; or there
            is no room for them.
    """
    images, sources = room_for(len(data), size, place), data.sources
    count = counter(READING, len(data), on_step)
    outcomes: list[_Outcome] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(
            lambda i: _decode_into(images, i, sources[i], peak), range(len(data))
        ):
            outcomes.append(outcome)
            count()
    peaks = [outcome.peak for outcome in outcomes if outcome.peak is not None]
    peak = max(peaks, default=None) if peak is None else peak
    for index, outcome in enumerate(outcomes):
        if peak is not None and outcome.peak is not None and _differs(outcome.peak, peak):
            outcomes[index] = _decode_into(images, index, sources[index], peak)
    _check_failures(outcomes)
    kept = [index for index, outcome in enumerate(outcomes) if outcome.error is None]
    for new, old in enumerate(kept):
        if new != old:
            images[new] = images[old]
    failed = tuple(_fate(data.paths[i], o.error) for i, o in enumerate(outcomes) if o.error)
    changes = tuple(outcome.changes for outcome in outcomes)
    read = replace(data, changes=changes, passed_over=(*data.passed_over, *failed))
    read = replace(read, peak=peak if peaks else None)
    return images[: len(kept)], read.take(np.array(kept, np.int64))


def decoded(source: Source, size: int) -> ImageArray | ImageError:
    """Returns a `source`'s image, uint8 (size, size, 3) of a `size`, or why there is none."""
    try:
        return _prepared(source, size, None).pixels
    except ImageError as error:
        return error


def arranged(photos: Photos, roles: Mapping[str, IndexArray]) -> dict[str, Photos]:
    """Returns photos by role, without a copy: the images are put in that order where they are.

    Args:
        photos: all of them; their `images` are in another order afterwards.
        roles: disjoint indices, (N,) integers each.
    """
    chosen = np.concatenate([*roles.values()])
    others = np.setdiff1d(np.arange(len(photos.labels)), chosen)
    reorder(photos.images, np.concatenate([chosen, others]))
    parts, start = {}, 0
    for role, indices in roles.items():
        images = photos.images[start : start + len(indices)]
        parts[role] = photos.with_images(images, indices)
        start += len(indices)
    return parts


def reorder(images: ImageArray, order: IndexArray) -> None:
    """Puts `images`, (N, ...), in an `order`, a permutation (N,), with room for one of them."""
    done = np.zeros(len(order), bool)
    for start in range(len(order)):
        if done[start] or order[start] == start:
            continue
        first, place = images[start].copy(), start
        while order[place] != start:
            images[place] = images[order[place]]
            done[place] = True
            place = int(order[place])
        images[place] = first
        done[place] = True


def _decode_into(images: ImageArray, index: int, source: Source, peak: float | None) -> _Outcome:
    try:
        prepared = _prepared(source, images.shape[1], peak)
    except ImageError as error:
        return _Outcome(error=error)
    images[index] = prepared.pixels
    return _Outcome(prepared.changes, prepared.peak)


def _prepared(source: Source, size: int, peak: float | None) -> Prepared:
    if not isinstance(source, PhotoPart):
        return prepare_with_changes(source, size, peak=peak)
    picture = source.read(peak)
    return Prepared(prepare(picture.image, size), picture.changes, picture.peak)


def _differs(own: float, peak: float) -> bool:
    """Returns whether a photo was scaled by another range than that of its set."""
    return bits_of(own) != bits_of(peak)


def _check_failures(outcomes: Sequence[_Outcome]) -> None:
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(failures) > MOST_UNREADABLE * len(outcomes):
        named = "; ".join(str(failure) for failure in failures[:3])
        raise DataError(f"{len(failures)} of {len(outcomes)} images cannot be read: {named}")
    for failure in failures[:MOST_NAMED]:
        log.warning(f"skipped: {failure}")
    if len(failures) > MOST_NAMED:
        log.warning(f"skipped: {len(failures) - MOST_NAMED} more")


def _fate(path: Path, error: ImageError) -> PassedOver:
    kinds = {FormatError: FORMAT, SizeError: TOO_LARGE}
    reason = kinds.get(type(error), UNREADABLE)
    return PassedOver(path, reason, str(error).removeprefix(f"{path}: "))
