"""Data sets of detectors: each box a photo of its class, what is left out counted."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.host.train.data.drawn_photos import draw
from tofa_edge.errors import DataError, ImageError
from tofa_edge.train.data.photo_parts import Box, PhotoPart
from tofa_edge.train.data.photos import LabelledPaths
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.sources import decode_photos, list_photos, list_unlabelled

CROPS = ReadingOptions(crops=True, crop_margin=0)
SIZE = (40, 20)
Annotations = list[dict[str, Any]]


def crops(source: Path, reading: ReadingOptions = CROPS, least: int = 2) -> LabelledPaths:
    found = list_photos(source, least, reading)
    assert isinstance(found, LabelledPaths)
    return found


def named(found: LabelledPaths) -> list[tuple[str, str]]:
    rows = zip(found.paths, found.labels, strict=True)
    return sorted((path.name, found.classes[label]) for path, label in rows)


def coco(path: Path, annotations: Annotations, **image: Any) -> Path:
    images = [
        {"id": number, "file_name": f"{number}.png", "width": SIZE[0], "height": SIZE[1], **image}
        for number in (1, 2)
    ]
    categories = [{"id": 3, "name": "bolt"}, {"id": 90, "name": "nut"}]
    path.parent.mkdir(exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def drawn(photo: object, category: object, box: object, **more: object) -> dict[str, Any]:
    return {"id": 7, "image_id": photo, "category_id": category, "bbox": box, **more}


TWO = [drawn(1, 3, [10, 5, 4, 8]), drawn(2, 90, ["20", "0.0", "20", "20"])]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    draw(tmp_path, "1.png", "2.png", size=SIZE)
    return tmp_path


def test_coco(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = crops(coco(root / "result.json", TWO), ReadingOptions(crops=True))
    assert named(found) == [("1.png", "bolt"), ("2.png", "nut")]
    assert found.boxes[0] == Box(0.25, 0.25, 0.35, 0.65, 0.1, (40.0, 20.0))
    assert "2 boxes of 2 classes in 2 photos (COCO), each cropped" in caplog.text
    assert "with 10% of its longer side around it" in caplog.text
    assert named(crops(root)) == named(found)  # the folder is read by the file in it


def test_what_coco_leaves_out_is_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    odd = [
        drawn(1, 3, [0, 0, 9, 9], iscrowd=1),
        drawn(1, 3, [0, 0, 9, 9], ignore=1),
        drawn(5, 3, [0, 0, 9, 9]),
        drawn(1, 3, [10, 5, 4, 8]),
        drawn("2", "3", [30, -5, 20, 15]),
    ]
    empty: list[object] = [[0, 0, 0, 9], [], None, [1, 1, "x", 2], [90, 0, 9, 9]]
    empty += [[1, 1, 1e999, 2]]
    odd += [drawn(1, 3, box) for box in empty]
    found = crops(coco(root / "a.json", TWO + odd), least=1)
    assert len(found) == 3
    assert found.boxes[2] == Box(0.75, 0.0, 1.0, 0.5, 0, (40.0, 20.0))
    for part in ("6 empty", "1 of a crowd", "1 marked as ignored", "1 drawn twice", "1 clipped",
                 "1 of photos that are not listed"):  # fmt: skip
        assert part in caplog.text


def test_places_of_coco_photos(tmp_path: Path) -> None:
    draw(tmp_path / "voc", "train/1.png", "train/2.png", "valid/1.png", "valid/2.png", size=SIZE)
    for role in ("train", "valid"):
        coco(tmp_path / "voc" / role / "_annotations.coco.json", TWO)
    assert crops(tmp_path / "voc").roles == ("train", "train", "validation", "validation")
    draw(tmp_path / "cvat/images/val2017", "1.png", "2.png", size=SIZE)
    (tmp_path / "cvat/annotations").mkdir()
    coco(tmp_path / "cvat/annotations/instances_val2017.json", TWO)
    coco(tmp_path / "cvat/annotations/captions_val2017.json", TWO)
    assert crops(tmp_path / "cvat").roles == ("validation", "validation")
    draw(tmp_path / "studio/images/a", "1.png", "2.png", size=SIZE)
    coco(tmp_path / "studio/result.json", TWO, file_name="images\\a\\1.png")
    assert {path.name for path in crops(tmp_path / "studio").paths} == {"1.png"}


def test_a_photo_with_boxes_in_two_roles_is_named(root: Path) -> None:
    draw(root, "1.png", "2.png", size=SIZE)
    for role in ("train", "val"):
        coco(root / f"annotations/instances_{role}.json", TWO)
    with pytest.raises(DataError, match=r"1\.png has boxes for train and validation"):
        crops(root)


@pytest.mark.parametrize(
    ("annotations", "image", "reason"),
    [
        ([drawn(1, 4, [1, 1, 2, 2])], {}, "of category 4; there are 3, 90"),
        (TWO, {"file_name": "../../1.png"}, "outside of .*--allow-outside"),
        (TWO, {"file_name": "https://example.org/1.png"}, "is an address"),
        (TWO, {"file_name": "gone.png"}, "1 files are not there: .*gone.png"),
        (TWO, {"file_name": 5}, "has no file_name"),
        ([], {}, "no box to crop"),
    ],
)
def test_what_is_wrong_with_coco_is_named(
    root: Path, annotations: Annotations, image: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        crops(coco(root / "a.json", annotations, **image))


@pytest.mark.parametrize("content", ["{", "[" * 200_000, "[]", '{"images": {}}', '{"images": [1]}'])
def test_what_is_no_coco(root: Path, content: str) -> None:
    (root / "a.json").write_text(content)
    with pytest.raises(DataError, match="wanted COCO JSON"):
        crops(root / "a.json")


def test_missing_sizes_are_read_from_the_photo(root: Path) -> None:
    found = crops(coco(root / "a.json", TWO, width=None, height=0))
    assert found.boxes[0] == Box(0.25, 0.25, 0.35, 0.65, 0, (40.0, 20.0))


def test_boxes_of_a_photo_of_another_shape_are_not_read(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE).save(root / "1.png", exif=exif)  # upright, it is 20×40
    part = crops(coco(root / "a.json", TWO)).sources[0]
    assert isinstance(part, PhotoPart)
    with pytest.raises(ImageError, match=r"drawn on 40×20 pixels, the upright photo has 20×40"):
        part.read()
    halved = PhotoPart(root / "2.png", Box(0, 0, 0.5, 1, drawn_on=(80.0, 40.0)))
    assert halved.read().image.size == (20, 20)


def yolo(root: Path, line: str, config: str = "names: [bolt, nut]\n") -> Path:
    draw(root, "images/train/1.png", "images/val/2.png", size=SIZE)
    (root / "labels/train").mkdir(parents=True, exist_ok=True)
    (root / "labels/val").mkdir(exist_ok=True)
    (root / "labels/train/1.txt").write_text(line + "\n")
    (root / "labels/val/2.txt").write_text("1 0.5 0.5 0.5 1\n\n")
    (root / "data.yaml").write_text(config)
    return root


@pytest.mark.parametrize(
    ("line", "config"),
    [
        ("0 0.25 0.5 0.5 0.5", "names: [bolt, nut]\n"),
        ("0.0 0.25 0.5 0.5 0.5 0.93", "nc: 2\nnames:\n- bolt\n- 'nut'\n"),
        ("0 0 .25 .5 .25 .5 .75", "train: ../images/train\nnames:\n  1: nut\n  0: bolt\n"),
        ("0 0 .25 .5 .25 .5 .75 0 .75", "train: C:\\x\\images\\train\nnames: {0: bolt, 1: nut}\n"),
        ("0 .25 .5 .5 .5 .1 .1 2 .2 .2 2", "kpt_shape: [2, 3]\nnames: [bolt, nut]\n"),
    ],
    ids=["box", "with a probability", "a polygon", "an oriented box", "key points"],
)  # fmt: skip
def test_yolo(tmp_path: Path, line: str, config: str) -> None:
    found = crops(yolo(tmp_path, line, config))
    assert named(found) == [("1.png", "bolt"), ("2.png", "nut")]
    assert found.boxes[0] == Box(0.0, 0.25, 0.5, 0.75)
    assert found.roles == ("train", "validation")


def test_other_trees_of_yolo(tmp_path: Path) -> None:
    draw(tmp_path / "roboflow", "train/images/1.png", "valid/images/2.png", size=SIZE)
    draw(tmp_path / "darknet", "data/1.png", "data/2.png", size=SIZE)
    for name in ("roboflow/train/labels/1", "roboflow/valid/labels/2", "darknet/data/1"):
        path = tmp_path / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("0 .5 .5 .5 .5\n1 .2 .5 .2 .5\n")
    (tmp_path / "roboflow/data.yaml").write_text("train: ../train/images\nnames: [bolt, nut]\n")
    (tmp_path / "darknet/obj.names").write_text("bolt\r\nnut\r\n")
    assert crops(tmp_path / "roboflow").roles == ("train", "train", "validation", "validation")
    assert named(crops(tmp_path / "darknet")) == [("1.png", "bolt"), ("1.png", "nut")]


@pytest.mark.parametrize(
    ("line", "config", "reason"),
    [
        ("0 20 10 8 8", "names: [bolt, nut]", r"1.txt: line 1: .*got 20: are they pixels"),
        ("2 .5 .5 .5 .5", "names: [bolt, nut]", r"class 2 has no name; .*data.yaml has 2"),
        ("0 .5 .5 .5", "names: [bolt, nut]", "wanted a class and 4 values"),
        ("0 .5 .5 .5 .5 .5 .5 .5", "names: [bolt, nut]", "or a polygon, got 8"),
        ("bolt .5 .5 .5 .5", "names: [bolt, nut]", "wanted a class and numbers"),
        ("0 .5 .5 nan .5", "names: [bolt, nut]", "in 0..1, got"),
        ("0 .5 .5 .5 .5", "names: [no, yes]", "want quotation marks"),
        ("0 .5 .5 .5 .5", "names: bolt", "wanted names, a list"),
        ("0 .5 .5 .5 .5", "names: [bolt", "wanted YAML"),
        ("0 .5 .5 .5 .5", "names: !!python/object/apply:os.getcwd []", "wanted YAML"),
        ("0 .5 .5 .5 .5", "name: bolt", "wanted the names of the classes"),
    ],
)
def test_what_is_wrong_with_yolo_is_named(
    tmp_path: Path, line: str, config: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        crops(yolo(tmp_path, line, config))


def voc(path: Path, objects: str, size: str = "<width>40</width><height>20</height>") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><filename>C:\\old\\x.jpg</filename><size>{size}</size>{objects}</annotation>"
    )


def thing(name: str, *corners: object, more: str = "") -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def test_voc(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    draw(tmp_path, "JPEGImages/1.JPG", "JPEGImages/2.jpg", size=SIZE)
    odd = thing("bolt", 9, 9, 9, 9) + thing("bolt", 30, 5, 20, 9)
    odd += thing("nut", 0, 0, 9, 9, more="<difficult>1</difficult>")
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    voc(tmp_path / "Annotations/1.xml", thing("bolt", 0, 5, "20.0", 15, more=part) + odd)
    voc(tmp_path / "Annotations/2.xml", thing("nut", 0, 0, 40, 20), "<width>0</width>")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text("2\n")
    (tmp_path / "ImageSets/Main/bolt_train.txt").write_text("1 -1\n")
    found = crops(tmp_path)
    assert named(found) == [("1.JPG", "bolt"), ("2.jpg", "nut")]
    assert found.boxes == (
        Box(0, 0.25, 0.5, 0.75, 0, (40.0, 20.0)), Box(0, 0, 1, 1, 0, (40.0, 20.0)),
    )  # fmt: skip
    assert found.roles == (None, "validation")
    assert "2 empty" in caplog.text
    assert "1 marked as ignored or difficult" in caplog.text


def test_voc_beside_the_photos(tmp_path: Path) -> None:
    draw(tmp_path, "train/1.png", "test/2.png", size=SIZE)
    voc(tmp_path / "train/1.xml", thing("bolt", 1, 1, 9, 9))
    voc(tmp_path / "test/2.xml", thing("nut", 1, 1, 9, 9))
    assert sorted(filter(None, crops(tmp_path).roles)) == ["test", "train"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>',
         "without <!DOCTYPE"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><annotation/>', "without <!DOCTYPE"),
        ("<annotation><object>", "cannot read it"),
        ("<annotation><object><name/></object></annotation>", "an object has no name"),
        ("<annotation>" + "<size>" * 5 + "</annotation>", "cannot read it"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_voc_is_named(tmp_path: Path, content: str, reason: str) -> None:
    draw(tmp_path, "1.png", size=SIZE)
    (tmp_path / "1.xml").write_text(content)
    with pytest.raises(DataError, match=reason):
        crops(tmp_path)


def test_without_the_option_boxes_are_refused(root: Path, tmp_path: Path) -> None:
    voc(tmp_path / "voc/1.xml", thing("bolt", 1, 1, 9, 9))
    for source, kind in (
        (coco(root / "coco/a.json", TWO).parent, "COCO"),
        (root / "coco/a.json", "COCO"),
        (yolo(tmp_path / "yolo", "0 .5 .5 .5 .5"), "YOLO"),
        (tmp_path / "voc", "Pascal VOC"),
    ):
        with pytest.raises(DataError, match=rf"boxes \({kind}\), .*give --crops"):
            list_photos(source)


def test_the_option_wants_boxes(tmp_path: Path) -> None:
    draw(tmp_path, "cat/1.png", "dog/2.png")
    with pytest.raises(DataError, match="--crops wants boxes"):
        crops(tmp_path)
    with pytest.raises(DataError, match=r"--crop-margin must be a number in 0\.\.1"):
        ReadingOptions(crop_margin=3)


def test_class_folders_with_other_files_stay_classes(tmp_path: Path) -> None:
    draw(tmp_path, "images/1.png", "labels/2.png")
    (tmp_path / "notes.json").write_text('{"camera": 1}')
    (tmp_path / "labels/readme.xml").write_text("<html/>")
    assert list_photos(tmp_path).classes == ("images", "labels")


def test_crops_show_the_box(root: Path) -> None:
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[4:12, 24:32] = 255
    Image.fromarray(picture).save(root / "1.png")
    found = crops(coco(root / "a.json", [drawn(1, 3, [24, 4, 8, 8])]), least=1)
    photos = decode_photos(found, 8)
    assert photos.images.shape == (1, 8, 8, 3)
    assert photos.images.min() == 255
    wide = crops(root, ReadingOptions(crops=True, crop_margin=0.5), least=1)
    shown = decode_photos(wide, 16).images[0, :, :, 0]
    assert shown[4:12, 4:12].min() == 255
    assert shown.sum() == 64 * 255


def test_crops_of_more_than_8_bits_are_scaled_as_their_set(root: Path) -> None:
    for number, most in ((1, 4000), (2, 1000)):  # of 12 bits, and a dark one of the same camera
        Image.fromarray(np.full(SIZE[::-1], most, np.uint16)).save(root / f"{number}.png")
    decoded = decode_photos(crops(coco(root / "boxes.json", TWO)), 16)
    assert decoded.listed is not None
    assert decoded.listed.peak == 4000
    bright, dark = sorted((int(image.mean()) for image in decoded.images), reverse=True)
    assert bright == pytest.approx(4000 / 4095 * 255, abs=1.5)
    assert dark == pytest.approx(1000 / 4095 * 255, abs=1.5)


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        (Box(0.25, 0.25, 0.35, 0.65), (8, 5, 16, 13)),
        (Box(0.0, 0.0, 0.1, 0.2, margin=0.5), (0, 0, 8, 8)),
        (Box(0.9, 0.8, 1.0, 1.0), (36, 16, 40, 20)),
        (Box(0.0, 0.4, 1.0, 0.6, margin=0.1), (0, 0, 40, 20)),
        (Box(0.5, 0.5, 0.5001, 0.5001), (20, 10, 21, 11)),
    ],
)
def test_squares_stay_in_the_photo(box: Box, pixels: tuple[int, int, int, int]) -> None:
    assert box.pixels(40, 20) == pixels


def test_pretraining_reads_crops_too(root: Path) -> None:
    coco(root / "a.json", TWO)
    assert len(list_unlabelled(root, CROPS).boxes) == 2
    assert not list_unlabelled(root).boxes


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(DataError, match="shut: cannot be read"):
        list_photos(tmp_path / "shut")
