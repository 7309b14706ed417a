"""A few forged, replayed and mixed-up signatures, and the harness that looks for what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.envelopes import bundle_case, case
from tests.fuzz.forged import BUNDLE_CASES, Place
from tests.unit.trust.signing import statement_of

CASES = 70


def test_all_are_refused_before_the_manifest_is_parsed(tmp_path: Path) -> None:
    place = Place.made(tmp_path)
    case(place, 0, 0)  # imports what checks signatures
    found = [case(place, 1, number) for number in range(CASES)]
    assert [f"{number}: {each}" for number, each in enumerate(found) if each.fault] == []
    assert len({each.kind for each in found}) == 7


def test_an_envelope_that_is_right_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place.made(tmp_path)

    def good(at: Place, _: np.random.Generator) -> bytes:
        return at.envelope(statement_of(at.bundle, counter=99)).to_bytes()

    monkeypatch.setitem(BUNDLE_CASES, "right", good)
    assert bundle_case(place, "right", np.random.default_rng(0)).fault == "opened"
