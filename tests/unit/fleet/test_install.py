"""A bundle takes over whole or not at all, proves good, or gives way to the one before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import tofa_edge
from tests.unit.fleet.conftest import BY_REFERENCE
from tests.unit.fleet.making import BY_REFERENCE as DEPLOYING
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BundleError, InstallError
from tofa_edge.fleet.install import install
from tofa_edge.fleet.proving import count_start, give_back, mark_good, status
from tofa_edge.fleet.trial import TrialLimits


def active_digest(folder: Path) -> str:
    return Bundle.open(folder / "active").digest


def good(folder: Path) -> str:
    """Marks what is active good, and returns its digest."""
    digest = active_digest(folder)
    count_start(folder)
    assert mark_good(folder, digest)
    return digest


def test_a_bundle_is_installed_proves_good_and_the_next_one_too(
    folder: Path, bundles: dict[str, Path]
) -> None:
    first = Bundle.open(bundles["first"]).digest
    assert active_digest(folder) == first
    with tofa_edge.deploy(folder / "active", options=DEPLOYING) as model:
        assert "chosen" in str(model.explanation) or model.explanation.remembered
    assert status(folder)["state"] == "trying"
    good(folder)
    assert status(folder)["state"] == "good"
    installed = install(bundles["second"], folder, BY_REFERENCE)
    assert any("paired test" in note for note in installed.notes), installed.notes
    told = status(folder)
    assert (told["slot"], told["state"]) == ("b", "trying")
    assert told["digest"] == active_digest(folder) == installed.digest
    with pytest.raises(InstallError, match="has not proved good yet"):
        install(bundles["first"], folder, BY_REFERENCE)
    good(folder)
    assert {path.name for path in folder.iterdir()} == {"a.tofa", "b.tofa", "active", "state.json"}


def test_a_bundle_that_never_proves_good_is_given_back_after_its_starts(
    folder: Path, bundles: dict[str, Path]
) -> None:
    first = good(folder)
    install(bundles["second"], folder, replace(BY_REFERENCE, boot_limit=2))
    second = active_digest(folder)
    assert [count_start(folder) for _ in range(2)] == [second, second]
    assert count_start(folder) == first == active_digest(folder)
    told = json.loads(json.dumps(status(folder)))
    assert told["last_refusal"]["digest"] == second
    assert "within 2 starts" in told["last_refusal"]["reason"]
    assert not mark_good(folder, second)
    assert [count_start(folder) for _ in range(4)] == [first] * 4


def test_a_bundle_that_proved_good_is_not_given_back(
    folder: Path, bundles: dict[str, Path]
) -> None:
    good(folder)
    install(bundles["second"], folder, BY_REFERENCE)
    second = good(folder)
    assert not give_back(folder, second, "late")
    for _ in range(5):
        assert count_start(folder) == second


def test_the_first_bundle_has_nothing_to_return_to(folder: Path) -> None:
    first = active_digest(folder)
    for _ in range(5):
        assert count_start(folder) == first
    assert not give_back(folder, first, "it fails")
    assert active_digest(folder) == first


def test_what_cannot_be_installed_changes_nothing(
    folder: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    first = good(folder)
    damaged = tmp_path / "damaged.tofa"
    content = bytearray(bundles["second"].read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    for path in (damaged, tmp_path / "missing.tofa", bundles["first"]):
        with pytest.raises((BundleError, InstallError)):
            install(path, folder, BY_REFERENCE)
        assert active_digest(folder) == first
        assert status(folder)["last_refusal"] is not None
    limits = TrialLimits(memory_bytes=2**20)
    with pytest.raises(InstallError, match=r"its trial took \d+ MB of memory"):
        install(bundles["second"], folder, replace(BY_REFERENCE, limits=limits))
    limits = TrialLimits(seconds=0.01)
    with pytest.raises(InstallError, match=r"more than 0\.01 s"):
        install(bundles["second"], folder, replace(BY_REFERENCE, limits=limits))
    assert active_digest(folder) == first
    install(bundles["second"], folder, BY_REFERENCE)


@pytest.mark.parametrize("name", ["state.json", "active"])
def test_a_damaged_folder_is_told_in_one_sentence(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).write_text("{")
    with pytest.raises(InstallError, match=name):
        count_start(folder)
