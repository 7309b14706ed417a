"""Accuracy with intervals, confusion and calibration of a bundle's subnets."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cli import load_commands
from tofa_edge.cli.app import app
from tofa_edge.errors import BundleError, DataError
from tofa_edge.measurement.order_statistics import wilson
from tofa_edge.selftest.small_bundle import small_bundle
from tofa_edge.train.after.evaluation import calibration_error, evaluate, judged, plot

pytestmark = pytest.mark.usefixtures("known_engines")


def write_photos(root: Path, classes: tuple[str, ...], count: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_subnets_are_judged(tiny_bundle: Path, tmp_path: Path, lines: list[str]) -> None:
    bundle = Bundle.open(tiny_bundle)
    photos = write_photos(tmp_path / "photos", bundle.classes[:3], 8)
    (photos / bundle.classes[0] / "torn.png").write_bytes(b"torn")
    made = evaluate(bundle, photos, 2, 0)
    assert "torn.png" in lines.pop(0)
    assert [row.name for row in made] == ["largest", "middle", "smallest", "random 1", "random 2"]
    assert sum(" MMACs" in line for line in lines) == 5
    for row in made:
        assert row.photos == row.confusion.sum() == 24
        assert row.accuracy == pytest.approx(np.trace(row.confusion) / 24)
        assert row.interval[0] <= row.accuracy <= row.interval[1]
    confusion = np.diag([21] + [0] * (len(bundle.classes) - 1))
    perfect = replace(made[0], accuracy=1.0, interval=wilson(21, 21), confusion=confusion)
    plot([*made, perfect], bundle.classes, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 800


def test_photos_of_one_class_are_enough(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    photos = write_photos(tmp_path / "photos", bundle.classes[1:2])
    (made, *_) = evaluate(bundle, photos, random_subnets=0)
    assert made.confusion[1].sum() == made.photos == 4
    (tmp_path / "list.csv").write_text(f"{photos}/{bundle.classes[1]}/0.png,{bundle.classes[1]}\n")
    assert evaluate(bundle, tmp_path / "list.csv", random_subnets=0)[0].photos == 1


def test_photos_of_a_test_are_used_alone(
    tiny_bundle: Path, tmp_path: Path, lines: list[str]
) -> None:
    bundle = Bundle.open(tiny_bundle)
    first, second, *_ = bundle.classes
    write_photos(tmp_path, (first, second), 3)
    rows = [f"{first}/0.png,{first},train", f"{first}/1.png,{first},test"]
    rows += [f"{second}/0.png,{second},train", f"{second}/1.png,,test"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    (made, *_) = evaluate(bundle, tmp_path / "list.csv", random_subnets=0)
    assert made.photos == made.confusion[0].sum() == 1
    assert any("1 photos whose role is 'test', of 4" in line for line in lines)


def test_command_reads_crops(tmp_path: Path) -> None:
    small_bundle(tmp_path / "b.tofa", calibration_photos=8, check_photos=0)
    name = Bundle.open(tmp_path / "b.tofa").classes[0]
    write_photos(tmp_path, ("images",), 2)
    boxes = [{"image_id": 1, "category_id": 0, "bbox": [x, 4, 12, 8]} for x in (0, 15)]
    images = [{"id": 1, "file_name": "1.png", "width": 32, "height": 32}]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 0, "name": name}]}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    command = ["evaluate", str(tmp_path / "b.tofa"), str(tmp_path / "boxes.json"), "--json"]
    load_commands()
    refused = CliRunner().invoke(app, [*command, "--subnets", "0"])
    assert isinstance(refused.exception, DataError)
    assert "give --crops" in str(refused.exception)
    done = CliRunner().invoke(app, [*command, "--subnets", "0", "--crops", "--crop-margin", "0"])
    assert json.loads(done.stdout)[0]["photos"] == 2


def test_intervals_hold_their_share() -> None:
    for count in range(1, 300):
        for right in {0, 1, count // 2, count - 1, count}:
            low, high = wilson(right, count)
            assert 0 <= low <= right / count <= high <= 1


def test_classes_must_be_the_bundles(tiny_bundle: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", ("cat", "dog"))
    with pytest.raises(DataError, match="classes cat, dog are not the bundle's"):
        evaluate(Bundle.open(tiny_bundle), photos)


def test_photos_for_calibration_are_needed(bare_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no calibration photos"):
        evaluate(Bundle.open(bare_bundle), tmp_path)


def test_command_prints_json(tmp_path: Path) -> None:
    bundle = tmp_path / "b.tofa"
    small_bundle(bundle, calibration_photos=8, check_photos=0)
    photos = write_photos(tmp_path / "photos", Bundle.open(bundle).classes[:2])
    command = [sys.executable, "-m", "tofa_edge", "evaluate", str(bundle), str(photos)]
    done = subprocess.run(
        [*command, "--subnets", "1", "--json"], capture_output=True, text=True, check=True
    )
    rows = json.loads(done.stdout)
    assert [row["name"] for row in rows] == ["largest", "middle", "smallest", "random 1"]
    assert np.array(rows[0]["confusion"]).sum() == 8
    done = subprocess.run([*command, "--subnets", "0"], capture_output=True, text=True, check=True)
    assert "rows are true classes, columns are predicted ones" in " ".join(done.stdout.split())


def test_wilson_interval() -> None:
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.490, abs=1e-3)
    assert high == pytest.approx(0.943, abs=1e-3)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1.0)


def test_calibration_error_of_known_cases() -> None:
    sure = np.full(100, 0.9, np.float32)
    assert calibration_error(sure, np.arange(100) < 90) == pytest.approx(0, abs=1e-6)
    assert calibration_error(sure, np.arange(100) < 50) == pytest.approx(0.4, abs=1e-6)


def test_confusion_counts_label_by_row(tiny_bundle: Path) -> None:
    subnet = Bundle.open(tiny_bundle).space.largest()
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    row = judged("x", subnet, 1, logits, np.array([0, 0, 1, 2]))
    assert row.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert row.accuracy == 0.75
