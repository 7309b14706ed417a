"""Whether the figures in README and docs are those of the stored results.

    python -m tofa_edge.benchmarks.evidence.evidence

names each sentence that a stored result no longer says, and each figure that no stored result and
no reason (`unstored.py`) stands behind. Wants a checkout: results and pages are not installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from tofa_edge.benchmarks.evidence import claims, claims_bench, claims_device, claims_training
from tofa_edge.benchmarks.evidence.unstored import UNSTORED

MODULES = (claims, claims_bench, claims_device, claims_training)
REASONED = [words for group in UNSTORED.values() for words in group]
ROOT = Path(claims.__file__).resolve().parents[2]

NUMBER = r"(?<![\w.])(?:[\d,]*\.)?\d[\d,]*(?:e-?\d+)?"
FIGURE = re.compile(
    rf"{NUMBER}\s?(?:ms|s|min|minutes|hours|%|[KMG]i?B|points?|×|times|MMACs)(?!\w)"
    rf"|(?<![\w.])\d*\.\d+(?:e-?\d+)?(?![\w.])"
    rf"|{NUMBER} (?:of|out of) {NUMBER}(?![\w])"
    r"|(?<=\| )\d[\d,]*(?= \|)"
)
NO_PROSE = re.compile(r"^(`{3,}).*?^\1|<!--.*?-->", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`[^`]+`|\]\([^)]*\)")


def pages() -> dict[str, str]:
    """Returns the text of README and of each page in docs, by path, without code blocks."""
    paths = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    return {str(path.relative_to(ROOT)): prose(path.read_text()) for path in paths}


def prose(page: str) -> str:
    """Returns the text of a page on one line, without code blocks and comments."""
    return " ".join(NO_PROSE.sub("", page).split())


def renders(module: ModuleType) -> list[Callable[[], Iterator[str]]]:
    """Returns a module's functions that render sentences, each named like its result."""
    return [
        function
        for name, function in vars(module).items()
        if not name.startswith("_")
        and getattr(function, "__module__", None) == module.__name__
        and getattr(function, "__annotations__", {}) == {"return": "Claims"}
    ]


def sentences() -> Iterator[tuple[str, str]]:
    """Yields what the stored results say: the name of each result and a sentence."""
    for module in MODULES:
        for render in renders(module):
            yield from ((render.__name__, sentence) for sentence in render())


def stale(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields each stored result and a sentence rendered from it that is on no page."""
    for name, sentence in sentences():
        if not any(sentence in text for text in texts.values()):
            yield name, sentence


def unbacked(text: str) -> Iterator[str]:
    """Yields figures that no stored result and no reason backs, with what is around them."""
    backed = [sentence for _, sentence in sentences()] + REASONED
    spans = [match.span() for words in backed for match in re.finditer(re.escape(words), text)]
    spans += [match.span() for match in QUOTED.finditer(text)]
    for figure in FIGURE.finditer(text):
        start, end = figure.span()
        if not any(low <= start and end <= high for low, high in spans):
            yield f"{text[max(0, start - 40) : start]}»{figure[0]}«{text[end : end + 40]}"


def unused(texts: Mapping[str, str]) -> Iterator[str]:
    """Yields words of `UNSTORED` that are on no page any more."""
    for words in REASONED:
        if not any(words in text for text in texts.values()):
            yield words


def main() -> int:
    """Prints what does not hold; returns how many that are."""
    texts = pages()
    lines = [f"{name}.json says, and no page does: {sentence}" for name, sentence in stale(texts)]
    lines += [f"{page}: no evidence: {at}" for page, text in texts.items() for at in unbacked(text)]
    lines += [f"unstored.py, and no page: {words}" for words in unused(texts)]
    print("\n".join(lines) or "every figure has its evidence")
    return min(len(lines), 1)


if __name__ == "__main__":
    sys.exit(main())
