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
UNCHECKED = replace(CACHE, runs_as_code=False)
FACTS = {"engine": "tensorrt 10.3.0", "device": "Orin"}


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
    assert CACHE.read("a.json") is None
    assert CACHE.names() == []
    assert CACHE.write("a.json", CONTENT)
    assert CACHE.read("a.json") == CONTENT
    assert CACHE.path == cache_folder("things") == own_cache / "tofa-edge/things"
    assert stat.S_IMODE(CACHE.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((CACHE.path / "a.json").stat().st_mode) == 0o600
    assert names() == CACHE.names() == ["a.json"]


def test_least_recently_used_goes_first() -> None:
    for age, name in enumerate("cba"):
        write_at(CACHE, name, 1e9 + age)
    assert CACHE.read("c") == CONTENT  # so it is the newest now
    CACHE.write("d", CONTENT)
    assert names() == ["a", "c", "d"]


def test_reading_can_leave_the_order() -> None:
    for age, name in enumerate("cba"):
        write_at(CACHE, name, 1e9 + age)
    assert CACHE.read("c", use=False) == CONTENT
    CACHE.write("d", CONTENT)
    assert names() == ["a", "b", "d"]


def test_new_entry_stays_where_the_clock_jumped_back() -> None:
    for name in "abc":
        write_at(CACHE, name, 9e9)
    CACHE.write("d", CONTENT)
    assert "d" in names()
    assert len(names()) == 3


def test_files_of_one_stem_are_one_entry() -> None:
    for age, name in enumerate(("a.json", "b.json", "c.json", "a.artefact")):
        write_at(CACHE, name, 1e9 + age)
    CACHE.write("d.json", CONTENT)
    assert names() == ["a.artefact", "a.json", "c.json", "d.json"]
    CACHE.forget("a")
    CACHE.forget("nothing")
    assert names() == ["c.json", "d.json"]
    assert stem("a.json") == stem("a") == "a"


def test_bytes_are_bounded() -> None:
    bounded = replace(CACHE, most_bytes=2 * len(CONTENT))
    for age, name in enumerate("abc"):
        write_at(bounded, name, 1e9 + age)
    assert names() == ["b", "c"]
    assert replace(CACHE, most_file_bytes=len(CONTENT) - 1).read("c") is None


def test_unfinished_files_are_no_entries_and_go_first() -> None:
    write_at(CACHE, "a", 1e9)
    unfinished = CACHE.path / ".a.0123.tmp"
    unfinished.write_bytes(CONTENT)
    os.utime(unfinished, (1, 1))
    assert CACHE.names() == ["a"]
    for name in "bc":
        CACHE.write(name, CONTENT)
    assert names() == ["a", "b", "c"]


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o707])
def test_folder_that_others_may_write_to_is_not_used(
    mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    CACHE.write("a", CONTENT)
    CACHE.path.chmod(mode)
    assert CACHE.read("a") is None
    assert f"things in {CACHE.path} are not used: others may write to it; chmod" in caplog.text
    assert not CACHE.write("b", CONTENT)
    assert names() == ["a"]
    assert UNCHECKED.read("a") == CONTENT
    CACHE.path.chmod(0o700)
    assert CACHE.read("a") == CONTENT


def test_file_that_others_may_write_to_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    CACHE.write("a", CONTENT)
    (CACHE.path / "a").chmod(0o666)
    assert replace(CACHE, contents="").read("a") is None
    assert caplog.records == []
    assert CACHE.read("a") is None
    assert "a file that only we can write" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    assert UNCHECKED.read("a") == CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_user_is_not_used() -> None:
    CACHE.write("a", CONTENT)
    for place in (CACHE.path / "a", CACHE.path):
        assert CACHE.read("a") == CONTENT
        os.chown(place, 65534, 65534)
        assert CACHE.read("a") is None
        os.chown(place, os.geteuid(), os.getegid())


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    CACHE.write("a", CONTENT)
    (CACHE.path / "link").symlink_to(CACHE.path / "a")
    os.mkfifo(CACHE.path / "pipe")
    for cache in (CACHE, UNCHECKED):
        assert cache.read("link") is None
        assert cache.read("pipe") is None
    CACHE.path.rename(tmp_path / "elsewhere")
    CACHE.path.symlink_to(tmp_path / "elsewhere")
    assert CACHE.read("a") is None


@pytest.mark.parametrize("place", ["/dev/null", "/proc/none", "relative\0null"])
def test_cache_that_cannot_be_written_is_none(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"XDG_CACHE_HOME": place})
    for cache in (CACHE, UNCHECKED):
        assert not cache.write("a", CONTENT)
        assert cache.read("a") is None
        assert cache.names() == []
        cache.forget("a")
