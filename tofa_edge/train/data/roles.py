"""Roles that a data set gives its photos: train, validation, test."""

from __future__ import annotations

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
