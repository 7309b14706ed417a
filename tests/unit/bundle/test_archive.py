"""The zip around a bundle: what is written is read again, and nothing else is."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.crafted import END, Entry, build_zip, entries
from tests.fuzz.file import EVIL_NAMES
from tofa_edge.bundle.archive import MOST_MEMBERS, Archive, write_archive
from tofa_edge.errors import BundleError
from tofa_edge.storage.files import one_line

MEMBERS = {"manifest.json": b"{}", "check/00000.jpg": b"photo", "weights.safetensors": bytes(5000)}


def opened(tmp_path: Path, content: bytes) -> Archive:
    path = tmp_path / "x.tofa"
    path.write_bytes(content)
    return Archive.open(path)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "full"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        mounted = subprocess.run(options, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.tofa"
    write_archive(path, MEMBERS)
    archive = Archive.open(path)
    assert list(archive.sizes) == list(MEMBERS)
    assert {name: archive.read(name, 5000) for name in MEMBERS} == MEMBERS
    assert list(archive.read_each(list(MEMBERS), 5000)) == list(MEMBERS.values())
    with zipfile.ZipFile(path) as other:
        assert {name: other.read(name) for name in other.namelist()} == MEMBERS


def test_same_members_make_the_same_file(tmp_path: Path) -> None:
    one, other = tmp_path / "one.tofa", tmp_path / "other.tofa"
    write_archive(one, MEMBERS)
    write_archive(other, MEMBERS)
    assert one.read_bytes() == other.read_bytes()


def test_crafted_zips_are_accepted_where_they_tell_the_truth(tmp_path: Path) -> None:
    archive = opened(tmp_path, build_zip(entries(MEMBERS)))
    assert {name: archive.read(name, 5000) for name in MEMBERS} == MEMBERS


def test_an_existing_file_is_replaced_with_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "x.tofa"
    path.write_text("old")
    write_archive(path, MEMBERS)
    fresh = tmp_path / "fresh"
    fresh.touch()
    assert path.stat().st_mode == fresh.stat().st_mode
    assert sorted(item.name for item in tmp_path.iterdir()) == ["fresh", "x.tofa"]


def test_wrong_member(tmp_path: Path) -> None:
    archive = opened(tmp_path, build_zip(entries(MEMBERS)))
    with pytest.raises(BundleError, match="missing"):
        archive.read("other.json", 100)
    with pytest.raises(BundleError, match="5000 bytes, over 4999"):
        archive.read("weights.safetensors", 4999)


@pytest.mark.parametrize("where", ["missing.tofa", ".", "file/x.tofa", "nul\0.tofa"])
def test_unreadable_paths(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"cannot be read|not a whole bundle"):
        Archive.open(tmp_path / where)


@pytest.mark.parametrize("where", ["missing/x.tofa", "file/x.tofa", "nul\0.tofa", "x" * 300, ""])
def test_unwritable_paths(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="cannot be written"):
        write_archive(Path(where), MEMBERS)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(BundleError, match="Permission denied"):
            write_archive(tmp_path / "x.tofa", MEMBERS)
    finally:
        tmp_path.chmod(0o700)


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.tofa" / "inside").mkdir(parents=True)
    with pytest.raises(BundleError, match="cannot be written"):
        write_archive(tmp_path / "x.tofa", MEMBERS)
    assert [item.name for item in tmp_path.iterdir()] == ["x.tofa"]


def test_full_disk_leaves_the_old_file(full_disk: Path) -> None:
    path = full_disk / "x.tofa"
    write_archive(path, MEMBERS)
    before = path.read_bytes()
    with pytest.raises(BundleError, match="No space left"):
        write_archive(path, {**MEMBERS, "golden.safetensors": bytes(2**20)})
    assert path.read_bytes() == before
    assert [item.name for item in full_disk.iterdir()] == ["x.tofa"]


def test_failing_sync_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BundleError, match="No space left on device"):
        write_archive(tmp_path / "x.tofa", MEMBERS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_evil_names(tmp_path: Path, name: str) -> None:
    items = [*entries(MEMBERS), Entry(name.encode(), b"", flags=0x800)]
    with pytest.raises(BundleError, match="refused a member named"):
        opened(tmp_path, build_zip(items))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": 8}, "compressed or encrypted"),
        ({"flags": 1}, "compressed or encrypted"),
        ({"version": 84}, "later zip format"),
        ({"extra": b"\x55\x54\1\0x"}, "extra fields"),
        ({"comment": b"x"}, "extra fields or a comment"),
        ({"local_extra": b"x" * 4}, "disagree|fill"),
        ({"sizes": (2, 3)}, "disagree"),
        ({"sizes": (3, 3)}, "disagree"),
        ({"offset": 1}, "disagree"),
        ({"hidden": True}, "disagree|fill"),
    ],
)
def test_lies(tmp_path: Path, change: dict[str, object], message: str) -> None:
    items = entries(MEMBERS)
    for field, value in change.items():
        setattr(items[0], field, value)
    with pytest.raises(BundleError, match=message):
        opened(tmp_path, build_zip(items))


@pytest.mark.parametrize("change", [{"crc": 1}, {"local_name": b"manifest.jsom"}])
def test_damage_found_when_reading(tmp_path: Path, change: dict[str, object]) -> None:
    items = entries(MEMBERS)
    for field, value in change.items():
        setattr(items[0], field, value)
    archive = opened(tmp_path, build_zip(items))
    with pytest.raises(BundleError, match="not a whole bundle"):
        archive.read("manifest.json", 100)


def test_doubled_member(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="twice"):
        opened(tmp_path, build_zip([*entries(MEMBERS), *entries(MEMBERS)]))


def test_zip64_record_is_refused_even_when_it_tells_the_truth(tmp_path: Path) -> None:
    items = entries(MEMBERS)
    offset = sum(len(item.local()) for item in items)
    size = len(build_zip(items)) - offset - END.size
    count = len(items)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1)
    with pytest.raises(BundleError, match="its end is missing"):
        opened(tmp_path, build_zip(items, record + locator))


def test_lies_about_the_number_of_members(tmp_path: Path) -> None:
    content = build_zip(entries(MEMBERS))
    for count, message in ((2, "2 members announced, 3 listed"), (MOST_MEMBERS + 1, "are over")):
        end = list(END.unpack(content[-END.size :]))
        end[3] = end[4] = count
        with pytest.raises(BundleError, match=message):
            opened(tmp_path, content[: -END.size] + END.pack(*end))


@pytest.mark.parametrize("size", [0, 21, 22, 41, 42, 100])
def test_files_that_are_no_zip(tmp_path: Path, size: int) -> None:
    with pytest.raises(BundleError, match="bundle"):
        opened(tmp_path, bytes(size))


def test_messages_stay_on_one_line() -> None:
    assert one_line("a\n\x1b[31mé猫\ud800") == "a??[31mé猫?"
    assert len(one_line("x" * 10**6)) == 201
