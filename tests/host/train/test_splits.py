"""Training on folders called train, val and test: each photo has the role that its folder says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import DataError
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.files import mapped
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.trainer import train

TOY = TrainingConfig(start="tiny", resolution=16, epochs=1, predictor_subnets=0, batch_size=8)
COUNTS = {"train": 12, "val": 5, "test": 7}  # of each class


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for role, count in COUNTS.items():
        for name, level in (("dark", 40), ("light", 200)):
            (tmp_path / "photos" / role / name).mkdir(parents=True)
            for number in range(count):
                pixels = (rng.normal(level, 20, (20, 20, 3))).clip(0, 255).astype(np.uint8)
                path = tmp_path / "photos" / role / name / f"{number}.png"
                Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


@pytest.mark.parametrize("on_disk", [False, True])
def test_splits_keep_their_roles(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool, lines: list[str]
) -> None:
    if on_disk:
        monkeypatch.setattr(mapped, "ALWAYS_IN_MEMORY", 0)
        monkeypatch.setattr(mapped, "MEMORY_SHARE", 0.0)
    table = tmp_path / "files.csv"
    report = train(root, tmp_path / "x.tofa", TOY, reading=ReadingOptions(report_data=table))
    with table.open(newline="") as file:
        fates = {(Path(row["path"]).parts[-3], row["fate"]) for row in csv.DictReader(file)}
    assert fates == {
        ("train", "train"), ("train", "check"), ("val", "validation"), ("test", "test"),
    }  # fmt: skip
    assert set(report.test_accuracies) == {"smallest", "middle", "largest"}
    said = [line for line in lines if "accuracy on 14 test photos" in line]
    assert len(said) == 3
    provenance = Bundle.open(report.bundle).provenance
    assert provenance["photos_validated_on"] == 10
    assert provenance["photos_trained_on"] == 24 - 2
    assert provenance["photos_read"] == 48
    assert provenance["accuracy_on_test_largest"] == report.test_accuracies["largest"]
    assert any("kept on disk" in line for line in lines) == on_disk
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "x.tofa", "files.csv"}


def test_a_report_that_cannot_be_written_is_told_before_training(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "files.csv").write_text("mine")
    steps: list[object] = []
    reading = ReadingOptions(report_data=tmp_path / "files.csv")
    with pytest.raises(DataError, match=r"files\.csv exists"):
        train(root, tmp_path / "x.tofa", TOY, steps.append, reading=reading)
    assert not steps
    assert (tmp_path / "files.csv").read_text() == "mine"
