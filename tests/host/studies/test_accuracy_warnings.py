"""The study of warnings judges each kind of case on a small bundle of random weights."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.zoo import tiny
from tofa_edge.benchmarks.studies import accuracy_warnings
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.prediction.accuracy import fit_accuracy
from tofa_edge.selftest.small_bundle import small_bundle, smooth_photo


@pytest.mark.usefixtures("known_engines")
def test_random_weights_contradict_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    genes = sample(tiny(), rng, 60)
    predictor = fit_accuracy(tiny(), genes, 0.9 + rng.normal(0, 0.001, len(genes)))
    small_bundle(tmp_path / "b.tofa", calibration_photos=24, predictor=predictor)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for label in Bundle.open(tmp_path / "b.tofa").classes:
            for role, count in (("train", 8), ("test", 14)):
                for number in range(count):
                    archive.writestr(f"set/{role}/{label}/{number}.jpg", smooth_photo(rng))
    words = ["b.tofa", "photos.zip", "--cases", "5", "--out", "out.json"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["accuracy_warnings", *words])
    accuracy_warnings.main()
    cases = json.loads((tmp_path / "out.json").read_text())["cases"]
    assert cases["honest"] == {"warned": 5, "of": 5}, "90 % were promised"
    assert cases["frames, same camera"]["warned"] == 0
    assert {name for name in cases if name.startswith("spoiled")} == {
        "spoiled, shifted labels", "spoiled, flat photos", "spoiled, photos of noise",
        "spoiled, frames of noise",
    }  # fmt: skip
