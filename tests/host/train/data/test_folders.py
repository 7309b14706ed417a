"""Folders as people have them: classes, splits, photos without a label, copies; nothing silent."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tofa_edge.errors import DataError
from tofa_edge.train.data.account.report import DataReport, FileFate, report_of
from tofa_edge.train.data.division import divided, held_out, to_test
from tofa_edge.train.data.files import mapped
from tofa_edge.train.data.files.decoding import arranged, decode_all, reorder
from tofa_edge.train.data.files.doubles import IN_ONE_CLASS, IN_TWO_CLASSES, IN_TWO_ROLES
from tofa_edge.train.data.files.folders import list_files, read_folder
from tofa_edge.train.data.photos import LabelledPaths, Photos
from tofa_edge.train.data.sources import list_photos, list_unlabelled, read_photos

CLASSES = ("cat", "dog")


def draw(*paths: Path) -> None:
    """Draws photos that differ."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(abs(hash(str(path)))).integers(0, 256, (9, 9, 3))
        Image.fromarray(levels.astype(np.uint8)).save(path)


def draw_classes(root: Path, count: int = 5) -> None:
    draw(*(root / name / f"{number}.png" for name in CLASSES for number in range(count)))


def listed(root: Path) -> LabelledPaths:
    found = list_photos(root)
    assert isinstance(found, LabelledPaths)
    return found


def test_splits_are_used_as_such(tmp_path: Path) -> None:
    for role, count in (("train", 9), ("Val", 3), ("test", 4)):
        draw_classes(tmp_path / role, count)
    draw(tmp_path / "unlabelled" / "x.png", tmp_path / "extra" / "y.png")
    photos = listed(tmp_path)
    assert photos.classes == CLASSES
    assert photos.roles.count("train") == 18
    roles = divided(photos, {"train": 0.8, "validation": 0.1, "check": 0.1}, 0) | to_test(photos)
    places = {name: {photos.paths[i].relative_to(tmp_path).parts[0] for i in indices}
              for name, indices in roles.items()}  # fmt: skip
    assert places == {
        "train": {"train", "unlabelled"}, "validation": {"Val"}, "check": {"train"},
        "test": {"test"},
    }  # fmt: skip
    assert len(roles["test"]) == 8
    assert len(held_out(photos).labels) == 8
    assert [(each.path.name, each.reason) for each in photos.passed_over] == [
        ("y.png", "beside the splits")
    ]
    pretrained = list_unlabelled(tmp_path)
    assert not any("test" in path.parts for path in pretrained.paths)
    assert len(pretrained) == 18 + 6 + 2


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    draw(*(tmp_path / name / f"{n}.png" for name in ("train", "car") for n in range(3)))
    assert listed(tmp_path).classes == ("car", "train")
    draw(tmp_path / "test" / "4.png")
    assert listed(tmp_path).classes == ("car", "test", "train")


def test_splits_within_classes_are_used_as_such(tmp_path: Path) -> None:
    for name in CLASSES:
        for role, count in (("train", 8), ("val", 2), ("Test", 2)):
            draw(*(tmp_path / name / role / f"{n}.png" for n in range(count)))
    draw(tmp_path / "unlabelled" / "x.png", tmp_path / "loose.png")
    photos = listed(tmp_path)
    assert photos.classes == CLASSES
    held = {path.relative_to(tmp_path).parts[1] for path, role
            in zip(photos.paths, photos.roles, strict=True) if role == "test"}  # fmt: skip
    assert held == {"Test"}
    assert len(to_test(photos)["test"]) == 4
    pretrained = list_unlabelled(tmp_path)
    assert len(pretrained) == 2 * (8 + 2) + 2
    assert not any("Test" in path.parts for path in pretrained.paths)


