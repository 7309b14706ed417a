"""Kept engines: only whole ones, only ours, only so many; and never a failure."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from tofa_edge.backends.tensorrt import engine_cache
from tofa_edge.storage.cache import decision_key

FACTS = {"engine": "tensorrt 10.3.0", "device": "Orin"}
CONTENT = bytes(range(256)) * 4


def test_what_is_sealed_is_unsealed() -> None:
    for content in (b"", CONTENT, b"\n", engine_cache.seal(FACTS, CONTENT)):
        assert engine_cache.unseal(engine_cache.seal(FACTS, content)) == (FACTS, content)


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\0" * 4096, engine_cache.MAGIC])
def test_garbage_is_not_unsealed(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="an engine"):
        engine_cache.unseal(garbage)


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    sealed = engine_cache.seal(FACTS, CONTENT)
    rng = np.random.default_rng(0)
    for position in rng.choice(8 * len(sealed), 2000, replace=False):
        damaged = bytearray(sealed)
        damaged[position // 8] ^= 1 << position % 8
        try:
            facts, content = engine_cache.unseal(bytes(damaged))
        except ValueError:
            continue
        assert content == CONTENT  # the facts are no secret: their reader compares them
        assert facts != FACTS
    for length in range(len(sealed)):
        with pytest.raises(ValueError, match="an engine"):
            engine_cache.unseal(sealed[:length])


@pytest.mark.parametrize("header", [b"[]", b"{}", b"1", b"[" * 4000, b'{"facts": 1, "sha256": 2}'])
def test_other_headers_are_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        engine_cache.unseal(engine_cache.MAGIC + header + b"\ncontent")


def test_key_depends_on_every_fact() -> None:
    keys = {decision_key(facts) for facts in (FACTS, {**FACTS, "device": "Xavier"}, {})}
    assert len(keys) == 3
    assert decision_key(dict(reversed(FACTS.items()))) == decision_key(FACTS)


def test_kept_and_recalled() -> None:
    assert engine_cache.recall("a.engine") is None
    engine_cache.remember("a.engine", CONTENT)
    assert engine_cache.recall("a.engine") == CONTENT
    assert stat.S_IMODE(engine_cache.folder().stat().st_mode) == 0o700
    assert [path.name for path in engine_cache.folder().iterdir()] == ["a.engine"]


def test_least_recently_used_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_cache, "MOST_FILES", 3)
    for age, name in enumerate("cba"):
        engine_cache.remember(name, CONTENT)
        os.utime(engine_cache.folder() / name, (1e9 + age, 1e9 + age))
    assert engine_cache.recall("c") == CONTENT  # so it is the newest now
    engine_cache.remember("d", CONTENT)
    assert sorted(path.name for path in engine_cache.folder().iterdir()) == ["a", "c", "d"]


def test_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_cache, "MOST_BYTES", 2 * len(CONTENT))
    for age, name in enumerate("abc"):
        engine_cache.remember(name, CONTENT)
        os.utime(engine_cache.folder() / name, (1e9 + age, 1e9 + age))
    assert sorted(path.name for path in engine_cache.folder().iterdir()) == ["b", "c"]


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o707])
def test_folder_that_others_may_write_to_is_not_used(
    mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine_cache.remember("a", CONTENT)
    engine_cache.folder().chmod(mode)
    assert engine_cache.recall("a") is None
    assert "others may write to it; chmod 700 it" in caplog.text
    engine_cache.remember("b", CONTENT)
    assert [path.name for path in engine_cache.folder().iterdir()] == ["a"]
    engine_cache.folder().chmod(0o700)
    assert engine_cache.recall("a") == CONTENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_user_is_not_used() -> None:
    for place in (engine_cache.folder() / "a", engine_cache.folder()):
        engine_cache.remember("a", CONTENT)
        assert engine_cache.recall("a") == CONTENT
        os.chown(place, 65534, 65534)
        assert engine_cache.recall("a") is None
        os.chown(place, os.geteuid(), os.getegid())


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    engine_cache.remember("a", CONTENT)
    folder = engine_cache.folder()
    (folder / "link").symlink_to(folder / "a")
    os.mkfifo(folder / "pipe")
    assert engine_cache.recall("link") is None
    assert engine_cache.recall("pipe") is None
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert engine_cache.recall("a") is None


def test_cache_that_cannot_be_written_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    engine_cache.remember("a", CONTENT)
    assert engine_cache.recall("a") is None
