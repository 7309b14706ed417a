"""Who measures: alone, beside another process, or nobody can tell."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tofa_edge.measurement.turns import NAME, measuring_turn

SCRIPT = """
import sys
from tofa_edge.measurement.turns import measuring_turn
with measuring_turn(0.2) as turn:
    print(turn)
"""
AS_NOBODY = """
import fcntl, os
import tofa_edge.measurement.turns
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))  # of the other process; below, of this one
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def elsewhere(before: str = "") -> str:
    words = [sys.executable, "-c", before + SCRIPT]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_only_one_process_measures(folder: Path) -> None:
    with measuring_turn() as turn:
        assert turn == "alone"
        assert elsewhere() == "busy"
    assert elsewhere() == "alone"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
def test_another_user_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in /tmp, which all users write to and where each owns his files."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o1777)
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        old = os.umask(0o077)
        try:
            with measuring_turn() as turn:
                assert turn == "alone"
                assert elsewhere(AS_NOBODY) == "busy"
        finally:
            os.umask(old)
        (Path(name) / NAME).unlink()
        assert elsewhere(AS_NOBODY) == "alone"
        assert (Path(name) / NAME).owner() != Path(name).owner()
        with measuring_turn() as turn:
            assert turn == "alone", "though its file is another user's"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_nobody_waits_for_locks_that_are_not_to_be_had(folder: Path, number: int) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    begun = time.monotonic()
    with measuring_turn(30, flock=flock) as turn:
        assert turn == "unknown"
    assert time.monotonic() - begun < 5


def test_nobody_can_tell_without_a_folder(folder: Path) -> None:
    folder.rmdir()
    with measuring_turn() as turn:
        assert turn == "unknown"


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / NAME).symlink_to(tmp_path / "elsewhere")
    with measuring_turn() as turn:
        assert turn == "unknown"
    assert not (tmp_path / "elsewhere").exists()


def test_the_deadline_ends_the_wait(folder: Path) -> None:
    begun = time.monotonic()
    with measuring_turn(), measuring_turn(30, deadline=begun + 0.2) as turn:
        assert turn == "busy"
    assert time.monotonic() - begun < 5


def test_what_fails_inside_comes_through_and_frees_the_turn(folder: Path) -> None:
    with pytest.raises(OSError, match="inside"), measuring_turn():
        raise OSError("inside")
    with measuring_turn(0) as turn:
        assert turn == "alone"
