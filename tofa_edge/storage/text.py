"""Names of files and classes as text that a terminal or a spreadsheet shows and does not obey."""

from __future__ import annotations

import unicodedata

JOINERS = "\u200c\u200d"  # in names of many languages; they show or reorder nothing
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # begin what a spreadsheet computes
BLANKS = ("\t", "\r", "\n")  # that some spreadsheets skip before it


def escaped(text: str, kept: str = "") -> str:
    r"""Returns a `text` without what a terminal obeys or cannot show, each such letter as `\x1b`.

    These are control characters and what begins an escape sequence, marks that change the
    direction of writing, invisible and unassigned ones; and bytes of a file's name that are no
    UTF-8, which Python holds as lone surrogates (PEP 383): `\xff`.

    Args:
        text: such as a path or the name of a class.
        kept: characters to leave as they are, such as a line's end.
    """
    return "".join(
        letter if _is_shown(letter) or letter in kept else _code(letter) for letter in text
    )


def spreadsheet_cell(text: str) -> str:
    """Returns a `text` as one cell of a CSV file: on one line, and never a formula.

    Letters are escaped as by `escaped`; a text that begins like a formula gets an apostrophe in
    front, which spreadsheets take for "this is text" (OWASP, "CSV Injection").
    """
    return f"'{escaped(text)}" if is_formula(text) else escaped(text)


def is_formula(text: str) -> bool:
    """Returns whether a spreadsheet might compute a cell that holds a `text`."""
    return text.startswith(BLANKS) or text.lstrip().startswith(FORMULA)


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"


def _code(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
