"""Files and links that are replaced at once, with what they stand for on the disk first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tofa_edge.storage.durable import point_durably, write_durably


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / ".file.new").write_text("what a killed process left, longer than the new content")
    write_durably(path, [b"one ", b"two"], mode=0o640)
    assert path.read_bytes() == b"one two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["file"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def parts() -> Iterator[bytes]:
        yield b"new"
        raise OSError("the stick was pulled")

    with pytest.raises(OSError, match="pulled"):
        write_durably(path, parts())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_link_points_elsewhere_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".active.new").write_text("what a killed process left")
    for name in ("a", "b", "b"):
        point_durably(tmp_path / "active", name)
        assert (tmp_path / "active").read_text() == name
    assert names(tmp_path) == ["a", "active", "b"]


def test_content_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")  # noqa: PTH112
        fsync(descriptor)

    def replacing(old: Path, new: Path) -> None:
        steps.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    write_durably(tmp_path / "file", [b"content"])
    assert steps == ["file", "rename", "folder"]
