"""What training and evaluation start from is checked first, and refused in one line."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tofa_edge.bundle import archive
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cli import host
from tofa_edge.errors import BundleError, DataError, TrainingError
from tofa_edge.train.after import packing
from tofa_edge.train.after.evaluation import check_plot, evaluate
from tofa_edge.train.config import Progress, TrainingConfig, silent
from tofa_edge.train.data.files.folders import list_files, read_folder
from tofa_edge.train.data.grouping import split
from tofa_edge.train.data.sources import read_photos, read_some
from tofa_edge.train.run import checkpoint
from tofa_edge.train.run.time_estimate import TimeLeft, duration
from tofa_edge.train.supernet.once_for_all import load_once_for_all
from tofa_edge.train.trainer import pretrain

STEM = "first_conv.conv.weight"


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    level = zlib.crc32(path.name.encode()) % 256  # equal photos would be read once
    Image.new("L", (8, 8), level).save(path)
    return path


@pytest.mark.parametrize("name", ["epochs", "pretrain_epochs", "quantisation_aware_epochs"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_passes_without_end_are_refused(name: str, value: float) -> None:
    wrong: dict[str, Any] = {name: value}
    with pytest.raises(TrainingError, match=f"^{name} must be .*, got {value}$"):
        TrainingConfig(**wrong)


def test_two_starts_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"ofa\.pth.*toy\.tofa.*give one of them"):
        TrainingConfig(pretrained="ofa.pth", start="toy.tofa")
    assert TrainingConfig(pretrained="ofa.pth").start == "lite0"


def refused_checkpoint(path: Path) -> str:
    """The one printable line that refuses the checkpoint."""
    with pytest.raises(TrainingError) as caught:
        load_once_for_all(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert said.isprintable(), "one line, no ANSI"
    return said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({STEM: torch.tensor(1.0)}, f"found {STEM} of shape ()"),
        ({STEM: torch.zeros(17, 3, 3, 3)}, f"found {STEM} of shape (17, 3, 3, 3)"),
        (
            {STEM: torch.zeros(16, 3, 3, 3), "classifier.linear.weight": torch.tensor(1.0)},
            "wanted a classifier of 1000 classes, got one of shape ()",
        ),
        ({STEM: torch.zeros(16, 3, 3, 3)}, "wanted a classifier of 1000 classes, got none"),
        ({0: torch.zeros(2), 1: torch.zeros(2), 2: torch.zeros(2)}, "found the keys 0, 1, …"),
        ({"a\n\x1b[1m": torch.zeros(2)}, r"found the keys 'a\n\x1b[1m'"),
        ({"x": torch.zeros(2), "y": torch.zeros(2)}, "found the keys 'x', 'y'"),
        ({"epoch": 3, "model": {}}, "found the keys 'epoch', 'model'"),
        ({STEM: torch.zeros(16, 3).to_sparse()}, "wanted a dictionary of named tensors"),
        ({}, "found an empty dictionary"),
        ([1, 2], "found a list"),
    ],
)
def test_other_dictionaries_are_refused(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    assert said in refused_checkpoint(path)


def test_what_is_no_checkpoint_is_refused_in_our_words(tmp_path: Path) -> None:
    module, picture = tmp_path / "module.pth", photo(tmp_path / "photo.jpg")
    torch.save(torch.nn.Linear(2, 2), module)
    for path in (module, picture):
        said = refused_checkpoint(path)
        assert "wanted a PyTorch checkpoint of arrays (a state dict)" in said
        assert "weights_only" not in said
    assert refused_checkpoint(tmp_path / "nowhere").endswith("No such file or directory")


def test_a_bundle_is_no_checkpoint(tiny_bundle: Path) -> None:
    assert f"is a bundle: use --from {tiny_bundle}" in refused_checkpoint(tiny_bundle)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (TrainingConfig(start="tiny"), "wants a start of lite0, lite1, lite2, got tiny"),
        (TrainingConfig(pretrained="ofa.pth"), "wants a start of lite0, .*, got ofa.pth"),
        (TrainingConfig(pretrain_epochs=0), "wants pretrain_epochs of more than 0, got 0"),
    ],
)
def test_pretraining_says_which_is_wrong(tmp_path: Path, config: TrainingConfig, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        pretrain(tmp_path, tmp_path / "x.tofa", config)


def test_a_class_with_too_few_photos_is_named() -> None:
    labels = np.array([0, 0, 0, 1, 1, -1], np.int64)
    with pytest.raises(DataError, match="class 'dog' has 2"):
        split(labels, {"train": 0.8, "validation": 0.1, "check": 0.1}, 0, ("cat", "dog"))


def test_folders_are_told_from_what_they_are_not(tmp_path: Path) -> None:
    path = photo(tmp_path / "unlabelled" / "photo.jpg")
    with pytest.raises(DataError, match=r"found only unlabelled photos \(.*unlabelled\)"):
        read_folder(tmp_path)
    with pytest.raises(DataError, match="wanted a folder of photos, it is a file"):
        list_files(path)
    with pytest.raises(DataError, match="wanted a folder of photos, there is none"):
        list_files(tmp_path / "nowhere")


def test_a_plot_is_checked_before(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.png", "a.svg", "a.pdf", "a.JPG"):
        check_plot(tmp_path / name)
    assert not [*tmp_path.iterdir()], "nothing is left"
    for name in ("a.txt", "a"):
        with pytest.raises(DataError, match=r"wanted a suffix .*\.png, .*got"):
            check_plot(tmp_path / name)
    with pytest.raises(DataError, match="there is no folder"):
        check_plot(tmp_path / "nowhere" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        check_plot(tmp_path / "folder.png")
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="exists: choose another name, or --force"):
        check_plot(tmp_path / "a.png")
    check_plot(tmp_path / "a.png", overwrite=True)


def test_the_way_out_of_no_calibration_photos(bare_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="train it with --calibration-photos"):
        evaluate(Bundle.open(bare_bundle), tmp_path)


def test_photos_that_cannot_be_looked_for_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("a", "b", "b/more", "b/.thumbnails"):
        (tmp_path / place).mkdir(parents=True)
        for name in ("x.jpg", "._x.jpg"):
            (tmp_path / place / name).write_bytes(b"")
    (tmp_path / "a" / "folder.jpg").mkdir()
    found = read_folder(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == [
        "a/x.jpg", "b/more/x.jpg", "b/x.jpg",
    ]  # fmt: skip
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if Path(path).name == "more":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    for read in (read_folder, list_files):
        with pytest.raises(DataError, match=r"b/more: cannot be read: Permission denied"):
            read(tmp_path)


@pytest.mark.parametrize("name", ["a\tb", "x" * 201])
def test_classes_that_no_bundle_can_hold_are_refused_before_training(
    tmp_path: Path, name: str
) -> None:
    photo(tmp_path / "x.png"), photo(tmp_path / "y.png")
    table = tmp_path / "list.csv"
    table.write_text(f"x.png,{name}\ny.png,b\n")
    with pytest.raises(DataError, match="none of them a control character"):
        read_photos(table, 8)


def test_start_is_named_without_its_folder() -> None:
    assert packing._name("/home/somebody/" + "a" * 210 + "\n.tofa") == "a" * 200
    assert packing._name("lite0") == "lite0"
    assert packing._name("of\tmine.tofa") == "of?mine.tofa"


def test_more_photos_than_a_bundle_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError, match="at most 19990 photos"):
        TrainingConfig(calibration_photos=19_980)
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    with pytest.raises(BundleError, match="3 members are over 2"):
        archive.write_archive(tmp_path / "x.tofa", dict.fromkeys("abc", b""))
    assert not [*tmp_path.iterdir()]


def test_some_photos_of_any_source(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        photo(tmp_path / f"{name}.png")
    (tmp_path / "list.csv").write_text("x.png,a\ny.png,b\nz.png,\n")
    assert read_some(tmp_path / "list.csv", 8, 2, 0).shape == (2, 8, 8, 3)
    pytest.importorskip("sklearn")
    assert read_some(Path("digits"), 8, 5, 0).shape == (5, 8, 8, 3)


EXPECTED = {
    "reading photos": 5.0, "teacher features (lite0)": 40.0, "teacher features (lite1)": 20.0,
    "pretraining": 50.0, "training": 40.0, "testing subnets": 30.0,
}  # fmt: skip


def test_time_left_leaves_out_what_is_done(tmp_path: Path) -> None:
    assert str(TimeLeft(dict(EXPECTED), silent)).startswith("about 3 min (reading photos 5 s, ")
    for phase, left in (("pretraining", 5 + 60 + 35 + 40 + 30), ("training", 5 + 25 + 30)):
        time_left = TimeLeft(dict(EXPECTED), silent)
        time_left.resume(checkpoint.Checkpoint(tmp_path / "c", phase, 7, 15.0, {}, {}))
        assert str(time_left).startswith(f"about {duration(left)} ")
        assert ("teacher" in str(time_left)) == (phase == "pretraining")


def test_time_left_follows_what_was_measured(lines: list[str]) -> None:
    steps: list[Progress] = []
    time_left = TimeLeft(dict(EXPECTED), steps.append)
    time_left(Progress(1, 2, (), 3.0, 1.0, "reading photos"))
    assert steps[-1].seconds_left == pytest.approx(3 + 180)
    time_left(Progress(2, 2, (), 6.0, 1.0, "reading photos"))
    assert lines[-1].startswith("reading photos: 6 s; about 3 min (teacher features (lite0) 40 s, ")
    time_left(Progress(8, 8, (), 80.0, 1.0, "teacher features (lite0)"))
    assert "teacher features (lite1) 40 s, pretraining 50 s" in lines[-1], "twice as slow, too"
    time_left(Progress(1, 10, (1.0,), 5.0, 1.0, "training"))
    assert steps[-1].seconds_left == pytest.approx(9 * 5 + 30), "what was passed over is done"
    time_left(Progress(1, 4, (), 1.0, 1.0, "testing subnets"))
    assert lines[-1] == "training: 5 s; about 30 s (testing subnets 30 s) left", "ended early"
    assert steps[-1].seconds_left == 3


def test_time_left_knows_that_the_last_third_is_slower() -> None:
    steps: list[Progress] = []
    time_left = TimeLeft({"training": 40.0}, steps.append, late=4.0)
    for step, seconds in ((3, 10.0), (6, 20.0), (8, 60.0), (9, 80.0)):
        time_left(Progress(step, 9, (1.0,), seconds, 1.0, "training"))
    assert [step.seconds_left for step in steps] == pytest.approx([50, 40, 60 * 2 / 7, 0])


def test_only_the_first_process_logs_and_logs_are_tried_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning_fabric")
    monkeypatch.setenv("RANK", "1")
    with host._progress(tmp_path / "logs"):
        pass
    assert not [*tmp_path.iterdir()]

    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(Path, "touch", refused)
    with (
        pytest.raises(TrainingError, match="logs cannot be written"),
        host._progress(tmp_path / "logs"),
    ):
        pass
