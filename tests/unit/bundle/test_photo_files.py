"""Photos by files, folders and patterns."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tofa_edge.bundle.photo_files import PhotoFile, find_photos


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos, made in an order that is not that of their names."""
    names = ["b.jpg", "a.JPG", "sub/d.png", "sub/c.png", "notes.txt", ".hidden.jpg", "[1].jpg"]
    random.Random(0).shuffle(names)
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*places: str) -> list[str]:
    found = find_photos(places)
    assert [photo for photo in found if photo.error] == []
    return [str(photo.path) for photo in found]


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        (["photos"], ["[1].jpg", "a.JPG", "b.jpg", "sub/c.png", "sub/d.png"]),
        (["photos/b.jpg", "photos/a.JPG"], ["b.jpg", "a.JPG"]),
        (["photos/b.jpg", "photos", "photos/b.jpg"],
         ["b.jpg", "[1].jpg", "a.JPG", "sub/c.png", "sub/d.png"]),
        (["photos/*.jpg"], ["[1].jpg", "b.jpg"]),
        (["photos/[ab].*"], ["a.JPG", "b.jpg"]),
        (["photos/[1].jpg"], ["[1].jpg"]),
        (["photos/**/*.png"], ["sub/c.png", "sub/d.png"]),
        (["photos/s*"], ["sub/c.png", "sub/d.png"]),
        (["./photos/notes.txt"], ["notes.txt"]),
        (["photos/.hidden.jpg"], [".hidden.jpg"]),
    ],
)  # fmt: skip
def test_order_is_that_of_the_places_and_then_of_names(
    folder: Path, places: list[str], wanted: list[str]
) -> None:
    assert names(*places) == [f"photos/{name}" for name in wanted]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no.jpg", "no.jpg: wanted an image, cannot read it: No such file or directory"),
        ("no*.jpg", "no*.jpg: wanted an image, no file matches"),
        ("empty", "empty: wanted images, the folder has none"),
        ("", "wanted an image, a folder or a pattern, got an empty name"),
        ("pipe.jpg", "pipe.jpg: wanted an image, got something else than a regular file"),
        ("/dev/zero", "/dev/zero: wanted an image, got something else than a regular file"),
        ("loop.jpg", "loop.jpg: wanted an image, cannot read it: Too many levels of symbolic"),
        ("x" * 300, f"{'x' * 300}: wanted an image, cannot read it: File name too long"),
    ],
)
def test_what_is_no_photo_is_said_in_its_place(folder: Path, place: str, said: str) -> None:
    os.mkfifo("pipe.jpg")
    Path("loop.jpg").symlink_to("loop.jpg")
    before, wrong, after = find_photos(["photos/a.JPG", place, "photos/b.jpg"])
    assert wrong.error.startswith(said)
    assert [before, after] == [PhotoFile(Path("photos/a.JPG")), PhotoFile(Path("photos/b.jpg"))]


def test_names_that_are_no_utf_8_are_found(folder: Path) -> None:
    name = os.fsdecode(b"photos/caf\xe9.jpg")
    Path(name).touch()
    assert name in names("photos")
    assert names("photos/caf*") == [name]
