"""The glossary names what is in the source, and words that it replaced do not come back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.repository.source_tree import ROOT, modules

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
TERM = re.compile(r"^- ((?:\*\*[^*]+\*\*,? ?)+)(?: \(([^)]+)\))?:", re.MULTILINE)
REPLACED = (
    "Workbench", "--anew", "--probe-again", "probe_again", "Keeper", "take_best", "COMPANY_CORES",
    "glance", "looking (", "TeacherLook", "Wish", "makes probabilities honest",
    "is named alike", "tries itself",
)  # fmt: skip


@cache
def source() -> str:
    return "\n".join([*modules(), *modules().values()])


def names() -> Iterator[str]:
    """Yields the code names behind the terms."""
    for _, inside in TERM.findall(GLOSSARY):
        yield from re.findall(r"`(\w+)`", inside)


def texts() -> Iterator[Path]:
    for top in ("tofa_edge", "backends", "benchmarks", "device_profiles", "docs", "examples"):
        for suffix in ("py", "md", "yml"):
            yield from (ROOT / top).rglob(f"*.{suffix}")
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"))


def uses(word: str, text: str) -> bool:
    """Whether a text has a word; not as a part of a longer one."""
    before, after = r"(?<!\w)" * word[0].isalnum(), r"(?!\w)" * word[-1].isalnum()
    return bool(re.search(before + re.escape(word) + after, text))


def test_terms_are_found() -> None:
    terms = [term for term, _ in TERM.findall(GLOSSARY)]
    assert len(terms) == GLOSSARY.count("\n- **")
    assert len(terms) == len(set(terms))
    assert len(list(names())) > 40


@pytest.mark.parametrize("name", sorted(set(names())))
def test_code_names_are_in_the_source(name: str) -> None:
    assert uses(name, source())


@pytest.mark.parametrize("word", REPLACED)
def test_replaced_words_are_gone(word: str) -> None:
    assert [str(path.relative_to(ROOT)) for path in texts() if uses(word, path.read_text())] == []
