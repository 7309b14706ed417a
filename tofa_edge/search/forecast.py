"""What to expect of subnets here: latency on one engine from few measurements, and accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, encoded
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.backends.protocol import Target
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.prediction.accuracy import USUAL_DROP, AccuracyPredictor
from tofa_edge.prediction.latency import LatencyPredictor

LEAST_FOR_LINE = 3  # measurements
STEEPEST = -0.5  # of the ratio's logarithm over the median's
USUAL_SPREAD = 1.1  # p95 over p50, before anything is measured


class Forecast:
    """Latency of any subnet of a space on one engine.

    Args:
        pool: subnets of all sizes, among which the next to measure is chosen, (N, genes).
        others: forecasts for other engines, thread counts or devices: where this one starts from.
    """

    def __init__(
        self, space: SearchSpace, pool: Encodings, others: Sequence[Forecast] = ()
    ) -> None:
        self.space = space
        self.latencies: list[Latency] = []
        self._pool, self._others = pool, tuple(others)
        self._measured = pool[:0]
        self._fitted: LatencyPredictor | None = None
        self._deviation: float | None = None

    def add(self, subnet: Subnet, latency: Latency) -> None:
        """Learns from a measurement."""
        self._measured = np.concatenate([self._measured, encoded(self.space, [subnet])])
        self.latencies.append(latency)
        self._fitted = self._deviation = None

    def median_ms(self, encodings: Encodings) -> DoubleArray:
        """Returns the medians in milliseconds expected of encodings (N, genes), (N,)."""
        features = tables(self.space).costs(encodings).features
        return self._predictor.median_ms(features, self._priors(features))

    def deviation(self) -> float:
        """Returns the relative standard deviation of an expected median, that of a usual subnet."""
        if self._deviation is None:
            prediction = self._predictor.predict()
            self._deviation = float(np.median(prediction.relative_std[len(self._measured) :]))
        return self._deviation

    def next(self) -> Subnet | None:
        """Returns the subnet whose measurement would tell most about all others; None for none."""
        count, alike = len(self._measured), (self._pool[:, None] == self._measured).all(axis=2)
        known = np.flatnonzero(alike.any(axis=1))
        if len(known) == len(self._pool):
            return None
        (chosen,) = self._predictor.design(1, already=[*range(count), *(known + count).tolist()])
        return self.space.decode(self._pool[chosen - count])

    def spread(self, percentile: int, medians: DoubleArray) -> DoubleArray:
        """Returns a `percentile` over the median, of subnets of `medians` in ms, (N,).

        Short runs vary more, in proportion: the logarithm is a line that falls with the median's,
        weighted by how many runs were measured. From few measurements, what three of four had less.
        """
        ratios = np.array([each.percentile_ms(percentile) / each.p50_ms for each in self.latencies])
        if len(ratios) < LEAST_FOR_LINE:
            usual = float(np.quantile(ratios, 0.75)) if len(ratios) else USUAL_SPREAD
            return np.full(len(medians), usual)
        own = np.log([latency.p50_ms for latency in self.latencies])
        weights = np.sqrt([latency.count for latency in self.latencies])
        slope, level = np.polyfit(own, np.log(ratios), 1, w=weights)
        slope = float(np.clip(slope, STEEPEST, 0.0))
        level = float(np.average(np.log(ratios) - slope * own, weights=weights**2))
        spread: DoubleArray = np.maximum(np.exp(level + slope * np.log(medians)), 1.0)
        return spread

    def observed_spread(self, percentile: int, medians: DoubleArray) -> DoubleArray:
        """Returns the observed `percentile` over the own median, of subnets of own `medians`, (N,).

        A longer run is interrupted more often: the ratio never falls with the median, and between
        measurements it is interpolated.
        """
        if not self.latencies:
            return np.full(len(medians), USUAL_SPREAD)
        order = sorted(self.latencies, key=lambda latency: latency.steady_ms)
        own = np.log([latency.steady_ms for latency in order])
        ratios = np.array([each.observed_ms(percentile) / each.steady_ms for each in order])
        spread: DoubleArray = np.interp(np.log(medians), own, _rising(ratios))
        return spread

    @property
    def _predictor(self) -> LatencyPredictor:
        if self._fitted is None:
            table = tables(self.space)
            features = table.costs(np.concatenate([self._measured, self._pool])).features
            self._fitted = LatencyPredictor(features, table.columns, self._priors(features))
            times = [latency.steady_ms for latency in self.latencies]
            errors = [latency.relative_error for latency in self.latencies]
            self._fitted.observe(range(len(times)), times, errors)
        return self._fitted

    def _priors(self, features: DoubleArray) -> DoubleArray | None:
        if not self._others:
            return None
        medians = [o._predictor.median_ms(features, o._priors(features)) for o in self._others]
        priors: DoubleArray = np.stack([np.log(column) for column in medians], axis=1)
        return priors


def _rising(values: DoubleArray) -> DoubleArray:
    """Returns the nearest values that never fall: neighbours that do are averaged, (N,)."""
    means: list[tuple[float, int]] = []
    for value in values:
        means.append((float(value), 1))
        while len(means) > 1 and means[-2][0] > means[-1][0]:
            (first, m), (second, n) = means[-2:]
            means[-2:] = [((m * first + n * second) / (m + n), m + n)]
    return np.repeat([mean for mean, _ in means], [count for _, count in means])


def expected_drop(predictor: AccuracyPredictor | None, target: Target) -> float:
    """Returns by how much a target's precision is expected to lower accuracy, 0..1."""
    if not target.is_integer:
        return 0.0
    return USUAL_DROP if predictor is None else predictor.integer_drop


def expected_accuracy(
    space: SearchSpace, predictor: AccuracyPredictor | None, encodings: Encodings
) -> DoubleArray:
    """Returns expected accuracies, 0..1, (N,); without a predictor, what tends to rank like them.

    That is the logarithm of the MACs over that of the largest subnet's: all subnets share their
    weights, so capacity is what differs first.
    """
    if predictor is not None:
        return predictor.expected(space, encodings)
    table = tables(space)
    most = table.costs(encoded(space, [space.largest()])).macs
    proxy: DoubleArray = np.log(table.costs(encodings).macs) / np.log(most)
    return proxy
