"""Photos with labels from folders: a folder for each class, perhaps within one for each role."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tofa_edge.errors import DataError
from tofa_edge.images.formats import READ
from tofa_edge.images.walk import PassedOver, Walk, is_litter, walk
from tofa_edge.train.data.class_names import one_form
from tofa_edge.train.data.photos import UNLABELLED, LabelledPaths
from tofa_edge.train.data.roles import TEST, role_called

log = logging.getLogger(__name__)

NO_LABEL = {
    "unlabelled",
    "unlabeled",
    "nolabel",
    "nolabels",
    "unannotated",
    "unsup",
    "unsupervised",
}
BESIDE, KEPT_TO_TEST = "beside the splits", "kept to test"
LINKED_OUT, LINKED_IN = "link out of the folder", "link into the folder"

Parts = tuple[str, ...]  # of a path below the root


def read_folder(root: Path, least_classes: int = 2) -> LabelledPaths:
    """Returns the photos of `root/<class>/**`, classes in alphabetical order.

    Photos loose in the root, and those in a folder called unlabelled (unlabeled, in any case, with
    an underscore before it), have no label. Folders called train, val and test that have a class
    folder in common are roles: then photos are `root/<role>/<class>/**`. Where all photos with a
    class lie in such folders within it, these are roles, too: `root/<class>/<role>/**`.

    Args:
        root: the folder.
        least_classes: how many there must be.

    Raises:
        DataError: the folder cannot be read, has too few classes, or an empty one, or may be meant
            as classes or as roles.
    """
    found = _walked(root)
    tops = _folders(root, found)
    roles = _roles(root, found, tops)
    inner = {} if roles else _roles_within(root, found.photos)
    labelled: list[tuple[Path, str, str | None]] = []  # path, class or "", role
    passed_over = list(found.passed_over)
    for path in found.photos:
        below = path.relative_to(root).parts
        role = roles.get(below[0]) if roles else None
        if roles and len(below) > 1 and role is None and not means_no_label(below[0]):
            passed_over.append(PassedOver(path, BESIDE))
            continue
        role = role if roles else inner.get(path)
        labelled.append((path, _class_of(below[1:] if roles and role else below), role))
    classes = sorted({name for _, name, _ in labelled} - {""})
    if not roles:
        _check_empty(root, tops, classes)
    _check_classes(root, classes, labelled, least_classes)
    numbers = {"": UNLABELLED, **{name: number for number, name in enumerate(classes)}}
    labels = np.array([numbers[name] for _, name, _ in labelled], np.int64)
    order = np.argsort(labels, kind="stable")
    order = np.concatenate([order[labels[order] >= 0], order[labels[order] < 0]])
    listed = LabelledPaths(
        tuple(classes),
        tuple(path for path, _, _ in labelled),
        labels,
        roles=tuple(role for _, _, role in labelled) if roles or inner else (),
        remarks=remarks_of([path for path, _, _ in labelled], found),
        passed_over=tuple(sorted(passed_over, key=lambda each: each.path)),
    )
    return listed.take(order)


def list_files(root: Path) -> LabelledPaths:
    """Returns every photo in the folder `root`, at any depth, without classes.

    Where folders called train and test share class folders, or are in each of them, those to test
    are left out.

    Raises:
        DataError: the folder cannot be read, or has none.
    """
    if not root.is_dir():
        found = "it is a file" if root.exists() else "there is none"
        raise DataError(f"{root}: wanted a folder of photos, {found}")
    walked = _walked(root)
    if not walked.photos:
        raise DataError(f"{root}: no images in it ({READ})")
    shared = _shared_roles(root, walked, _folders(root, walked))
    inner = {} if shared else _roles_within(root, walked.photos)
    roles = {path: inner.get(path, shared.get(path.relative_to(root).parts[0]))
             for path in walked.photos}  # fmt: skip
    photos = tuple(path for path in walked.photos if roles[path] != TEST)
    kept = tuple(PassedOver(path, KEPT_TO_TEST) for path in walked.photos if roles[path] == TEST)
    labels, remarks = np.full(len(photos), UNLABELLED), remarks_of(photos, walked)
    passed_over = (*walked.passed_over, *kept)
    return LabelledPaths((), photos, labels, remarks=remarks, passed_over=passed_over)


def means_no_label(name: str) -> bool:
    """Returns whether a folder called `name` holds photos without a label."""
    letters = "".join(letter for letter in name.casefold() if letter.isalnum())
    return letters in NO_LABEL


def remarks_of(paths: Iterable[Path], found: Walk) -> tuple[str, ...]:
    """Returns what is worth saying of each photo, "" for nothing; () where there is nothing."""
    if not (found.links_out or found.links_in):
        return ()
    return tuple(
        LINKED_OUT if path in found.links_out else LINKED_IN if path in found.links_in else ""
        for path in paths
    )


def _walked(root: Path) -> Walk:
    try:
        return walk(root)
    except OSError as error:
        place = error.filename or root
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error


def _folders(root: Path, found: Walk) -> list[str]:
    """Returns the names of the folders in the root that may be classes, empty ones too."""
    linked = {each.path for each in found.passed_over}
    return sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and not is_litter(path.name) and path not in linked
    )


def _class_of(below: Parts) -> str:
    """Returns the class of a photo by its path below the classes' folder; "" without a label."""
    return "" if len(below) < 2 or means_no_label(below[0]) else one_form(below[0])


