"""The gate of pretraining runs on a small pool and set, and goes on where it was interrupted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.host.studies.test_training_studies import small_data
from tofa_edge.benchmarks.studies import pretraining_gate
from tofa_edge.benchmarks.studies.training_study import EVEN, MEAN
from tofa_edge.train.config import Progress


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "pool").mkdir()
    for number in range(3):
        noise = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8))
        noise.resize((96, 72)).save(tmp_path / "pool" / f"{number}.jpg")
    return tmp_path / "pool"


def test_the_gate_goes_on_where_it_was_interrupted(
    pool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["gate", pool, "--work", tmp_path / "work", "--resolution", 48, "--crop", 48]
    words += ["--batch", 4, "--steps", 2, "--task-steps", 1, "--plain-task-steps", 2]
    words += ["--sets", "shades", "--draws", 0, "--teachers", "lite0"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    monkeypatch.setattr(pretraining_gate, "read_data", small_data)
    monkeypatch.setattr(pretraining_gate, "EVEN", EVEN[:2])  # eight take minutes
    seen: list[tuple[int, int]] = []

    def stop(progress: Progress) -> None:
        seen.append((progress.step, progress.steps))
        if len(seen) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(pretraining_gate, "show", stop)
    with pytest.raises(KeyboardInterrupt):
        pretraining_gate.main()
    pretraining_gate.main()
    assert seen == [(1, 2), (2, 2), (1, 1), (1, 1), (1, 2), (2, 2)]
    verdict = json.loads(capsys.readouterr().out.splitlines()[-1])
    stored = json.loads(
        (tmp_path / "work" / "pretraining_gate-shades-2_development.json").read_text()
    )
    accuracies = {name: row["accuracy"][MEAN] for name, row in stored["runs"].items()}
    assert len(accuracies) == 5
    gain = accuracies["pretrained, 1 steps on the set"] - accuracies["plain, 2 steps on the set"]
    assert verdict["gains"] == {"shades": pytest.approx(gain, abs=1e-4)}
    assert verdict["sets_not_behind"] == int(gain >= 0)
    assert not verdict["open"], "one set is not two"
    assert not [*(tmp_path / "work").glob("*.checkpoint")]
    pretraining_gate.main()
    assert len(seen) == 6, "what is finished is not run again"
