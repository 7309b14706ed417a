"""Folders as they are: each photo once, what programs leave there passed over and counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tofa_edge.images.walk import FORMAT, HIDDEN, LINK, THUMBNAILS, Walk, walk


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(found: Walk, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.photos]


def reasons(found: Walk, root: Path) -> dict[str, str]:
    return {str(each.path.relative_to(root)): each.reason for each in found.passed_over}


def test_litter_is_passed_over_and_counted(tmp_path: Path) -> None:
    touch(
        tmp_path / "cat" / "1.JPG", tmp_path / "cat" / "@eaDir" / "1.JPG" / "SYNO_XL.jpg",
        tmp_path / "cat" / ".thumbnails" / "1.png", tmp_path / "cat" / "._1.jpg",
        tmp_path / "#recycle" / "old.jpg", tmp_path / "Thumbs" / "t.jpg",
        tmp_path / ".git" / "icon.png", tmp_path / ".git" / "config",
        tmp_path / "cat" / "Thumbs.db", tmp_path / "cat" / "2.svg", tmp_path / "cat" / ".DS_Store",
    )  # fmt: skip
    found = walk(tmp_path)
    assert names(found, tmp_path) == ["cat/1.JPG"]
    assert reasons(found, tmp_path) == {
        "cat/@eaDir/1.JPG/SYNO_XL.jpg": THUMBNAILS, "cat/.thumbnails/1.png": THUMBNAILS,
        "cat/._1.jpg": HIDDEN, "#recycle/old.jpg": THUMBNAILS, "Thumbs/t.jpg": THUMBNAILS,
        ".git/icon.png": HIDDEN, "cat/Thumbs.db": FORMAT, "cat/2.svg": FORMAT,
    }  # fmt: skip


def test_a_folder_called_like_a_photo_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "x.jpg" / "y.jpg")
    assert names(walk(tmp_path), tmp_path) == ["x.jpg/y.jpg"]


def test_odd_names_are_kept(tmp_path: Path) -> None:
    odd = [os.fsdecode(b"\xff\xfe.jpg"), "new\nline.jpg", "b8:27:eb.png", "😀.webp", "a b .gif"]
    touch(*(tmp_path / name for name in odd))
    assert sorted(names(walk(tmp_path), tmp_path)) == sorted(odd)


def test_links_are_read_once(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    touch(data / "cat" / "1.jpg", elsewhere / "2.jpg", elsewhere / "more" / "3.jpg")
    touch(tmp_path / "single.jpg")
    (data / "cat" / "again.jpg").symlink_to("1.jpg")
    (data / "cat" / "single.jpg").symlink_to(tmp_path / "single.jpg")
    (data / "cat" / "broken.jpg").symlink_to("nowhere.jpg")
    (data / "cat" / "loop").symlink_to("..")
    (data / "up").symlink_to("../..")
    (data / "kitty").symlink_to("cat")
    (data / "dog").symlink_to(elsewhere)
    (data / "same").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(data)
    found = walk(data)
    assert names(found, data) == [
        "cat/1.jpg", "cat/again.jpg", "cat/single.jpg", "dog/2.jpg", "dog/more/3.jpg",
    ]  # fmt: skip
    assert {p.name for p in found.links_out} == {"single.jpg", "2.jpg", "3.jpg"}
    assert {p.name for p in found.links_in} == {"again.jpg"}
    passed_over = ("cat/broken.jpg", "cat/loop", "up", "kitty", "same", "dog/back")
    assert reasons(found, data) == dict.fromkeys(passed_over, LINK)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "1.jpg")
    (tmp_path / "link").symlink_to("real")
    found = walk(tmp_path / "link")
    assert names(found, tmp_path / "link") == ["1.jpg"]
    assert not found.links_out


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert walk(tmp_path).photos == ()


def test_a_folder_that_cannot_be_read_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "cat" / "1.jpg")
    scandir = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "cat":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError):
        walk(tmp_path)