def _roles(root: Path, found: Walk, tops: Sequence[str]) -> dict[str, str]:
    """Returns the role of each folder in the root that is one; {} where all are classes.

    Raises:
        DataError: one has class folders, and no other folder has the same.
    """
    shared = _shared_roles(root, found, tops)
    named = [name for name in tops if role_called(name) is not None]
    others = [name for name in tops if name not in named and not means_no_label(name)]
    inside = _classes_inside(root, found, named)
    with_classes = [name for name in named if len(inside[name]) > 1]
    if shared or others or not with_classes:
        return shared
    first = with_classes[0]
    raise DataError(
        f"{root}: wanted a folder per class, or train, val and test with the same class folders; "
        f"{first!r} has class folders ({', '.join(sorted(inside[first])[:3])}), and no other "
        f"folder has the same: give {root / first}"
    )


def _shared_roles(root: Path, found: Walk, tops: Sequence[str]) -> dict[str, str]:
    """Returns the roles of folders, two of which have a class folder in common; else {}."""
    named = {name: role for name in tops if (role := role_called(name)) is not None}
    inside = _classes_inside(root, found, named)
    pairs = itertools.combinations(named, 2)
    return named if any(named[a] != named[b] and inside[a] & inside[b] for a, b in pairs) else {}


def _roles_within(root: Path, photos: Sequence[Path]) -> dict[Path, str]:
    """Returns the role of each photo of `root/<class>/<role>/**`; {} where that is no such tree.

    It is one where every photo with a class has a role, and each role is in two classes or more.
    """
    below = {path: path.relative_to(root).parts for path in photos}
    with_class = [path for path in photos if _class_of(below[path])]
    roles = {path: role for path in with_class
             if len(below[path]) > 2 and (role := role_called(below[path][1])) is not None
             }  # fmt: skip
    classes_of: dict[str, set[str]] = {}
    for path, role in roles.items():
        classes_of.setdefault(role, set()).add(_class_of(below[path]))
    if len(classes_of) < 2 or min(map(len, classes_of.values())) < 2:
        return {}
    if len(roles) == len(with_class):
        return roles
    other = next(path for path in with_class if path not in roles)
    log.warning(
        f"{root}: its classes have folders called {', '.join(sorted(classes_of))}, and photos "
        f"beside these ({other}): they are no splits, all photos of a class are taken as one"
    )
    return {}


def _classes_inside(root: Path, found: Walk, tops: Iterable[str]) -> Mapping[str, set[str]]:
    """Returns the names of the folders with photos in each of some folders in the root."""
    inside: dict[str, set[str]] = {name: set() for name in tops}
    for path in found.photos:
        below = path.relative_to(root).parts
        if below[0] in inside and len(below) > 2 and not means_no_label(below[1]):
            inside[below[0]].add(one_form(below[1]))
    return inside


def _check_empty(root: Path, tops: Sequence[str], classes: Sequence[str]) -> None:
    empty = [n for n in tops if one_form(n) not in classes and not means_no_label(n)]
    if empty:
        raise DataError(
            f"{root}: no images in class {', '.join(map(repr, empty[:5]))}: "
            f"add some ({READ}) or remove the folder"
        )


def _check_classes(
    root: Path,
    classes: Sequence[str],
    labelled: Sequence[tuple[Path, str, str | None]],
    least_classes: int,
) -> None:
    if len(classes) >= least_classes:
        return
    found = f"only {classes[0]!r}" if classes else "none"
    if labelled and not classes:
        places = sorted({str(path.parent) for path, _, _ in labelled})
        found = f"only unlabelled photos ({places[0]})"
    raise DataError(f"{root}: wanted a folder per class ({root}/<class>/*.jpg), found {found}")
