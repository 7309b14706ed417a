"""Keys, and bundles signed with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.trust.signing import Keys
from tofa_edge.selftest.small_bundle import small_bundle


@pytest.fixture(autouse=True)
def no_system_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the policy of the machine that it runs on."""
    monkeypatch.setattr("tofa_edge.trust.policy.SYSTEM", tmp_path / "no policy")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.made(tmp_path / "keys", "first", "second", "third")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "parts.tofa"
    small_bundle(path, calibration_photos=2, check_photos=2)
    return path
