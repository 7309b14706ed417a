"""Figures of README and docs are those of the stored results, which say where they come from."""

from __future__ import annotations

import json
import re
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest

from tofa_edge import __version__
from tofa_edge.benchmarks.evidence import claims
from tofa_edge.benchmarks.evidence.evidence import (
    MODULES,
    pages,
    prose,
    renders,
    stale,
    unbacked,
    unused,
)
from tofa_edge.benchmarks.studies.command import provenance

RESULTS = sorted(claims.RESULTS.glob("*.json"))
PAGES = pages()


def test_pages_say_what_results_say() -> None:
    assert [f"{name}: {sentence}" for name, sentence in stale(PAGES)] == []


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_figure_has_a_result_or_a_reason(page: str) -> None:
    assert list(unbacked(PAGES[page])) == []


def test_reasons_are_for_figures_that_are_there() -> None:
    assert list(unused(PAGES)) == []


def test_a_changed_figure_is_found() -> None:
    said = "65.36 % in fp32"
    changed = {page: text.replace(said, "65.63 % in fp32") for page, text in PAGES.items()}
    assert changed != PAGES, "the example is on no page any more"
    assert [name for name, _ in stale(changed)] == ["precision"]
    assert any("»65.63 %«" in at for text in changed.values() for at in unbacked(text))


@pytest.mark.parametrize(
    "figure",
    ["12 ms", "3.5", ".93", "5 %", "1.2e-5", "7 of 9", "2 × faster", "40 MB", "| 17 |", "3 points"],
)
def test_a_new_figure_is_found(figure: str) -> None:
    assert len(list(unbacked(prose(f"It now takes {figure}, measured here. |")))) == 1


@pytest.mark.parametrize(
    "words", ["Lite0 at 160 px", "3 engines", "8-bit", "`--fail-above 5.5`", "[a](b/c-1.5.json)"]
)
def test_what_is_no_figure_is_let_be(words: str) -> None:
    assert list(unbacked(prose(f"The {words} <!-- 3.5 ms --> is used.\n```\n12 ms\n```\n"))) == []


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_say_where_they_come_from(path: Path) -> None:
    said = json.loads(path.read_text())["made"]
    module = re.match(
        r"python -m ((?:tofa_edge\.benchmarks\.studies|tests\.fuzz)\.\w+)", said["command"]
    )
    assert module, said["command"]
    assert find_spec(module[1]), "the command is there"
    assert said["machine"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", said["versions"]["tofa_edge"])
    assert date.fromisoformat(said["date"]) >= date(2026, 1, 1)


def test_every_result_is_made_use_of(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    whole = claims.result

    def seen(name: str) -> object:
        read.add(name)
        return whole(name)

    for module in MODULES:
        monkeypatch.setattr(module, "result", seen)
        for render in renders(module):
            assert list(render()), render.__name__
    assert read == {path.stem for path in RESULTS}


def test_new_results_say_it_too() -> None:
    found = provenance()
    assert set(found) == {"command", "machine", "versions", "date"}
    assert found["machine"].strip(", ")
    assert found["versions"]["tofa_edge"] == __version__
    assert date.fromisoformat(found["date"])
    for path in RESULTS:
        module = find_spec(json.loads(path.read_text())["made"]["command"].split()[2])
        assert module is not None
        assert module.origin is not None
        source = Path(module.origin).read_text()
        assert re.search(r"\b(store|[Rr]esults|resume_trials)\(", source), module.name
