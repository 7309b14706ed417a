"""Figures of README and docs are those of the stored results, which say where they come from."""

from __future__ import annotations

import json
import re
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest

from tofa_edge import __version__
from tofa_edge.benchmarks.evidence.regions import OPEN, figures, filled, filled_pages
from tofa_edge.benchmarks.evidence.results import RESULTS as FOLDER
from tofa_edge.benchmarks.evidence.results import source, spread
from tofa_edge.benchmarks.studies.command import provenance

RESULTS = sorted(FOLDER.glob("*.json"))
COMMAND = "python -m tofa_edge.benchmarks.evidence"


def test_pages_show_what_the_results_say() -> None:
    stale = [path.name for path, text in filled_pages() if text != path.read_text("utf-8")]
    assert stale == [], COMMAND


def test_every_kind_of_figure_is_on_a_page() -> None:
    texts = [path.read_text("utf-8") for path, _ in filled_pages()]
    shown = {name for text in texts for name in re.findall(rf"{OPEN} (\w+)", text)}
    assert shown == set(figures())


def test_a_changed_figure_is_found_and_put_right() -> None:
    known = figures()
    page = next(text for path, text in filled_pages() if path.name == "measured.md")
    figure = "2.5 %; 3.0 %; 1.8 %"
    assert figure in page, "the example is on no page any more"
    changed = page.replace(figure, "2.6 %; 3.0 %; 1.8 %")
    assert filled(changed, known, "it", "../benchmarks/results") == page


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("<!-- figures: luck -->3 %<!-- /figures -->", "no figures are called 'luck'"),
        ("<!-- figures: one -->3 %", "wanted each"),
        ("<!-- figures: one -->3 %<!-- /figures --> <!-- figures: one -->", "wanted each"),
    ],
)
def test_regions_that_cannot_be_filled_are_refused(page: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        filled(page, {"one": lambda: "3 %"}, "page.md")


def test_regions_are_filled_within_a_line_and_as_a_block() -> None:
    known = {"one": lambda: "3 %", "many": lambda *names: "| a |\n" + ",".join(names)}
    first = "takes <!-- figures: one -->5 %<!-- /figures -->. "
    page = f"{first}<!-- figures: many x y --><!-- /figures -->"
    assert filled(page, known, "page.md") == (
        "takes <!-- figures: one -->3 %<!-- /figures -->. "
        "<!-- figures: many x y -->\n\n| a |\nx,y\n\n<!-- /figures -->"
    )
    assert filled(filled(page, known, "page.md"), known, "page.md") == filled(page, known, "p")


def test_figures_name_their_source() -> None:
    said = source("peers")
    for part in ("python -m tofa_edge.benchmarks.studies.peers", "tofa-edge 0.", "EPYC", "2026-"):
        assert part in said
    assert spread([0.5, 0.6]) == "55.0 ± 7.1 %"
    assert spread([0.5]) == "50.0 %"
    assert spread([]) == ""


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