@pytest.mark.parametrize(
    ("other", "warned"), [("cat/1.png", True), ("cat/old/1.png", True), ("bird/train/1.png", False)]
)
def test_folders_within_classes_that_are_no_splits(
    tmp_path: Path, other: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Not all photos have a role, or one role alone is in all classes."""
    roles = ("train", "test") if warned else ("train",)
    draw(*(tmp_path / name / role / "2.png" for name in CLASSES for role in roles))
    draw(tmp_path / other)
    photos = listed(tmp_path)
    assert not photos.roles
    assert len(photos) == 2 * len(roles) + 1
    assert ("they are no splits" in caplog.text) == warned


@pytest.mark.parametrize("flat", [True, False])
def test_splits_that_share_no_class_are_asked_about(tmp_path: Path, flat: bool) -> None:
    draw_classes(tmp_path / "train")
    if flat:
        draw(tmp_path / "test" / "1.png")
    with pytest.raises(DataError, match=r"'train' has class folders \(cat, dog\).* give .*train"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "place", ["unlabelled", "Unlabelled", "_unlabeled", "UNLABELED", "un-labelled", "."]
)
def test_photos_without_a_label(tmp_path: Path, place: str) -> None:
    draw_classes(tmp_path)
    draw(tmp_path / place / "1.png", tmp_path / place / "2.png")
    photos = listed(tmp_path)
    assert photos.classes == CLASSES
    assert (photos.labels < 0).sum() == 2
    assert report_of(photos).lines()[0] == "read: 10 photos of 2 classes, 2 without a label"


def test_thumbnails_leak_nowhere(tmp_path: Path) -> None:
    draw_classes(tmp_path, 6)
    for path in list(tmp_path.rglob("*.png")):
        thumbnail = path.parent / "@eaDir" / path.name / "SYNOPHOTO_THUMB_XL.png"
        thumbnail.parent.mkdir(parents=True)
        thumbnail.write_bytes(path.read_bytes())
    photos = listed(tmp_path)
    assert len(photos) == 12
    assert "left out: 12 in folders of thumbnails" in "\n".join(report_of(photos).lines())


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


def test_copies_are_read_once(tmp_path: Path) -> None:
    draw_classes(tmp_path)
    copy(tmp_path / "cat" / "1.png", tmp_path / "cat" / "1 (copy).png")
    copy(tmp_path / "cat" / "2.png", tmp_path / "dog" / "z.png")
    copy(tmp_path / "dog" / "3.png", tmp_path / "unlabelled" / "3.png")
    (tmp_path / "cat" / "link.png").symlink_to("4.png")
    photos = listed(tmp_path)
    reasons = {each.path.relative_to(tmp_path).as_posix(): each.reason for each in
               photos.passed_over}  # fmt: skip
    assert reasons == {
        "cat/1.png": IN_ONE_CLASS, "dog/z.png": IN_TWO_CLASSES, "cat/link.png": "link",
        "unlabelled/3.png": "doubled without a label",
    }  # fmt: skip
    unlabelled = [p.name for p, label in zip(photos.paths, photos.labels, strict=True) if label < 0]
    assert unlabelled == ["2.png"]
    lines = "\n".join(report_of(photos).lines())
    assert "the same photo in two classes has no label: " in lines
    assert "dog/z.png" in lines


def test_equal_files_that_are_no_images_are_no_copies(tmp_path: Path) -> None:
    draw_classes(tmp_path)
    for number in range(6):
        (tmp_path / "cat" / f"missing {number}.jpg").write_text("<html>404 not found</html>")
    assert len(listed(tmp_path)) == 16
    with pytest.raises(DataError, match=r"6 of 16 images cannot be read: .* a web page"):
        read_photos(tmp_path, 8)


def test_what_is_tested_on_is_not_trained_on(tmp_path: Path) -> None:
    for role in ("train", "val", "test"):
        draw_classes(tmp_path / role)
    copy(tmp_path / "test" / "cat" / "1.png", tmp_path / "train" / "cat" / "x.png")
    copy(tmp_path / "val" / "dog" / "1.png", tmp_path / "train" / "dog" / "x.png")
    copy(tmp_path / "val" / "dog" / "1.png", tmp_path / "test" / "dog" / "x.png")
    gone = [each for each in listed(tmp_path).passed_over if each.reason == IN_TWO_ROLES]
    assert sorted(each.path.relative_to(tmp_path).as_posix() for each in gone) == [
        "train/cat/x.png", "train/dog/x.png", "val/dog/1.png",
    ]  # fmt: skip
    assert all("kept to test" in each.detail for each in gone)


def test_links_out_of_the_folder_are_said(tmp_path: Path) -> None:
    draw_classes(tmp_path / "photos")
    draw(tmp_path / "elsewhere" / "1.png", tmp_path / "elsewhere" / "2.png")
    (tmp_path / "photos" / "bird").symlink_to(tmp_path / "elsewhere")
    photos = listed(tmp_path / "photos")
    assert photos.classes == ("bird", *CLASSES)
    assert report_of(photos).lines()[-1] == "links: 2 photos lie outside of the folder"


def test_every_file_has_a_fate(tmp_path: Path) -> None:
    draw_classes(tmp_path, 30)
    odd = tmp_path / "cat" / "=1+1,\n\udcff😀.png"
    draw(odd)
    (tmp_path / "dog" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "dog" / "empty.jpg").write_bytes(b"")
    (tmp_path / "dog" / "photo.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (tmp_path / "dog" / "notes.txt").write_text("x")
    (tmp_path / "dog" / "raw.NEF").write_text("x")
    Image.new("CMYK", (9, 9)).save(tmp_path / "dog" / "print.jpg")
    _, kept = decode_all(listed(tmp_path), 8)
    report = report_of(kept, {"train": np.arange(len(kept))})
    assert report.lines()[:3] == [
        "read: 62 photos of 2 classes, 0 without a label",
        "roles: 62 train",
        "left out: 2 of a format that is not read (1 .nef, 1 .jpg), "
        "1 that are no images by their names (1 .txt), 2 unreadable",
    ]
    assert "changed on reading: 1 in CMYK" in report.lines()[3]
    report.write(tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(newline="", errors="surrogateescape") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert len(rows) == len(report.files) == 62 + 5
    assert rows[str(odd)]["fate"] == "train"
    assert rows[str(tmp_path / "dog" / "photo.jpg")]["reason"] == "format"
    assert "PostScript" in rows[str(tmp_path / "dog" / "photo.jpg")]["detail"]
    assert rows[str(tmp_path / "dog" / "print.jpg")]["changes"] == "CMYK"
    with pytest.raises(DataError, match="exists"):
        report.write(tmp_path / "report.csv")
    assert report.provenance()["files_left_out"] == 5


def test_no_cell_of_the_table_is_a_formula() -> None:
    names = ["=1", " =1", "＝1", "@x", "\t1", "plain"]
    files = tuple(FileFate(Path(name), "read", name, detail=name) for name in names)
    rows = [*csv.DictReader(io.StringIO(DataReport((), files).csv_text(), newline=""))]
    assert [row["path"] for row in rows] == [*(f"./{name}" for name in names[:-1]), "plain"]
    for column in ("label", "detail"):
        assert [row[column] for row in rows] == [*(f"'{name}" for name in names[:-1]), "plain"]


def test_twelve_bits_are_scaled_by_the_whole_set(tmp_path: Path) -> None:
    for name, most in (("cat", 4095), ("dog", 200)):
        (tmp_path / name).mkdir()
        for number in range(2):
            values = np.linspace(0, most - number, 64).astype(np.uint16).reshape(8, 8)
            Image.fromarray(values).save(tmp_path / name / f"{number}.tif")
    photos = read_photos(tmp_path, 8)
    assert photos.images[:2].max() == 255
    assert photos.images[2:].max() == 200 >> 4
    assert photos.listed is not None
    report = report_of(photos.listed)
    assert "(largest value 4095: scaled as 12 bits)" in "\n".join(report.lines())
    assert report.provenance()["largest_value"] == 4095
    again, _ = decode_all(listed(tmp_path).take(np.array([2, 3])), 8, peak=4095)
    assert again.max() == 200 >> 4


def test_large_sets_are_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_classes(tmp_path / "photos")
    photos = listed(tmp_path / "photos")
    in_memory, _ = decode_all(photos, 8)
    monkeypatch.setattr(mapped, "ALWAYS_IN_MEMORY", 0)
    monkeypatch.setattr(mapped, "MEMORY_SHARE", 0.0)
    on_disk, _ = decode_all(photos, 8, place=tmp_path)
    assert np.array_equal(in_memory, on_disk)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"], "the file has no name"
    monkeypatch.setattr(mapped, "DISK_SHARE", 0.0)
    with pytest.raises(DataError, match=r"10 photos at 8 px .* want 0\.0 GB on disk"):
        decode_all(photos, 8, place=tmp_path)


def test_arranging_moves_photos_without_a_copy() -> None:
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1).repeat(3, axis=3)
    photos = Photos(CLASSES, images.copy(), np.arange(20) % 2)
    order = np.random.default_rng(0).permutation(20)
    parts = arranged(photos, {"train": order[:9], "check": order[9:14]})
    assert parts["train"].images[:, 0, 0, 0].tolist() == order[:9].tolist()
    assert parts["check"].images[:, 0, 0, 0].tolist() == order[9:14].tolist()
    assert parts["check"].labels.tolist() == (order[9:14] % 2).tolist()
    assert np.shares_memory(parts["train"].images, photos.images)
    reorder(images, order)
    assert images[:, 0, 0, 0].tolist() == order.tolist()


def test_plain_lists_count_too(tmp_path: Path) -> None:
    draw_classes(tmp_path)
    copy(tmp_path / "cat" / "1.png", tmp_path / "more" / "1.png")
    assert len(list_files(tmp_path)) == 11
    assert len(list_unlabelled(tmp_path)) == 10
