"""The studies of the alternative, and of solar cells as published, run on small photos."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.host.studies.test_training_studies import SIZE, small_data
from tofa_edge.benchmarks.studies import elpv_published, finetuned, training_study
from tofa_edge.benchmarks.studies.fine_tuning import (
    Recipe,
    accuracy,
    cross_validated,
    fine_tuned,
    recipes,
    stratified_folds,
)

SHORT = "epochs=1,pretrain_epochs=0,predictor_subnets=0,check_photos=4"


def test_fine_tuning_learns_what_tells_two_classes_apart() -> None:
    data = small_data(Path("x.zip"))
    tested = (data.test_images, data.test_labels)
    network = fine_tuned(data.images, data.labels, 2, Recipe(1e-3, 25), seed=0)
    assert accuracy(network, *tested) > 0.85
    assert accuracy(fine_tuned(data.images, data.labels, 2, Recipe(1e-3, 0), 0), *tested) < 0.8


def test_each_recipe_is_scored_on_photos_that_it_did_not_see() -> None:
    data = small_data(Path("x.zip"))
    tried = recipes([1e-3, 1e-2], [1])
    scores = cross_validated(data.images[:12], data.labels[:12], 2, tried, folds=2)
    assert set(scores) == set(tried)
    assert all(12 * score == pytest.approx(round(12 * score)) for score in scores.values())


def test_folds_have_every_class_alike() -> None:
    labels = np.array([0] * 40 + [1] * 13 + [2] * 3)
    parts = stratified_folds(labels, 4, seed=1)
    counts = np.array([[np.sum((parts == f) & (labels == c)) for c in range(3)] for f in range(4)])
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1
    assert counts.sum() == len(labels)
    assert not np.array_equal(parts, stratified_folds(labels, 4, seed=2))


def stored(monkeypatch: pytest.MonkeyPatch, study: Any, path: Path, *words: object) -> Any:
    monkeypatch.setattr(sys, "argv", ["study", *map(str, words), "--work", str(path.parent)])
    study.main()
    return json.loads(path.read_text())


@pytest.mark.usefixtures("known_engines")
def test_fine_tuned_networks_stand_beside_the_front(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(training_study, "read_data", small_data)
    words = ("x.zip", "--resolution", SIZE, "--sizes", SIZE, 300, "--labels", 100, "--epochs", 1, 2)
    more = ("--rates", 1e-3, "--folds", 2, "--points", 2, "--settings", SHORT, "--test")
    found = stored(monkeypatch, finetuned, tmp_path / "finetuned.json", *words, *more)
    runs = found["runs"]
    assert list(runs) == [f"fine-tuned {SIZE} px, 100 labels a class, draw 0",
                          "bundle, 100 labels a class, draw 0"]  # fmt: skip
    alone, bundle = runs.values()
    assert alone["recipe"]["epochs"] in (1, 2)
    assert 0 <= alone["accuracy"] <= 1
    assert alone["processor_s"]["choosing"] > alone["processor_s"]["training"] / 2
    whole = [row for row in bundle["front"] if row.get("whole")]
    assert [row["resolution"] for row in whole] == [SIZE]
    others = [row for row in bundle["front"] if not row.get("whole")]
    assert others
    for row in bundle["front"]:
        assert row["latency"]["p50_ms"] > 0
    assert all(0 <= row["accuracy"] <= 1 for row in others)
    assert max(row["mmacs"] for row in others) <= whole[0]["mmacs"]
    assert set(found["made"]) == {"command", "machine", "versions", "date"}


@pytest.mark.usefixtures("known_engines")
def test_solar_cells_are_divided_as_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = small_data(Path("x.zip"))
    strata = np.arange(len(data.labels)) % 4
    monkeypatch.setattr(elpv_published, "read_cells", lambda: (data.images, data.labels, strata))
    words = ("--resolution", SIZE, "--seeds", 3, "--points", 2, "--settings", SHORT)
    path = tmp_path / "elpv_published.json"
    found = stored(monkeypatch, elpv_published, path, *words)
    assert found["published"] == {"CNN": 0.8842, "SVM": 0.8244}
    (run,) = found["runs"].values()
    assert run["photos"] == [28, 12]
    assert all(row["latency"]["p50_ms"] > 0 and 0 <= row["accuracy"] <= 1 for row in run["front"])


def test_uncertain_grades_count_as_what_they_are_nearer_to() -> None:
    pytest.importorskip("elpv_dataset")
    photos, labels, strata = elpv_published.read_cells()
    assert photos.shape == (2624, 300, 300, 3)
    assert np.bincount(labels).tolist() == [715 + 106, 1508 + 295]
    assert len(np.unique(strata)) == 8
