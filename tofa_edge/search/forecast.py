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

    def next(self) -> Subnet:
        """Returns the subnet whose measurement would tell most about all others."""
        count = len(self._measured)
        (chosen,) = self._predictor.design(1, already=range(count))
        return self.space.decode(self._pool[chosen - count])

    def spread(self, percentile: int) -> float:
        """Returns a `percentile` over the median: three of four measurements had less."""
        ratios = [latency.percentile_ms(percentile) / latency.p50_ms for latency in self.latencies]
        return float(np.quantile(ratios, 0.75)) if ratios else USUAL_SPREAD

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
