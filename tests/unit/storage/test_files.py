"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tofa_edge.storage.files import (
    STALE_S,
    check_place,
    one_line,
    safe_name,
    sweep,
    whole_file,
    write_whole,
)


@pytest.mark.parametrize(("private", "mode"), [(False, 0o644), (True, 0o600)])
def test_file_has_its_name_when_it_is_whole(private: bool, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path, private) as stream:
        stream.write(b"new")
        assert path.read_text() == "old"
        assert Path(stream.name).parent == tmp_path
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) & 0o644 == mode
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError), whole_file(tmp_path / "file") as stream:
        stream.write("no bytes")  # type: ignore[call-overload]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="missing"), whole_file(tmp_path / "missing" / "file"):
        pass


class Refused(Exception):
    pass


def test_a_file_that_is_new_by_the_end_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    write_whole(path, b"first", False, Refused)
    with pytest.raises(Refused, match=r"notes.json: cannot be written: it is there by now"):
        write_whole(path, b"second", False, Refused)
    assert path.read_bytes() == b"first"
    write_whole(path, b"third", True, Refused)
    assert path.read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [path]
    for bad in (tmp_path / "missing" / "file", tmp_path / "a\0b"):
        with pytest.raises(Refused, match="cannot be written"):
            write_whole(bad, b"x", True, Refused)


def test_a_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    check_place(path, False, Refused)
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    with pytest.raises(Refused, match=r"notes.json exists: choose another name, or --force"):
        check_place(path, False, Refused)
    check_place(path, True, Refused)
    assert path.read_text() == "mine"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused, match="exists"):
        check_place(tmp_path / "link", False, Refused)


@pytest.mark.parametrize("links", [True, False])
def test_what_is_new_by_the_end_is_not_replaced(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no second names here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "notes.json"
    with whole_file(path, overwrite=False) as stream:
        stream.write(b"ours")
    assert path.read_text() == "ours"

    def write_beside_another() -> None:
        with whole_file(tmp_path / "other", overwrite=False) as stream:
            (tmp_path / "other").write_text("theirs")
            stream.write(b"ours")

    with pytest.raises(FileExistsError, match="there by now; choose another name") as raised:
        write_beside_another()
    assert raised.value.filename == str(tmp_path / "other")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), whole_file(tmp_path / "link", overwrite=False):
        pass
    assert (tmp_path / "other").read_text() == "theirs"
    assert {each.name for each in tmp_path.iterdir()} == {"link", "notes.json", "other"}


def test_one_of_many_gets_the_name(tmp_path: Path) -> None:
    def write(number: int) -> bool:
        try:
            with whole_file(tmp_path / "file", overwrite=False) as stream:
                stream.write(f"{number}".encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        written = [*pool.map(write, range(40))]
    assert sum(written) == 1
    assert (tmp_path / "file").read_text() == str(written.index(True))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("folder", "is a folder"),
        ("missing/file", "cannot be written: there is no folder"),
        ("/dev/null", "no regular file"),
        ("/proc/file", "cannot be written"),
        ("x" * 250, "cannot be written: File name too long"),
        ("a\0b", "cannot be written: embedded null byte"),
    ],
)
def test_place_that_takes_no_file(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refused, match=said):
        check_place(tmp_path / place, True, Refused)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    names = ("bench-x.json", "bench-x.html", "other.json")
    for name in names:
        (tmp_path / f".{name}.{'0' * 16}.tmp").touch()
    (tmp_path / ".bench-x.json.mine.tmp").touch()
    (tmp_path / "bench-x.json").touch()
    for path in tmp_path.iterdir():
        if "html" not in path.name:  # that one is being written
            os.utime(path, (0, path.stat().st_mtime - STALE_S - 1))
    sweep(tmp_path, "bench-*")
    left = {path.name for path in tmp_path.iterdir()}
    kept = {f".{name}.{'0' * 16}.tmp" for name in names[1:]}
    assert left == {*kept, ".bench-x.json.mine.tmp", "bench-x.json"}
    sweep(tmp_path / "missing", "*")


def test_one_line_is_short_and_printable() -> None:
    assert one_line(ValueError("a\nb\x1b[0m")) == "a?b?[0m"
    assert one_line("x" * 300) == "x" * 200 + "…"


@pytest.mark.parametrize("name", ["mobilenet_v3_w1.0", "tiny", "a-b", "9", "x" * 64, "a..b", "-"])
def test_safe_names_stay(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../victim/x", "-..-victim-x"), ("..", "unnamed"), ("", "unnamed"),
        (".hidden", "hidden"), ("a/b", "a-b"), ("a\0b\n", "a-b-"),
        ("猫", "-"), ("C:\\x", "C-x"), ("x" * 10**6, "x" * 64),
    ],
)  # fmt: skip
def test_other_names_become_safe(name: str, safe: str, tmp_path: Path) -> None:
    assert safe_name(name) == safe == safe_name(safe)
    (tmp_path / safe).touch()
    assert [path.name for path in tmp_path.iterdir()] == [safe]
