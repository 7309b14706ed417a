"""The latency predictor on laws that are known, and on real devices where the data is there."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.work import Column
from tofa_edge.architecture.zoo import named
from tofa_edge.errors import LatencyError
from tofa_edge.prediction.latency import LatencyPredictor

COLUMNS = (
    Column("dense", "pointwise", "stage0"),
    Column("dense", "pointwise", "stage1"),
    Column("depthwise", "depthwise3", "stage0"),
    Column("layers", "pointwise", "stage0"),
)


def pool(count: int = 300, seed: int = 0) -> DoubleArray:
    """Costs that vary by a factor of a hundred, in units of their own."""
    rng = np.random.default_rng(seed)
    costs: DoubleArray = np.exp(rng.uniform(-2.3, 2.3, (count, 4))) * [1e6, 3e5, 1e4, 10]
    return costs


def latency(
    features: DoubleArray, speeds: tuple[float, ...] = (2e-6, 5e-6, 4e-5, 0.1)
) -> DoubleArray:
    """A device as the model has it: every cost divided by a speed."""
    times: DoubleArray = 0.3 + features @ np.array(speeds)
    return times


def fitted(
    features: DoubleArray, times: DoubleArray, count: int, first: int = 4
) -> LatencyPredictor:
    predictor, seen = LatencyPredictor(features, COLUMNS), np.zeros(0, np.int64)
    while len(seen) < count:
        new = predictor.design(first if not len(seen) else 1, seen)
        predictor.observe(new, times[new], 0.001)
        seen = np.concatenate([seen, new])
    return predictor


def errors(predictor: LatencyPredictor, times: DoubleArray) -> DoubleArray:
    found: DoubleArray = np.abs(predictor.predict().median_ms / times - 1)
    return found


def test_a_sum_of_costs_is_recovered() -> None:
    times = latency(pool())
    found = errors(fitted(pool(), times, 12), times)
    assert np.median(found) < 0.02
    assert np.mean(found) < 0.03


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_the_unit_of_time_does_not_matter(unit: float) -> None:
    times = latency(pool())
    one, other = (fitted(pool(), times * scale, 6).predict() for scale in (1.0, unit))
    np.testing.assert_allclose(other.median_ms, one.median_ms * unit, rtol=1e-3)
    np.testing.assert_allclose(other.relative_std, one.relative_std, rtol=1e-2)


@pytest.mark.parametrize("bad", range(8))
def test_one_bad_reading_among_eight_changes_little(bad: int) -> None:
    times = latency(pool())
    chosen = LatencyPredictor(pool(), COLUMNS).design(8)
    readings = times[chosen]
    readings[bad] *= 5
    spoilt = LatencyPredictor(pool(), COLUMNS)
    spoilt.observe(chosen, readings, 0.02)
    without = LatencyPredictor(pool(), COLUMNS)
    without.observe(np.delete(chosen, bad), np.delete(readings, bad), 0.02)
    assert int(np.argmax(spoilt.suspects)) == bad
    assert spoilt.suspects[bad] > 0.5
    change = np.abs(np.log(spoilt.predict().median_ms / without.predict().median_ms))
    assert np.mean(change) < 0.05


def test_good_readings_are_not_suspected() -> None:
    times = latency(pool())
    assert fitted(pool(), times, 10).suspects.max() < 0.5


def test_uncertainty_says_how_far_off_it_is() -> None:
    """On devices drawn at random, errors are neither far above nor far below what is said."""
    rng, scores = np.random.default_rng(1), []
    for _ in range(12):
        speeds = np.exp(rng.normal([-13, -13, -10, -3], 0.7))
        times = latency(pool(), tuple(speeds)) * np.exp(rng.normal(0, 0.03, 300))
        prediction = fitted(pool(), times, 6).predict()
        scores.append(np.log(prediction.median_ms / times) / prediction.relative_std)
    assert 0.4 < np.sqrt(np.mean(np.square(scores))) < 1.6
    assert np.mean(np.abs(scores) < 2) > 0.88


def test_measurements_make_it_surer() -> None:
    times = latency(pool())
    spreads = [fitted(pool(), times, count).predict().relative_std.mean() for count in (2, 5, 12)]
    assert spreads[0] > spreads[1] > spreads[2]


def test_another_device_is_a_prior() -> None:
    elsewhere = np.log(latency(pool(), (1e-6, 2e-6, 3e-5, 0.05)))[:, np.newaxis]
    times = latency(pool())
    predictor = LatencyPredictor(pool(), COLUMNS, elsewhere)
    np.testing.assert_allclose(predictor.predict().median_ms, np.exp(elsewhere[:, 0]), rtol=0.02)
    assert predictor.predict().relative_std.min() > 0.5
    chosen = predictor.design(3)
    predictor.observe(chosen, times[chosen], 0.01)
    alone = LatencyPredictor(pool(), COLUMNS)
    alone.observe(chosen, times[chosen], 0.01)
    assert errors(predictor, times).mean() < min(0.1, errors(alone, times).mean())


def test_priors_do_without_costs() -> None:
    rng = np.random.default_rng(0)
    nets, device = rng.normal(0, 1, 30), rng.normal(0, 0.05, (30, 4))
    elsewhere = nets[:, np.newaxis] + device + [0, 1, 2, 3]
    predictor = LatencyPredictor(np.zeros((30, 0)), (), elsewhere)
    chosen = predictor.design(5)
    predictor.observe(chosen, np.exp(nets[chosen] + 0.5), 0.01)
    assert errors(predictor, np.exp(nets + 0.5)).mean() < 0.08


def test_without_prior_and_measurement_it_says_so() -> None:
    predictor = LatencyPredictor(pool(), COLUMNS)
    with pytest.raises(LatencyError, match="nothing to predict from"):
        predictor.predict()
    predictor.observe([0], [3.0])
    assert predictor.predict().median_ms[0] == pytest.approx(3.0, rel=0.05)


def test_other_candidates_are_predicted_as_those_of_the_pool() -> None:
    predictor = fitted(pool(), latency(pool()), 6)
    inside, outside = predictor.predict(), predictor.predict(pool()[:7])
    np.testing.assert_allclose(outside.median_ms, inside.median_ms[:7])
    np.testing.assert_allclose(outside.relative_std, inside.relative_std[:7])
    np.testing.assert_allclose(predictor.median_ms(pool()[:7]), outside.median_ms)


def test_same_seed_same_choice() -> None:
    features = pool(2000)
    choices = [
        LatencyPredictor(features, COLUMNS, seed=seed).design(5).tolist() for seed in (1, 1, 2)
    ]
    assert choices[0] == choices[1] != choices[2]
    predictor = LatencyPredictor(features, COLUMNS)
    assert predictor.design(5).tolist() == predictor.with_seed(0).design(5).tolist()


def test_design_measures_nothing_twice() -> None:
    predictor = LatencyPredictor(pool(40), COLUMNS)
    first = predictor.design(15)
    second = predictor.design(15, already=first)
    assert len({*first.tolist(), *second.tolist()}) == 30


def test_quantiles_and_probabilities_agree() -> None:
    prediction = fitted(pool(), latency(pool()), 5).predict()
    deviation = NormalDist().inv_cdf(0.9) * prediction.relative_std
    bound = prediction.median_ms * np.exp(deviation)
    for row in (0, 100, 299):
        assert prediction.probability_within(float(bound[row]))[row] == pytest.approx(0.9)


def test_features_of_subnets_serve() -> None:
    """A made-up device, slow at large kernels and deep stages, on real subnets."""
    space = named("lite0")
    rng = np.random.default_rng(0)
    genes = rng.integers(0, space.cardinalities(), (1000, len(space.cardinalities())))
    columns, features = tables(space).columns, tables(space).costs(genes).features
    cost = {"dense": 1e-7, "depthwise": 8e-7, "traffic": 2e-7, "layers": 0.02}
    speeds = np.array([cost[column.kind] for column in columns])
    times = features @ (speeds * rng.uniform(0.5, 2.0, len(columns)))
    predictor = LatencyPredictor(features, columns)
    for _ in range(4):
        chosen = predictor.design(2)
        predictor.observe(chosen, times[chosen], 0.01)
    assert errors(predictor, times).mean() < 0.06


@pytest.mark.parametrize(
    ("features", "columns", "priors"),
    [
        (np.ones((3, 2)), COLUMNS, None),
        (np.ones(4), COLUMNS, None),
        (-np.ones((3, 4)), COLUMNS, None),
        (np.full((3, 4), np.nan), COLUMNS, None),
        (np.full((3, 4), "a"), COLUMNS, None),
        (np.ones((3, 4)), COLUMNS, np.ones((2, 1))),
        (np.ones((3, 4)), COLUMNS, np.full((3, 1), np.inf)),
        (np.ones((0, 4)), COLUMNS, None),
        (np.ones((3, 0)), (), None),
    ],
)
def test_bad_pools_are_refused(
    features: DoubleArray, columns: tuple[Column, ...], priors: DoubleArray | None
) -> None:
    with pytest.raises(LatencyError, match="wanted"):
        LatencyPredictor(features, columns, priors)


@pytest.mark.parametrize(
    ("indices", "times", "relative_errors"),
    [
        ([300], [1.0], 0.0),
        ([-1], [1.0], 0.0),
        ([0, 1], [1.0], 0.0),
        ([0], [0.0], 0.0),
        ([0], [np.nan], 0.0),
        ([0], [1.0], -0.1),
        ([0.5], [1.0], 0.0),
    ],
)
def test_bad_measurements_are_refused(
    indices: list[int], times: list[float], relative_errors: float
) -> None:
    predictor = LatencyPredictor(pool(), COLUMNS)
    with pytest.raises(LatencyError, match="wanted"):
        predictor.observe(indices, times, relative_errors)
    assert predictor.observations == 0


def test_more_candidates_than_there_are_is_refused() -> None:
    with pytest.raises(LatencyError, match=r"wanted 1\.\.5 candidates"):
        LatencyPredictor(pool(5), COLUMNS).design(6)


def test_real_accelerators() -> None:
    """Ten networks of 5,138 measured, with four other accelerators known."""
    folder = Path(os.environ.get("TOFA_EDGE_LATENCY_DATA", "."))
    if not (folder / "accel_nasbench").is_dir():
        pytest.skip("set TOFA_EDGE_LATENCY_DATA to the folder of public latency data")
    from tofa_edge.benchmarks.studies.latency_data import accel_nasbench
    from tofa_edge.benchmarks.studies.latency_prediction import spearman

    data = accel_nasbench(folder)
    truth, known = data.column("zcu102"), data.latency_ms[:, 2:]
    complete = np.isfinite(truth) & np.isfinite(known).all(axis=1)
    truth, features = truth[complete], data.features[complete]
    predictor = LatencyPredictor(features, data.columns, np.log(known[complete]))
    for _ in range(5):
        chosen = predictor.design(2)
        predictor.observe(chosen, truth[chosen], 0.01)
    assert spearman(predictor.predict().median_ms, truth) > 0.96
    assert errors(predictor, truth).mean() < 0.1
