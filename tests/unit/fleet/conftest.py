"""A folder of slots, and bundles for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.fleet.making import right_bundle
from tofa_edge.fleet.install import InstallOptions, install

BY_REFERENCE = InstallOptions(backend="reference", precision="fp32")


@pytest.fixture(autouse=True)
def no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tofa_edge.trust.policy.SYSTEM", tmp_path / "no policy")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles by name: two that are equally good."""
    folder = tmp_path_factory.mktemp("bundles")
    found = {}
    for version, name in enumerate(("first", "second")):
        found[name] = folder / f"{name}.tofa"
        right_bundle(found[name], version=version)
    return found


@pytest.fixture
def folder(tmp_path: Path, known_engines: Path, bundles: dict[str, Path]) -> Path:
    """Slots with the first bundle, which is active and not yet good."""
    place = tmp_path / "slots"
    install(bundles["first"], place, BY_REFERENCE)
    return place
