"""Names of classes: one Unicode form, and those that are probably a mistake."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from tofa_edge.errors import DataError

NO_VALUE = {"nan", "null", "<na>", "n/a", "#n/a"}  # how programs write a missing label
PYTHON_NONE = "None"


def one_form(name: str) -> str:
    """Returns the `name` of a class in Unicode's composed form (NFC).

    Some systems keep letters with marks decomposed: the same name would be two classes.
    """
    return unicodedata.normalize("NFC", name)


def check_classes(source: Path, names: Collection[str], as_given: bool) -> None:
    """Checks that no class's name is probably a mistake.

    Args:
        source: what they were read from, for the message.
        names: of all classes, in one form.
        as_given: whether the user has said that they are right.

    Raises:
        DataError: a name stands for a missing label, or two differ in case or spaces alone.
    """
    if as_given:
        return
    for name in sorted(names):
        if name.strip().casefold() in NO_VALUE or name.strip() == PYTHON_NONE:
            raise DataError(
                f"{source}: a class is called {name!r}, as programs write a missing label: leave "
                "the label empty where there is none, or give --classes-as-given if it is a class"
            )
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        alike["".join(name.split()).casefold()].append(name)
    for same in alike.values():
        if len(same) > 1:
            raise DataError(
                f"{source}: the classes {' and '.join(map(repr, same))} differ in case or spaces "
                "alone: give them one name, or --classes-as-given if they are different"
            )
