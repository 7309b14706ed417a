"""Check photos contradict what was expected, or they do not; and what a budget makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tofa_edge
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.zoo import tiny
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.check import contradiction
from tofa_edge.errors import BudgetError
from tofa_edge.prediction.accuracy import AccuracyPredictor, fit_accuracy
from tofa_edge.selftest.small_bundle import small_bundle

pytestmark = pytest.mark.usefixtures("known_engines")

LABELS = np.repeat(np.arange(4), 16)
REFERENCE = tofa_edge.DeployOptions(backend="reference")


@pytest.mark.parametrize(
    ("right", "expected", "deviation", "warns"),
    [
        (45, 0.70, 0.02, False),
        (38, 0.70, 0.02, False),  # 59 %: the photos alone mean ±11 points
        (18, 0.70, 0.02, True),
        (18, 0.70, 0.20, False),  # a predictor that knows nothing contradicts nothing
        (6, 0.70, 0.02, True),
        (64, 0.10, 0.02, False),  # better than expected is no fault
        (16, None, 0.0, False),
        (3, None, 0.0, True),  # far worse than naming one class
    ],
)
def test_contradiction(right: int, expected: float | None, deviation: float, warns: bool) -> None:
    text = contradiction(right, LABELS, expected, deviation)
    assert bool(text) == warns
    if warns:
        assert f"only {right} of 64 check photos are right" in text


def test_chance_warns_at_most_once_in_two_hundred() -> None:
    """Photos drawn as often right as expected, and a predictor that errs as it says."""
    rng, deviation = np.random.default_rng(0), 0.02
    warned = 0
    for _ in range(4000):
        expected = rng.uniform(0.3, 0.95)
        truth = float(np.clip(expected + deviation * rng.normal(), 0, 1))
        warned += bool(contradiction(int(rng.binomial(64, truth)), LABELS, expected, deviation))
    assert warned <= 20


def sure_predictor(accuracy: float) -> AccuracyPredictor:
    genes = sample(tiny(), np.random.default_rng(0), 60)
    noise = np.random.default_rng(1).normal(0, 0.001, len(genes))
    return fit_accuracy(tiny(), genes, accuracy + noise)


@pytest.fixture
def promising(tmp_path: Path) -> Path:
    """A bundle of random weights whose predictor promises 95 %."""
    path = tmp_path / "promising.tofa"
    small_bundle(path, calibration_photos=24, check_photos=24, predictor=sure_predictor(0.95))
    return path


def test_a_promise_that_check_photos_contradict_is_warned_of(
    promising: Path, lines: list[str]
) -> None:
    with tofa_edge.deploy(promising, options=REFERENCE, remember=False) as model:
        assert "WARNING: only" in model.explain()
        assert model.explanation.check is not None
        assert model.explanation.check[0] < 20
    assert any(line.startswith("only ") for line in lines)


def test_a_budget_refuses_too_few_right_ones(promising: Path, bare_bundle: Path) -> None:
    with pytest.raises(BudgetError, match="min_check_accuracy asks for 80"):
        tofa_edge.deploy(
            promising, budget=Budget(min_check_accuracy=0.8), options=REFERENCE, remember=False
        )
    with pytest.raises(BudgetError, match="has no check photos, so nobody can tell"):
        tofa_edge.deploy(
            bare_bundle, budget=Budget(min_check_accuracy=0.1), options=REFERENCE, remember=False
        )
    careless = Budget(min_check_accuracy=0.0)
    tofa_edge.deploy(promising, budget=careless, options=REFERENCE, remember=False).close()


def flat_frames(count: int) -> list[Image.Image]:
    shades = np.linspace(0, 255, count).astype(np.uint8)
    return [Image.fromarray(np.full((40, 40, 3), shade, np.uint8)) for shade in shades]


def test_frames_are_judged_against_none(promising: Path) -> None:
    """Random weights classify at random, with frames or without: nothing is to be said of them."""
    options = tofa_edge.DeployOptions(backend="reference", calibration=flat_frames(40))
    subnet = Bundle.open(promising).space.smallest()
    with tofa_edge.deploy(promising, subnet=subnet, options=options) as model:
        assert "they spoil the calibration" not in model.explain()
        assert "WARNING: only" not in model.explain(), "another camera need not do as expected"
