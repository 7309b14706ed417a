"""Photos with the same content: each is read once, and its copies teach and test nothing."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tofa_edge.images.formats import HEAD, READ, what_it_is
from tofa_edge.images.walk import LINK, PassedOver
from tofa_edge.train.data.photos import UNLABELLED, LabelledPaths
from tofa_edge.train.data.roles import TEST, VALIDATION

IN_ONE_CLASS, IN_TWO_CLASSES = "doubled in one class", "doubled in two classes"
IN_TWO_ROLES, UNLABELLED_COPY = "doubled in two roles", "doubled without a label"
DOUBLED = (IN_ONE_CLASS, IN_TWO_CLASSES, IN_TWO_ROLES, UNLABELLED_COPY)
KEPT_FIRST = {TEST: 0, VALIDATION: 1}  # of the roles: what is tested on is never trained on
READ_AT_ONCE = 2**20


def without_doubles(listed: LabelledPaths) -> LabelledPaths:
    """Returns photos, each content once; copies are in `passed_over`, with the reason.

    Of copies in several roles, that to test stays, else that to validate. A photo that lies in
    several classes stays without a label, and its remark names them. Only files of equal size are
    compared, by a hash of their content.

    Args:
        listed: photos; parts of photos (with boxes) are returned as they are.
    """
    if listed.boxes:
        return listed
    labels, remarks = listed.labels.copy(), list(listed.remarks or [""] * len(listed))
    dropped: dict[int, PassedOver] = {}
    for copies in _equal(listed.paths):
        kept = min(copies, key=lambda index: _order(listed, index))
        names = sorted({listed.classes[labels[i]] for i in copies if labels[i] >= 0})
        for index in copies:
            if index != kept:
                dropped[index] = _fate(listed, index, kept, names)
        if len(names) > 1:
            labels[kept] = UNLABELLED
            remarks[kept] = f"without a label: its copies are in {', '.join(names)}"
    if not dropped:
        return listed
    stays = np.array([i for i in range(len(listed)) if i not in dropped], np.int64)
    passed_over = (*listed.passed_over, *(dropped[index] for index in sorted(dropped)))
    whole = replace(listed, labels=labels, remarks=tuple(remarks), passed_over=passed_over)
    return whole.take(stays)


def _order(listed: LabelledPaths, index: int) -> tuple[int, bool, bool, int]:
    """Returns what decides which copy stays: role, label, no link, place."""
    role = listed.roles[index] if listed.roles else None
    linked = bool(listed.remarks and listed.remarks[index])
    return KEPT_FIRST.get(role or "", 2), bool(listed.labels[index] < 0), linked, index


def _fate(listed: LabelledPaths, index: int, kept: int, names: Sequence[str]) -> PassedOver:
    path, detail = listed.paths[index], f"same content as {listed.paths[kept]}"
    if len(names) > 1:
        return PassedOver(path, IN_TWO_CLASSES, f"{detail}; in {', '.join(names)}")
    if listed.roles and listed.roles[index] != listed.roles[kept]:
        return PassedOver(path, IN_TWO_ROLES, f"{detail}, kept to {listed.roles[kept]}")
    if listed.labels[index] != listed.labels[kept] or listed.labels[index] < 0:
        return PassedOver(path, UNLABELLED_COPY, detail)
    if listed.remarks and listed.remarks[index]:
        return PassedOver(path, LINK, detail)
    return PassedOver(path, IN_ONE_CLASS, detail)


def _equal(paths: Sequence[Path]) -> Iterator[list[int]]:
    """Yields the places of paths whose files have the same content, two or more at once."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, path in enumerate(paths):
        try:
            by_size[path.stat().st_size].append(index)
        except OSError:  # decoding says what is wrong with it
            continue
    for size, places in by_size.items():
        if size and len(places) > 1:
            by_content: dict[bytes, list[int]] = defaultdict(list)
            for index in places:
                by_content[_digest(paths[index])].append(index)
            yield from (copies for copies in by_content.values() if len(copies) > 1)


def _digest(path: Path) -> bytes:
    """Returns a hash of a file's content, or of its name where it is no image or unreadable.

    Files that are no images, such as what a server sent in their place, are each told of as such.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            kind = what_it_is(file.read(HEAD))
            if not kind or kind not in READ:
                return repr(path).encode()
            file.seek(0)
            while content := file.read(READ_AT_ONCE):
                digest.update(content)
    except OSError:
        digest.update(repr(path).encode())
    return digest.digest()
