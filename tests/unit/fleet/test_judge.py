"""The paired test and the comparison of frames: what they refuse, and how seldom by chance."""

from __future__ import annotations

import numpy as np
import pytest

from tofa_edge.fleet.judge import ALPHA, Paired, frames_refusal, not_finite, paired
from tofa_edge.serving.prediction import Prediction


def test_pairs_are_counted_by_name() -> None:
    labels = ["a", "b", "c", "a"]
    assert paired(["a", "b", "x", "x"], ["a", "x", "c", "x"], labels) == Paired(4, 1, 1)


@pytest.mark.parametrize(
    ("lost", "won", "chance"), [(0, 0, 1.0), (1, 0, 0.5), (10, 0, 2**-10), (3, 1, 5 / 16)]
)
def test_the_chance_is_that_of_a_coin(lost: int, won: int, chance: float) -> None:
    assert Paired(64, lost, won).chance == pytest.approx(chance)


def test_what_is_surely_worse_is_refused() -> None:
    assert "loses 10 and wins 0" in Paired(64, 10, 0).refusal
    assert Paired(64, 9, 0).refusal == ""
    assert Paired(64, 0, 30).refusal == ""


def test_honest_updates_are_refused_as_seldom_as_said() -> None:
    """Two networks of one accuracy, each right on its own 85 % of 64 photos."""
    rng = np.random.default_rng(0)
    right = rng.random((20_000, 2, 64)) < 0.85
    lost = (right[:, 0] & ~right[:, 1]).sum(axis=1)
    won = (~right[:, 0] & right[:, 1]).sum(axis=1)
    refused = sum(
        Paired(64, int(x), int(y)).chance <= ALPHA for x, y in zip(lost, won, strict=True)
    )
    assert 0 < refused <= ALPHA * len(lost)


def test_frames_that_are_named_otherwise_are_told() -> None:
    before = ["a", "b", "c", "d"] * 5
    assert frames_refusal(before, before) == ""
    assert "names 0 of 20 frames" in frames_refusal(before, [*before[1:], "a"])
    assert "all 20 frames 'a'" in frames_refusal(["a"] * 12 + ["b"] * 4 + ["c"] * 4, ["a"] * 20)
    assert frames_refusal([], ["a"] * 20) == ""


def test_what_is_no_number_is_told() -> None:
    good, bad = (
        Prediction(np.array([1, value], np.float32), ("a", "b")) for value in (2.0, np.nan)
    )
    assert not_finite([good]) == ""
    assert not_finite([good, bad]) == "1 of 2 predictions are no finite numbers"
