"""Marked regions of pages, and what stands in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tofa_edge.benchmarks.evidence import device_figures, training_figures
from tofa_edge.benchmarks.evidence.results import FOLDER

ROOT = Path(__file__).resolve().parents[2]
OPEN, CLOSE = "<!-- figures:", "<!-- /figures -->"
REGION = re.compile(r"<!-- figures: (?P<words>[\w ]+) -->.*?<!-- /figures -->", re.DOTALL)

Figures = Mapping[str, Callable[..., str]]


def figures() -> Figures:
    """Returns the functions that render figures, by name."""
    return {
        name: function
        for module in (device_figures, training_figures)
        for name, function in vars(module).items()
        if getattr(function, "__module__", None) == module.__name__ and name[0] != "_"
    }


def filled(text: str, known: Figures, page: str, folder: str = FOLDER) -> str:
    """Returns the `text` of a `page` with its regions filled by the functions `known`.

    Raises ValueError where a region has no end, or a name that is not known. The `folder` of the
    results is as seen from the page.
    """

    def fill(region: re.Match[str]) -> str:
        name, *results = region["words"].split()
        if name not in known:
            raise ValueError(f"{page}: no figures are called {name!r}")
        words = known[name](*results).replace(f"]({FOLDER}/", f"]({folder}/")
        around = "\n\n" if "\n" in words else ""
        return f"{OPEN} {region['words']} -->{around}{words}{around}{CLOSE}"

    if len(REGION.findall(text)) != text.count(OPEN):
        raise ValueError(f"{page}: wanted each '{OPEN} NAME -->' to end with '{CLOSE}'")
    return REGION.sub(fill, text)


def filled_pages() -> Iterator[tuple[Path, str]]:
    """Yields each page and its text with all regions filled."""
    known = figures()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        folder = FOLDER if path.parent == ROOT else f"../{FOLDER}"
        yield path, filled(path.read_text("utf-8"), known, str(path.relative_to(ROOT)), folder)
