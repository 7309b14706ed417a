"""Names that a terminal or a spreadsheet would obey."""

from __future__ import annotations

import csv
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tofa_edge.storage.text import escaped, spreadsheet_cell


@pytest.mark.parametrize(
    "name",
    [
        "photo 1.jpg", "b8:27:eb:ab:10:02.png", ":car:", "[bold]x[/bold]", "Łódź.png", "日本　.png",
        "👍.jpg", "می\u200cخواهم", "a\u202f9.41 PM.png", "C:\\photos\\a.jpg",
    ],
)  # fmt: skip
def test_names_that_only_show_stay(name: str) -> None:
    assert escaped(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[2J.png", "\\x1b[2J.png"),
        ("a\nb\r.png", "a\\nb\\r.png"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\x9b31m", "\\x9b31m"),
        (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png"),
        ("\ud83d", "\\ud83d"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_names_that_a_terminal_obeys_are_escaped(name: str, shown: str) -> None:
    assert escaped(name) == shown


def test_what_is_kept_stays() -> None:
    assert escaped("a\nb\tc", kept="\n") == "a\nb\\tc"


@given(st.text(st.characters(exclude_categories=())))
def test_escaped_text_can_be_encoded_and_is_one_line(text: str) -> None:
    shown = escaped(text)
    assert len(shown.splitlines()) <= 1
    assert escaped(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1"]
)  # fmt: skip
def test_formulas_become_text(name: str) -> None:
    assert spreadsheet_cell(name) == f"'{escaped(name)}"


@given(st.text(st.characters(exclude_categories=())))
def test_a_cell_is_one_cell_and_no_formula(text: str) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(["first", spreadsheet_cell(text)])
    ((_, cell),) = csv.reader(io.StringIO(stream.getvalue()))
    assert stream.getvalue().count("\n") == 1
    assert not cell.strip().startswith(("=", "+", "-", "@"))
