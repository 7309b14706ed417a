"""Fills the marked regions of README and docs from the stored results.

    python -m tofa_edge.benchmarks.evidence [--check]

A region is `<!-- figures: NAME -->…<!-- /figures -->`; NAME is a function of `device_figures` or
`training_figures`, with names of results behind it where it takes them. With `--check` nothing is
written, and stale pages are named. Wants a checkout.
"""

from __future__ import annotations

import argparse
import sys

from tofa_edge.benchmarks.evidence.regions import filled_pages


def main() -> int:
    """Fills the pages, or names what is stale; returns 1 in that case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    check = parser.parse_args().check
    stale = [(path, text) for path, text in filled_pages() if text != path.read_text("utf-8")]
    for path, text in stale:
        if not check:
            path.write_text(text, "utf-8")
        print(f"{path}: {'stale' if check else 'filled'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
