"""An installation killed a few times, and the harness that looks for what is the worse for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz.install_killed import NAMES, Place, first_installation, kill
from tofa_edge.trust import policy


@pytest.fixture
def place(tmp_path: Path, known_engines: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(policy.VARIABLE, "")
    monkeypatch.setattr(policy, "SYSTEM", tmp_path / "no policy")
    cache = os.environ["XDG_CACHE_HOME"]
    made = Place(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    return made


def test_a_whole_bundle_is_served_after_each_kill(place: Place) -> None:
    life_s = first_installation(place)
    kills = [kill(place, 0, number, life_s) for number in range(4)]
    assert [each.faults for each in kills] == [[]] * len(kills)
    assert {each.served for each in kills} <= set(NAMES)
    active = place.slots / "active"
    active.resolve().write_bytes(b"half of it")
    with pytest.raises(Exception, match="bundle"):
        place.served()
