"""Predictions of many files: a bad one has an error, and the rest a prediction."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.serving.test_model import model as model
from tofa_edge.bundle.photo_files import find_photos
from tofa_edge.errors import BackendError
from tofa_edge.serving.model import Model
from tofa_edge.serving.photos import PhotoPrediction, as_csv, as_json, predict_photos
from tofa_edge.serving.prediction import Prediction

LOGITS = np.array([1, 3, 2], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    return tmp_path


def test_a_bad_photo_stops_no_other(model: Model, folder: Path) -> None:
    first, torn, last = predict_photos(model, find_photos([folder]))
    assert (first.path.name, torn.path.name, last.path.name) == ("a.png", "b.png", "c.png")
    assert first.prediction is not None
    assert last.prediction is not None
    np.testing.assert_array_equal(first.prediction.logits, last.prediction.logits)
    assert torn.prediction is None
    assert torn.error.startswith(f"{folder / 'b.png'}: wanted an image, cannot read it")


def test_the_first_error_is_the_last_result_if_asked(model: Model, folder: Path) -> None:
    results = [*predict_photos(model, find_photos([folder]), strict=True)]
    assert [bool(result.error) for result in results] == [False, True]


def test_an_engine_that_fails_is_no_bad_photo(model: Model, folder: Path) -> None:
    model.close()
    with pytest.raises(BackendError, match="closed"):
        [*predict_photos(model, find_photos([folder]))]


def results() -> list[PhotoPrediction]:
    good = Prediction(LOGITS, ("=1+1", ":car:", "x"), unknown_below=0.9)
    return [
        PhotoPrediction(Path(os.fsdecode(b"-caf\xe9\n.png")), good),
        PhotoPrediction(Path("torn.png"), None, "torn.png: wanted an image"),
    ]


def test_json_has_every_photo_by_its_exact_path() -> None:
    found = as_json(results(), top=2)
    assert list(found) == [os.fsdecode(b"-caf\xe9\n.png"), "torn.png"]
    known, best = found[os.fsdecode(b"-caf\xe9\n.png")].values()
    assert known is False
    assert [label for label, _ in best] == [":car:", "x"]
    assert found["torn.png"] == {"error": "torn.png: wanted an image"}


def test_a_table_has_a_row_for_every_photo_and_no_formula() -> None:
    heading, good, torn = csv.reader(io.StringIO(as_csv(results(), top=4)))
    assert heading[:5] == ["path", "known", "label", "probability", "label_2"]
    assert heading[-3:] == ["label_4", "probability_4", "error"]
    assert len(heading) == len(good) == len(torn) == 11
    assert good[:3] == ["'-caf\\xe9\\n.png", "false", ":car:"]
    assert float(good[3]) == pytest.approx(0.665, abs=1e-3)
    assert good[6] == "'=1+1"
    assert torn == ["torn.png", *[""] * 9, "torn.png: wanted an image"]
