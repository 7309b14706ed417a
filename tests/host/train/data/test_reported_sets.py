"""Sets of photos as public reports describe them: read right, or what is wrong is named.

The reports are listed in docs/photo-cases.md.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.host.train.data.drawn_photos import draw
from tofa_edge.errors import DataError
from tofa_edge.train.data.account.report import report_of
from tofa_edge.train.data.files.decoding import decode_all
from tofa_edge.train.data.photos import LabelledPaths
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.sources import list_photos

CROPS = ReadingOptions(crops=True, crop_margin=0)
SIZE = (40, 20)
PETS = ("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png")


def listed(source: Path, reading: ReadingOptions | None = None, least: int = 2) -> LabelledPaths:
    found = list_photos(source, least, reading or ReadingOptions())
    assert isinstance(found, LabelledPaths)
    return found


def hidden_folder(root: Path) -> None:
    draw(root, ".ipynb_checkpoints/1-checkpoint.png", "cat/.ipynb_checkpoints/1-checkpoint.png")


def finder_files(root: Path) -> None:
    (root / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "cat/._1.png").write_bytes(b"\0\5\x16\7")
    draw(root, "__MACOSX/cat/._1.png")


def other_files(root: Path) -> None:
    (root / "cat/notes.txt").write_text("of May")
    (root / "labels.cache").write_bytes(b"\x93NUMPY")


def photos_of_a_camera(root: Path) -> None:
    (root / "cat/1.xmp").write_text("<x:xmpmeta/>")
    (root / "cat/1.CR2").write_bytes(b"II*\0\x10\0\0\0CR")


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a notebook's folder": (hidden_folder, "2 hidden"),
    "files of macOS": (finder_files, "1 in folders of thumbnails or what was deleted, 1 hidden"),
    "files that are no images": (other_files, "2 that are no images by their names"),
    "raw files": (photos_of_a_camera, r"1 of a format that is not read \(1 .cr2"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_lies_between_photos_is_said(tmp_path: Path, name: str) -> None:
    add, said = FOLDERS[name]
    draw(tmp_path, *PETS)
    add(tmp_path)
    found = listed(tmp_path)
    assert found.classes == ("cat", "dog")
    assert len(found) == 4
    assert re.search(said, "\n".join(report_of(found).lines()))


def test_a_link_has_the_class_of_its_own_folder(tmp_path: Path) -> None:
    draw(tmp_path / "pool", "others/1.png", "others/2.png")
    for number, name in ((1, "normal"), (2, "abnormal")):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / f"data/{name}/x.png").symlink_to(tmp_path / f"pool/others/{number}.png")
    found = listed(tmp_path / "data")
    assert [found.classes[label] for label in found.labels] == ["abnormal", "normal"]
    assert "links: 2 photos lie outside of the folder" in report_of(found).lines()


def test_a_folder_that_leads_to_itself_is_read_once(tmp_path: Path) -> None:
    draw(tmp_path, *PETS)
    (tmp_path / "cat/again").symlink_to(tmp_path)
    assert len(listed(tmp_path)) == 4


def test_few_damaged_photos_do_not_stop_the_others(tmp_path: Path) -> None:
    names = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(15)]
    draw(tmp_path, *names)
    for place, number in enumerate(tmp_path.rglob("*.png")):  # else they would be copies
        number.write_bytes(number.read_bytes() + bytes([place]))
    (tmp_path / "cat/3.png").write_bytes((tmp_path / "cat/3.png").read_bytes()[:45])
    _, read = decode_all(listed(tmp_path), 8)
    assert len(read) == 29
    assert "left out: 1 unreadable" in report_of(read).lines()


@pytest.mark.parametrize(
    ("names", "folder", "reason"),
    [
        (PETS, "bird", "no images in class 'bird'"),
        (PETS[:2], None, r"wanted a folder per class .*found only 'cat'"),
        (("1.png", "2.png"), None, "only unlabelled photos"),
    ],
    ids=["an empty class", "one class", "no classes"],
)
def test_folders_that_are_refused(
    tmp_path: Path, names: tuple[str, ...], folder: str | None, reason: str
) -> None:
    draw(tmp_path, *names)
    if folder:
        (tmp_path / folder).mkdir()
    with pytest.raises(DataError, match=reason):
        listed(tmp_path)


def test_splits_with_results_beside_them(tmp_path: Path) -> None:
    names = [f"{role}/{name}" for role in ("train", "val") for name in ("n01440764", "n01695060")]
    draw(tmp_path, *(f"{name}/ILSVRC2012_{n}.JPEG" for name in names for n in (1, 2)))
    draw(tmp_path, "weights/curve.png")
    found = listed(tmp_path)
    assert found.classes == ("n01440764", "n01695060")
    assert {each.reason for each in found.passed_over} >= {"beside the splits"}


def test_copies_in_two_splits_are_said(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{role}/{name}" for role in ("train", "test") for name in PETS))
    copy = tmp_path / "train/cat/again.png"
    copy.write_bytes((tmp_path / "test/cat/1.png").read_bytes())
    lines = "\n".join(report_of(listed(tmp_path)).lines())
    assert "doubled, of which one copy is read" in lines
    assert "in two roles" in lines


TABLES: dict[str, tuple[str | bytes, str | tuple[str, ...]]] = {
    "a mark before the header": ("\ufefffile,class\n1.png,cat\n2.png,dog\n", ("cat", "dog")),
    "a class called NA": ("file,class\n1.png,NA\n2.png,dog\n", ("NA", "dog")),
    "a class called n/a": ("file,class\n1.png,n/a\n2.png,dog\n", "called 'n/a'.*missing label"),
    "a class called nan": ("file,class\n1.png,nan\n2.png,dog\n", "called 'nan'"),
    "names without a suffix": ("filename,finding\n1,cat\n2,dog\n", "columns are|wanted a column"),
    "names without a suffix, label": ("filename,label\n1,cat\n2,dog\n", ("cat", "dog")),
    "a dash of Windows": (b"file,class\n1.png,a\x96b\n2.png,dog\n", "line 2: .*0x96.*UTF-8"),
    "semicolons": ("file;class\n1.png;cat\n2.png;dog\n", ("cat", "dog")),
    "a header alone": ("file,class\n", "found none"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path: Path, name: str) -> None:
    content, wanted = TABLES[name]
    draw(tmp_path, "1.png", "2.png")
    whole = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "list.csv").write_bytes(whole)
    if isinstance(wanted, tuple):
        assert listed(tmp_path / "list.csv").classes == wanted
    else:
        with pytest.raises(DataError, match=wanted):
            listed(tmp_path / "list.csv")


def test_photos_that_metadata_does_not_list_are_said(tmp_path: Path) -> None:
    draw(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.png,cat\n2.png,dog\n")
    found = listed(tmp_path)
    assert len(found) == 2
    assert "left out: 1 that the table does not list" in report_of(found).lines()


def coco(root: Path, *boxes: list[float]) -> None:
    images = [{"id": 1, "file_name": "1.png", "width": SIZE[0], "height": SIZE[1]}]
    drawn = [{"id": n, "image_id": 1, "category_id": 1 + n % 2, "bbox": box}
             for n, box in enumerate(boxes)]  # fmt: skip
    kinds = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    content = {"images": images, "annotations": drawn, "categories": kinds}
    (root / "result.json").write_text(json.dumps(content))


def yolo(root: Path, *lines: str) -> None:
    (root / "data.yaml").write_text("names: [bolt, nut]\n")
    (root / "1.txt").write_text("\n".join(("0 .2 .5 .2 .4", "1 .7 .5 .2 .4", *lines)) + "\n")


def voc(root: Path, box: str, size: str = "<width>40</width><height>20</height>") -> None:
    whole = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    things = "".join(
        f"<object><name>{name}</name><bndbox>{place}</bndbox></object>"
        for name, place in (("bolt", whole), ("nut", box))
    )
    (root / "1.xml").write_text(
        f"<annotation><filename>000.jpg</filename><size>{size}</size>{things}</annotation>"
    )


ONE, TWO = [1.0, 1.0, 9.0, 9.0], [20.0, 1.0, 9.0, 9.0]
ORDER = "<ymax>12</ymax><ymin>2</ymin><xmin>20</xmin><xmax>30.6</xmax>"
BOXES: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "COCO, no height": (lambda root: coco(root, ONE, TWO, [29.6, 8.3, 1.0, 0.0]), 2, "1 empty"),
    "COCO, beyond the photo": (lambda root: coco(root, ONE, [26, 5, 61, 30]), 2, "1 clipped"),
    "COCO, before the photo": (lambda root: coco(root, ONE, [-5, -2, 20, 10]), 2, "1 clipped"),
    "YOLO, a little beyond": (lambda root: yolo(root, "1 .304 .5003 .608 1.0004"), 3, "3 boxes"),
    "VOC, any order, fractions": (lambda root: voc(root, ORDER), 2, "2 boxes"),
    "VOC, no size": (lambda root: voc(root, ORDER, "<width>0</width><height>0</height>"), 2,
                     "2 boxes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOXES)
def test_boxes(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    write, count, said = BOXES[name]
    caplog.set_level(logging.INFO)
    draw(tmp_path, "1.png", size=SIZE)
    write(tmp_path)
    assert len(listed(tmp_path, CROPS)) == count
    assert said in caplog.text


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "COCO, all zero": (lambda root: coco(root, [0.0] * 4, [0.0] * 4), "no box to crop.*2 empty"),
    "YOLO, pixels": (lambda root: yolo(root, "0 20 10 8 8"), "line 3: .*are they pixels"),
    "YOLO, a class too many": (lambda root: yolo(root, "2 .5 .5 .1 .1"), "class 2 has no name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_boxes_that_are_refused(tmp_path: Path, name: str) -> None:
    write, reason = REFUSED[name]
    draw(tmp_path, "1.png", size=SIZE)
    write(tmp_path)
    with pytest.raises(DataError, match=reason):
        listed(tmp_path, CROPS)


@pytest.mark.parametrize("corners", [(9, 9, 9, 19), (30, 5, 20, 9)], ids=["flat", "reversed"])
def test_voc_boxes_without_an_inside(
    tmp_path: Path, corners: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    draw(tmp_path, "1.png", size=SIZE)
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    voc(tmp_path, "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags))
    assert len(listed(tmp_path, CROPS, least=1)) == 1
    assert "1 empty" in caplog.text
