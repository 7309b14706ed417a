"""Whenever the power is cut, the device serves a whole, verified bundle: the old one or the new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.power import Disk, Recorder, Step, disks
from tests.unit.fleet.conftest import BY_REFERENCE
from tests.unit.trust.signing import Keys, signed
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import TofaError
from tofa_edge.fleet.install import install
from tofa_edge.fleet.proving import count_start, give_back, mark_good
from tofa_edge.fleet.slots import Slots
from tofa_edge.storage import durable
from tofa_edge.trust.policy import VARIABLE


@pytest.fixture
def signed_bundles(
    tmp_path: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path]:
    """Both bundles signed, on a device whose policy wants it."""
    keys, found = Keys.made(tmp_path / "keys", "fleet"), {}
    for counter, (name, path) in enumerate(bundles.items(), 1):
        found[name] = Path(shutil.copy(path, tmp_path / f"{name}.tofa"))
        signed(found[name], keys.of("fleet"), counter=counter)
    policy = tmp_path / "trust.json"
    policy.write_text(json.dumps({"keys": keys.publics("fleet"), "state": str(tmp_path / "seen")}))
    policy.chmod(0o600)
    monkeypatch.setenv(VARIABLE, str(policy))
    return found


def whole(folder: Path) -> str:
    """Starts the service's bookkeeping, reads all of the active bundle, and returns its digest."""
    count_start(folder)
    bundle = Bundle.open(folder / "active")
    bundle.verify()
    return bundle.digest


def served_after_cuts(recorder: Recorder, scratch: Path) -> Iterator[str]:
    """Yields what is served after a power cut at every point; each disk is tried once."""
    tried: set[str] = set()
    for number, disk in enumerate(disks(recorder)):
        key = repr((sorted(disk.names.items()), {n: len(c) for n, c in disk.contents.items()}))
        if key not in tried:
            tried.add(key)
            place = scratch / str(number)
            disk.restore(place)
            yield whole(place)
            shutil.rmtree(place)


@pytest.mark.usefixtures("known_engines")
def test_power_cuts(tmp_path: Path, signed_bundles: dict[str, Path]) -> None:
    """At every point of installing, proving good, and giving back."""
    folder, scratch = tmp_path / "slots", tmp_path / "scratch"
    scratch.mkdir()
    install(signed_bundles["first"], folder, BY_REFERENCE)
    first = whole(folder)
    mark_good(folder, first)
    second = Bundle.open(signed_bundles["second"]).digest

    def taking_over() -> None:
        install(signed_bundles["second"], folder, BY_REFERENCE)

    acts: tuple[tuple[Callable[[], object], set[str]], ...] = (
        (taking_over, {first, second}),
        (lambda: give_back(folder, second, "it fails"), {first, second}),
        (taking_over, {first, second}),
        (lambda: mark_good(folder, second), {second}),
    )
    for act, wanted in acts:
        recorder = Recorder(folder)
        with recorder.recording():
            act()
        served = list(served_after_cuts(recorder, scratch))
        assert set(served) == wanted
        assert len(served) >= 4, "at least each step of what was recorded"
    kinds = {step.kind for step in recorder.steps}
    assert kinds == {"name", "write", "sync", "remove", "sync names"}


@pytest.mark.usefixtures("known_engines")
def test_a_counter_that_was_not_kept_is_kept_at_the_next_start(
    tmp_path: Path, signed_bundles: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """As where the power is cut between proving good and that, or the folder takes no file."""
    folder, seen = tmp_path / "slots", tmp_path / "seen"
    install(signed_bundles["second"], folder, BY_REFERENCE)
    second = whole(folder)
    seen.write_bytes(b"no folder")
    with caplog.at_level("WARNING"):
        assert mark_good(folder, second)
    assert "the counter is not kept" in caplog.text
    seen.unlink()
    assert Bundle.open(signed_bundles["first"]).classes
    assert whole(folder) == second
    with pytest.raises(TofaError, match="its counter is 1, and 2 is the least"):
        Bundle.open(signed_bundles["first"])


@pytest.mark.usefixtures("known_engines")
def test_what_was_given_back_is_installed_again_from_its_slot(
    tmp_path: Path, signed_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "slots"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "trust.json")  # a trial, which begins elsewhere, finds it
    install(signed_bundles["first"], folder, BY_REFERENCE)
    mark_good(folder, whole(folder))
    second = install(signed_bundles["second"], folder, BY_REFERENCE)
    assert give_back(folder, second.digest, "it fails")
    assert install(folder / "b.tofa", folder, BY_REFERENCE).digest == second.digest
    assert whole(folder) == second.digest


@pytest.mark.usefixtures("known_engines")
def test_a_missing_sync_is_found(
    tmp_path: Path, signed_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model of the disk is able to find an installation that does not wait for it."""
    folder, scratch = tmp_path / "slots", tmp_path / "scratch"
    scratch.mkdir()
    install(signed_bundles["first"], folder, BY_REFERENCE)
    first = whole(folder)
    mark_good(folder, first)
    recorder = Recorder(folder)
    with recorder.recording():
        install(signed_bundles["second"], folder, BY_REFERENCE)
    recorder.steps = [step for step in recorder.steps if not step.kind.startswith("sync")]
    with pytest.raises(TofaError):
        list(served_after_cuts(recorder, scratch))


def test_disks_lose_what_was_not_waited_for(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    (tmp_path / "file").write_bytes(b"old")
    with recorder.recording():
        durable.write_durably(tmp_path / "file", [b"new"])
    held = {
        disk.contents[disk.names["file"][1]] for disk in disks(recorder) if "file" in disk.names
    }
    assert held == {b"old", b"new"}
    unsynced = [step for step in recorder.steps if step.kind != "sync"]
    recorder.steps = unsynced
    held = {
        disk.contents[disk.names["file"][1]] for disk in disks(recorder) if "file" in disk.names
    }
    assert b"" in held
    assert Step("sync names") in unsynced
    assert Disk({}, {}).names == {}
    assert Slots(tmp_path).active() is None
