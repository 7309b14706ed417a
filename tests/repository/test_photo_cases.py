"""Every case in docs/photo-cases.md names a report and a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| (.+) \| (\[.+\]\(https://\S+\).*) \| (.+) \| `(test_\w+)(?:\[(.+)\])?` \|")


def test_every_case_has_a_report_and_a_test() -> None:
    page = (ROOT / "docs/photo-cases.md").read_text(encoding="utf-8")
    rows = page.split("|---|---|---|---|\n")[1].splitlines()
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*/**/test_*.py")]
    kinds = set()
    for row in rows:
        found = ROW.fullmatch(row)
        assert found, row
        kind, _, _, function, case = found.groups()
        holders = [source for source in sources if f"def {function}(" in source]
        assert holders, f"{kind}: no {function}"
        assert case is None or any(f'"{case}"' in source for source in holders), f"{kind}: {case}"
        kinds.add(kind)
    assert len(kinds) == len(rows) >= 40
