"""The accuracy predictor: what it learns, how sure it is, how it travels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, distinct
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.zoo import efficientnet_lite0, tiny
from tofa_edge.errors import BundleError
from tofa_edge.measurement.order_statistics import kendall_tau, wilson
from tofa_edge.prediction.accuracy import (
    BOUNDS,
    SETTINGS,
    USUAL_DROP,
    AccuracyPredictor,
    architecture_features,
    feature_count,
    fit_accuracy,
)

SPACE = efficientnet_lite0()


def drawn(count: int, seed: int) -> Encodings:
    return distinct(SPACE, sample(SPACE, np.random.default_rng(seed), count))


def truth(encodings: Encodings) -> DoubleArray:
    """Accuracy that saturates with MACs, and suffers most from a narrow or shallow last stage."""
    seen = architecture_features(SPACE, encodings)
    size = np.log(tables(SPACE).costs(encodings).macs)
    made: DoubleArray = 0.8 / (1 + np.exp(16 - size)) + 0.01 * seen[:, 0]
    return made + 0.02 * np.tanh(seen[:, 22] - 3)


@pytest.fixture(scope="module")
def fitted() -> AccuracyPredictor:
    encodings = drawn(120, 0)
    noise = 0.003 * np.random.default_rng(1).standard_normal(len(encodings))
    return fit_accuracy(SPACE, encodings, truth(encodings) + noise)


def test_unseen_subnets_are_predicted(fitted: AccuracyPredictor) -> None:
    unseen = drawn(500, 2)
    expected, wanted = fitted.expected(SPACE, unseen), truth(unseen)
    assert kendall_tau(expected, wanted) > 0.9
    assert np.abs(expected - wanted).mean() < 0.01
    assert fitted.tau > 0.85
    assert fitted.error == pytest.approx(np.abs(expected - wanted).mean(), rel=0.9)


def test_uncertainty_is_honest(fitted: AccuracyPredictor) -> None:
    unseen = drawn(500, 3)
    off = np.abs(fitted.expected(SPACE, unseen) - truth(unseen)) / fitted.deviation(SPACE, unseen)
    assert np.mean(off < 2) > 0.85
    few = fit_accuracy(SPACE, drawn(30, 4), truth(drawn(30, 4)))
    assert few.deviation(SPACE, unseen).mean() > fitted.deviation(SPACE, unseen).mean()


def test_it_travels_as_arrays(fitted: AccuracyPredictor) -> None:
    arrays = fitted.to_arrays()
    back = AccuracyPredictor.from_arrays(arrays, SPACE)
    unseen = drawn(50, 5)
    np.testing.assert_allclose(
        back.expected(SPACE, unseen), fitted.expected(SPACE, unseen), atol=1e-4
    )
    with pytest.raises(BundleError, match="does not fit the space 'tiny'"):
        AccuracyPredictor.from_arrays(arrays, tiny())
    with pytest.raises(BundleError, match="lacks weights of shape"):
        AccuracyPredictor.from_arrays({**arrays, "weights": arrays["weights"][:-1]}, SPACE)
    with pytest.raises(BundleError, match="scale is not finite"):
        AccuracyPredictor.from_arrays({**arrays, "scale": arrays["scale"] * np.nan}, SPACE)
    with pytest.raises(BundleError, match="does not fit"):
        AccuracyPredictor.from_arrays({}, SPACE)
    with pytest.raises(BundleError, match="lacks rounding of shape"):
        AccuracyPredictor.from_arrays({**arrays, "rounding": np.ones(3, np.float32)}, SPACE)
    del arrays["rounding"]  # as in bundles of earlier versions
    assert AccuracyPredictor.from_arrays(arrays, SPACE).integer_drop == USUAL_DROP


@pytest.mark.parametrize(
    ("name", "position", "value"),
    [
        ("scale", 0, 0.0), ("scale", 2, -1.0), ("scale", 1, 1e-20), ("scale", 0, np.nan),
        ("settings", 0, 0.0), ("settings", 0, 1e-9), ("settings", 1, -1.0), ("settings", 2, 1e30),
        ("inputs", (3, 1), 1e30), ("weights", 5, -1e30), ("factor", (2, 2), np.inf),
        ("centre", 0, 3e38), ("level", 0, 5.0), ("size", 0, -0.1), ("quality", 1, np.nan),
        ("rounding", 0, -7.0),
    ],
)  # fmt: skip
def test_numbers_that_no_fit_makes_are_refused_by_name(
    fitted: AccuracyPredictor, name: str, position: Any, value: float
) -> None:
    arrays = fitted.to_arrays()
    arrays[name][position] = value
    with pytest.raises(BundleError, match=f"accuracy predictor's {name} (is not finite|holds)"):
        AccuracyPredictor.from_arrays(arrays, SPACE)


@pytest.mark.filterwarnings("error")
def test_at_the_bounds_predictions_are_still_numbers(fitted: AccuracyPredictor) -> None:
    for end, inside in ((0, 0.01), (1, -0.01)):
        arrays = fitted.to_arrays()
        for name, limits in BOUNDS.items():
            arrays[name] = np.full_like(arrays[name], limits[end] + inside * abs(limits[end]))
        inner = [limits[end] + inside * limits[end] for limits in SETTINGS]
        arrays["settings"] = np.array(inner, np.float32)
        extreme = AccuracyPredictor.from_arrays(arrays, SPACE)
        assert np.isfinite(extreme.expected(SPACE, drawn(20, 8))).all()
        assert np.isfinite(extreme.deviation(SPACE, drawn(20, 8))).all()


def test_alike_accuracies_are_no_failure() -> None:
    encodings = drawn(40, 6)
    flat = fit_accuracy(SPACE, encodings, np.full(len(encodings), 0.5))
    assert flat.expected(SPACE, drawn(10, 7)) == pytest.approx(0.5, abs=1e-3)


def test_features_say_what_was_chosen() -> None:
    assert architecture_features(SPACE, drawn(9, 0)).shape == (9, feature_count(SPACE))
    largest = architecture_features(SPACE, SPACE.encode(SPACE.largest())[np.newaxis])[0]
    assert np.exp(largest[0]) == pytest.approx(SPACE.resolutions[-1])
    assert largest[-1] == pytest.approx(np.log(385e6), rel=0.01)


def test_wilson_of_none_and_all() -> None:
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1.0)


def test_kendall_tau_of_a_reversed_order() -> None:
    values = np.arange(5.0)
    assert kendall_tau(values, values) == 1.0
    assert kendall_tau(values, -values) == -1.0
