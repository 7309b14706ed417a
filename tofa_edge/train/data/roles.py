"""Roles that a data set gives its photos: train, validation, test."""

from __future__ import annotations

from collections.abc import Iterable

TRAIN, VALIDATION, TEST = "train", "validation", "test"
WORDS = {
    TRAIN: ("train", "training", "trn"),
    VALIDATION: ("validation", "valid", "val", "dev", "validate"),
    TEST: ("test", "testing", "tst", "holdout"),
}
ROLES = {word: role for role, words in WORDS.items() for word in words}


def role_called(word: str) -> str | None:
    """Returns the role that a `word` means, a folder's name or a table's entry; None for none.

    COCO's files and folders end with a year: "train2017" means the same as "train".
    """
    return ROLES.get(word.strip().casefold().rstrip("0123456789"))


def role_among(words: Iterable[str]) -> str | None:
    """Returns the role that the first of the `words` with a role means; None for none."""
    return next(filter(None, map(role_called, words)), None)
