"""Folders of the cache: only whole files, only ours, only so many; and never a failure."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tofa_edge.storage.cache import CacheFolder, cache_folder, decision_key, stem

CONTENT = bytes(range(256)) * 4
CACHE = CacheFolder("things", 3, 100 * len(CONTENT), len(CONTENT), contents="things")
SILENT = replace(CACHE, contents="")
FACTS = {"engine": "tensorrt 10.3.0", "device": "Orin"}
A, B, C, D = (letter * 32 + ".json" for letter in "abcd")


def names() -> list[str]:
    return sorted(path.name for path in CACHE.path.iterdir())


def write_at(cache: CacheFolder, name: str, seconds: float) -> None:
    assert cache.write(name, CONTENT)
    os.utime(cache.path / name, (seconds, seconds))


def test_key_depends_on_every_fact() -> None:
    keys = {decision_key(facts) for facts in (FACTS, {**FACTS, "device": "Xavier"}, {})}
    assert len(keys) == 3
    assert decision_key(dict(reversed(FACTS.items()))) == decision_key(FACTS)


def test_what_is_written_is_read(own_cache: Path) -> None:
    assert CACHE.read(A) is None
    assert CACHE.names() == []
    assert CACHE.keep(A, CONTENT) == ""
    assert CACHE.read(A) == CONTENT
    assert CACHE.refusal() == ""
    assert CACHE.path == cache_folder("things") == own_cache / "tofa-edge/things"
    for path, mode in ((CACHE.path.parent, 0o700), (CACHE.path, 0o700), (CACHE.path / A, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert names() == CACHE.names() == [A]


def test_least_recently_used_goes_first() -> None:
    for age, name in enumerate((C, B, A)):
        write_at(CACHE, name, 1e9 + age)
    assert CACHE.read(C) == CONTENT  # so it is the newest now
    CACHE.write(D, CONTENT)
    assert names() == [A, C, D]


def test_reading_can_leave_the_order() -> None:
    for age, name in enumerate((C, B, A)):
        write_at(CACHE, name, 1e9 + age)
    assert CACHE.read(C, use=False) == CONTENT
    CACHE.write(D, CONTENT)
    assert names() == [A, B, D]


def test_new_entry_stays_where_the_clock_jumped_back() -> None:
    for name in (A, B, C):
        write_at(CACHE, name, 9e9)
    CACHE.write(D, CONTENT)
    assert D in names()
    assert len(names()) == 3


def test_files_of_one_stem_are_one_entry() -> None:
    artefact = f"{stem(A)}.artefact"
    for age, name in enumerate((A, B, C, artefact)):
        write_at(CACHE, name, 1e9 + age)
    CACHE.write(D, CONTENT)
    assert names() == [artefact, A, C, D]
    CACHE.forget(stem(A))
    CACHE.forget("nothing")
    assert names() == [C, D]
    assert stem("a.json") == stem("a") == "a"
    assert stem("w1.0.json") == "w1.0"


def test_bytes_are_bounded() -> None:
    bounded = replace(CACHE, most_bytes=2 * len(CONTENT))
    for age, name in enumerate((A, B, C)):
        write_at(bounded, name, 1e9 + age)
    assert names() == [B, C]
    tight = replace(CACHE, most_file_bytes=len(CONTENT) - 1)
    assert tight.read(C) is None
    assert tight.keep(D, CONTENT) == f"{CACHE.path}: 1024 bytes are over 1023"


def test_what_killed_writers_left_is_swept() -> None:
    write_at(CACHE, A, 1e9)
    left, fresh = (CACHE.path / f".{A}.{digit * 16}.tmp" for digit in "01")
    foreign = CACHE.path / f".notes.txt.{'0' * 16}.tmp"
    for path in (left, fresh, foreign):
        path.write_bytes(CONTENT)
    for path in (left, foreign):
        os.utime(path, (1, 1))
    assert CACHE.names() == [A]
    CACHE.write(B, CONTENT)
    assert names() == sorted([fresh.name, foreign.name, A, B])


def test_foreign_files_are_neither_counted_nor_dropped() -> None:
    write_at(CACHE, A, 1e9)
    foreign = ["notes.txt", "settings.json", "a" * 32, "b" * 32 + ".jpg", "B" * 32 + ".json"]
    for name in foreign:
        (CACHE.path / name).write_bytes(bytes(10**6))
        os.utime(CACHE.path / name, (1, 1))
    (CACHE.path / f"{'e' * 32}.json").mkdir()
    for name in (B, C, D):
        CACHE.write(name, CONTENT)
    assert CACHE.names() == [B, C, D, f"{'e' * 32}.json"]
    assert names() == sorted([*foreign, B, C, D, f"{'e' * 32}.json"])


@pytest.mark.parametrize("name", ["../x.json", "a/b.json", "", ".hidden", "..", "a\0b"])
def test_names_lead_nowhere_else(name: str, own_cache: Path) -> None:
    assert CACHE.write(A, CONTENT)
    before = sorted(own_cache.rglob("*"))
    assert "is no name of a file in the cache" in CACHE.keep(name, CONTENT)
    assert CACHE.read(name) is None
    CACHE.forget(name)
    assert sorted(own_cache.rglob("*")) == before


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o707])
def test_folder_that_others_may_write_to_is_not_used(
    mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    CACHE.write(A, CONTENT)
    CACHE.path.chmod(mode)
    assert CACHE.read(A) is None
    assert f"things in {CACHE.path} are not used: others may write to it; chmod" in caplog.text
    assert not CACHE.write(B, CONTENT)
    reason = f"{CACHE.path}: others may write to it; chmod 700 it, or remove it"
    assert SILENT.refusal() == SILENT.keep(B, CONTENT) == reason
    assert names() == [A]
    CACHE.path.chmod(0o700)
    assert CACHE.read(A) == CONTENT


def test_a_loose_umask_is_mended_above() -> None:
    CACHE.write(A, CONTENT)
    CACHE.path.parent.chmod(0o775)
    assert CACHE.read(A) == CONTENT
    assert stat.S_IMODE(CACHE.path.parent.stat().st_mode) == 0o700


def test_file_that_others_may_write_to_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    CACHE.write(A, CONTENT)
    (CACHE.path / A).chmod(0o666)
    assert SILENT.read(A) is None
    assert caplog.records == []
    assert CACHE.read(A) is None
    assert "a file that only we can write" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_user_is_not_used() -> None:
    CACHE.write(A, CONTENT)
    for place in (CACHE.path / A, CACHE.path, CACHE.path.parent):
        assert CACHE.read(A) == CONTENT
        os.chown(place, 65534, 65534)
        assert CACHE.read(A) is None
        if place != CACHE.path / A:
            reason = f"{place}: it belongs to user 65534; chown it to user 0, or remove it"
            assert CACHE.keep(B, CONTENT) == CACHE.refusal() == reason
        os.chown(place, os.geteuid(), os.getegid())


def test_links_and_pipes_are_not_followed() -> None:
    CACHE.write(A, CONTENT)
    (CACHE.path / B).symlink_to(CACHE.path / A)
    os.mkfifo(CACHE.path / C)
    assert CACHE.read(B) is None
    assert CACHE.read(C) is None


@pytest.mark.parametrize("level", [0, 1])
def test_a_planted_link_leads_nowhere(level: int, tmp_path: Path) -> None:
    """Neither reading, writing, counting nor dropping leaves the cache."""
    victim = tmp_path / "victim"
    (victim / "things").mkdir(parents=True)
    for folder in (victim, victim / "things"):
        for number in range(10):
            (folder / f"{number:032}.json").write_bytes(CONTENT)
    link = (CACHE.path, CACHE.path.parent)[level]
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim)
    before = sorted(victim.rglob("*"))
    assert CACHE.read(f"{0:032}.json") is None
    reason = f"{link}: it is a link or no folder; remove it"
    assert CACHE.keep(A, CONTENT) == CACHE.refusal() == reason
    CACHE.forget(f"{0:032}")
    assert CACHE.names() == []
    assert sorted(victim.rglob("*")) == before


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/dev/null", "there is no folder"),
        ("/proc/none", "/proc/none/"),
        ("relative\0null", "null byte"),
    ],
)
def test_cache_that_cannot_be_written_is_none(
    place: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {"XDG_CACHE_HOME": place})
    for cache in (CACHE, SILENT):
        assert reason in cache.keep(A, CONTENT)
        assert cache.keep(A, CONTENT).isprintable()
        assert cache.read(A) is None
        assert cache.names() == []
        cache.forget(stem(A))


def test_entries_may_have_names_of_another_kind() -> None:
    named = replace(CACHE, stems=r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", suffixes=("json",))
    for age, name in enumerate(("mobilenet_v3_w1.0.json", "mobilenet_v3_w1.2.json", "tiny.json")):
        write_at(named, name, 1e9 + age)
    (CACHE.path / "tiny.txt").touch()
    named.write("lite0.json", CONTENT)
    assert named.names() == ["lite0.json", "mobilenet_v3_w1.2.json", "tiny.json"]
    named.forget("tiny")
    assert names() == ["lite0.json", "mobilenet_v3_w1.2.json", "tiny.txt"]
