"""The study of near-duplicates makes real copies, and counts those that leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.host.train.data.test_near_duplicates import scenes
from tofa_edge.benchmarks.studies import near_duplicates as study

LABELS = np.arange(48) % 2


@pytest.mark.parametrize("name", study.MADE)
def test_copies_differ_a_little(name: str) -> None:
    image = Image.fromarray(scenes(1, 0)[0])
    made = study.MADE[name](image, np.random.default_rng(0))
    assert (made.size, made.mode) == (image.size, "RGB")
    difference = np.abs(np.asarray(made).astype(int) - np.asarray(image)).mean()
    assert 0.2 < difference < 30


def test_copies_share_a_role_and_photos_stay_apart(tmp_path: Path) -> None:
    row = study._studied(scenes(48, 1), LABELS, 60, 0, 96, tmp_path)
    assert (row["photos"], row["copies"]) == (42, 18)
    assert row["copies in two roles"] == 0
    assert set(row["copies found"]) == set(study.MADE)
    assert min(row["copies found"].values()) == 1
    assert row["photos grouped with others"] == 0
    assert not [*tmp_path.iterdir()], "no groups to show"


def test_without_groups_copies_leak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(study, "near_duplicates", lambda images: np.arange(len(images)))
    row = study._studied(scenes(48, 1), LABELS, 60, 0, 32, tmp_path)
    assert row["copies in two roles"] > 0.1
    assert max(row["copies found"].values()) == 0


def test_photos_that_are_twice_in_a_set_are_shown(tmp_path: Path) -> None:
    images = np.repeat(scenes(24, 2), 2, axis=0)
    row = study._studied(images, LABELS, 60, 0, 96, tmp_path)
    assert row["photos grouped with others"] > 0.5
    (picture,) = tmp_path.iterdir()
    with Image.open(picture) as shown:
        assert shown.width == 2 * study.SHOWN_SIZE
