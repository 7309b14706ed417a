"""Latency on this device from a few measurements: what to measure, and what the rest will take.

`predictor = LatencyPredictor(features, columns)`; then again and again
`chosen = predictor.design(1)`, measure those, `predictor.observe(chosen, latencies_ms)`, and
`predictor.predict()`. It knows nothing of networks: candidates are rows of costs, and their
latencies on other devices where known.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.architecture.work import Column
from tofa_edge.errors import LatencyError
from tofa_edge.prediction.latency_posterior import Posterior, infer, prior
from tofa_edge.prediction.latency_prior import ModelInputs, Standardisation, hypotheses

MEANS = 30  # hypotheses that a prediction averages over
VARIANCES = 8  # of which so many say how uncertain they are
DESIGN_SAMPLE = 300
DESIGN_HYPOTHESES = 12
NOISE = 0.03**2  # variance of a measurement to come, in log units
CENTRAL = (0.05, 0.95)  # measured candidates lie between these quantiles: the ends mislead


@dataclass(frozen=True, slots=True)
class LatencyPrediction:
    """Expected latencies of N candidates: log-normal."""

    median_ms: DoubleArray  # (N,)
    relative_std: DoubleArray  # standard deviation of the logarithm, about the relative error, (N,)

    def probability_within(self, budget_ms: float) -> DoubleArray:
        """Returns the probability that each takes at most `budget_ms`, (N,)."""
        from statistics import NormalDist  # slow to import

        away = np.log(budget_ms / self.median_ms) / self.relative_std
        within: DoubleArray = np.vectorize(NormalDist().cdf, otypes=[np.float64])(away)
        return within


class LatencyPredictor:
    """Predicts latencies of a pool of candidates, and of others like them.

    Args:
        features: costs ≥ 0, (N, D); D may be 0 if there are priors.
        columns: what each feature counts, (D,).
        priors_log_ms: natural logarithm of the latencies in ms that other devices or other targets
            of this one have for the same candidates, (N, P), in any scale; or None.
        seed: of the candidates that `design` draws.

    Raises:
        LatencyError: shapes do not fit, a value is negative or not finite, or there is neither a
            feature nor a prior.
    """

    def __init__(
        self,
        features: ArrayLike,
        columns: Sequence[Column],
        priors_log_ms: ArrayLike | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self._columns, self._seed = tuple(columns), seed
        costs, elsewhere = _candidates(features, priors_log_ms, len(self._columns), None)
        if not len(costs) or not costs.shape[1] + elsewhere.shape[1]:
            raise LatencyError(
                f"wanted candidates with costs or priors, got features {costs.shape} "
                f"and priors {elsewhere.shape}"
            )
        self._priors_log_ms = elsewhere
        self._standard = Standardisation(costs, self._columns, elsewhere)
        self._pool = self._standard.inputs(costs, elsewhere)
        self._assumed = hypotheses(self._standard, self._pool.centred_prior)
        self._measured = self._pool.take(np.zeros(0, np.int64))
        self._log_ms = self._errors = np.zeros(0)
        self._posterior = prior(self._assumed, self._measured)

    def with_seed(self, seed: int) -> LatencyPredictor:
        """Returns a copy that knows the same; its `seed` draws other candidates in `design`."""
        other = copy.copy(self)  # arrays are replaced, never changed
        other._seed = seed
        return other

    @property
    def observations(self) -> int:
        """How many measurements it was given."""
        return len(self._log_ms)

    @property
    def suspects(self) -> DoubleArray:
        """Probability that each measurement is an outlier, in the order observed, (k,)."""
        suspects: DoubleArray = self._posterior.suspects.copy()
        return suspects

    def design(self, count: int, already: Sequence[int] | IndexArray = ()) -> IndexArray:
        """Returns the most informative candidates to measure, best first, (`count`,).

        Each in turn is the one that leaves the least variance, summed over a random sample of the
        pool (integrated variance; Sacks et al., Statistical Science 1989). Disagreement between
        hypotheses counts as variance. Best asked for a few at a time, observing between.

        Args:
            already: candidates that are being measured, or are not to be measured again.

        Raises:
            LatencyError: the pool has too few candidates, or an index outside it.
        """
        taken = self._checked_indices(already)
        rng = np.random.default_rng((self._seed, self.observations, len(taken)))
        sample = rng.permutation(len(self._pool))[:DESIGN_SAMPLE]
        free = ~np.isin(sample, taken)
        means, covariance = self._joint(np.concatenate([sample, taken]))
        middle = means[: len(sample)]
        low, high = np.quantile(middle, CENTRAL)
        inside = free & (low <= middle) & (middle <= high)
        inside = inside if inside.sum() >= count else free
        if not 1 <= count <= inside.sum():
            raise LatencyError(f"wanted 1..{inside.sum()} candidates to measure, got {count}")
        for pending in range(len(taken)):
            _condition(covariance, len(sample) + pending)
        chosen: list[int] = []
        weight = np.arange(len(covariance)) < len(sample)
        for _ in range(count):
            gain = (covariance**2)[weight].sum(axis=0) / (np.diag(covariance) + NOISE)
            gain = np.where(inside, gain[: len(sample)], -np.inf)
            gain[chosen] = -np.inf
            chosen.append(int(np.argmax(gain)))
            _condition(covariance, chosen[-1])
        design: IndexArray = sample[chosen]
        return design

    def observe(
        self,
        indices: Sequence[int] | IndexArray,
        latencies_ms: ArrayLike,
        relative_errors: ArrayLike = 0.0,
    ) -> None:
        """Adds measurements of candidates of the pool.

        Args:
            indices: of the candidates, (k,); one may come again.
            latencies_ms: > 0, (k,).
            relative_errors: standard error of each measurement relative to it, from its repeats;
                (k,) or one for all.

        Raises:
            LatencyError: shapes do not fit, or a value is not finite, not positive or not in the
                pool.
        """
        rows = self._pool.take(self._checked_indices(indices))
        times = _vector("latencies_ms", latencies_ms, len(rows))
        errors = _vector("relative_errors", relative_errors, len(rows))
        if not (times > 0).all() or not (errors >= 0).all():
            raise LatencyError(f"wanted latencies > 0 and errors ≥ 0, got {times} and {errors}")
        if not len(rows):
            return
        self._measured = self._measured.join(rows)
        self._log_ms = np.concatenate([self._log_ms, np.log(times)])
        self._errors = np.concatenate([self._errors, errors])
        self._posterior = infer(self._assumed, self._measured, self._log_ms, self._errors)

    def predict(
        self, features: ArrayLike | None = None, priors_log_ms: ArrayLike | None = None
    ) -> LatencyPrediction:
        """Returns what candidates will take: those of the pool, or others with the same columns.

        Args:
            features: of other candidates, (n, D); None means the pool.
            priors_log_ms: of the other candidates, (n, P), if the pool has priors.

        Raises:
            LatencyError: nothing was observed and there is no prior, or shapes do not fit.
        """
        inputs = self._inputs(features, priors_log_ms)
        which, weights = self._likely(MEANS)
        means = self._posterior.means(inputs, which)
        mean = weights @ means
        first = min(VARIANCES, len(which))
        surest = weights[:first] / weights[:first].sum()
        variance = self._posterior.variance(inputs, which[:first], surest)
        variance += weights @ (means - mean) ** 2
        return LatencyPrediction(np.exp(mean), np.sqrt(variance))

    def median_ms(
        self, features: ArrayLike | None = None, priors_log_ms: ArrayLike | None = None
    ) -> DoubleArray:
        """Returns the medians, (N,), that `predict` gives, ten times as fast: for search.

        `features` and `priors_log_ms` are as there.
        """
        which, weights = self._likely(MEANS)
        inputs = self._inputs(features, priors_log_ms)
        medians: DoubleArray = np.exp(weights @ self._posterior.means(inputs, which))
        return medians

    def _inputs(self, features: ArrayLike | None, priors_log_ms: ArrayLike | None) -> ModelInputs:
        if not self.observations and not self._priors_log_ms.shape[1]:
            raise LatencyError(
                "nothing to predict from: no latency was observed and there is no prior; "
                "observe() at least one measurement"
            )
        if features is None:
            return self._pool
        columns, priors = len(self._columns), self._priors_log_ms.shape[1]
        return self._standard.inputs(*_candidates(features, priors_log_ms, columns, priors))

    def _likely(self, most: int) -> tuple[IndexArray, DoubleArray]:
        posterior: Posterior = self._posterior
        if not self.observations and self._priors_log_ms.shape[1]:
            with_prior = np.flatnonzero(self._assumed.source > 0)
            which = with_prior[np.argsort(-posterior.weights[with_prior], kind="stable")]
        else:
            which = posterior.likely(most)
        weights = posterior.weights[which]
        return which, weights / weights.sum()

    def _joint(self, indices: IndexArray) -> tuple[DoubleArray, DoubleArray]:
        """Mean and covariance of log ms over hypotheses, (n,) and (n, n)."""
        rows = self._pool.take(indices)
        if self.observations:
            which, weights = self._likely(DESIGN_HYPOTHESES)
        else:  # one of each source, and the scale does not matter
            which = np.unique(self._assumed.source, return_index=True)[1]
            source = self._assumed.source
            mass = np.array([self._posterior.weights[source == source[at]].sum() for at in which])
            weights = mass / mass.sum()
        means = self._posterior.means(rows, which)
        if not self.observations:
            means -= means.mean(axis=1, keepdims=True)
        mean = weights @ means
        apart = (means - mean) * np.sqrt(weights)[:, np.newaxis]
        return mean, apart.T @ apart + self._posterior.covariance(rows, which, weights)

    def _checked_indices(self, indices: Sequence[int] | IndexArray) -> IndexArray:
        array = np.asarray(indices)
        if array.size == 0:
            return np.zeros(0, np.int64)
        integers = array.ndim == 1 and array.dtype.kind in "iu"
        if not integers or array.min() < 0 or array.max() >= len(self._pool):
            raise LatencyError(f"wanted integers in 0..{len(self._pool) - 1}, got {indices!r}")
        return array.astype(np.int64)


def _condition(covariance: DoubleArray, at: int) -> None:
    """Takes out of a covariance, in place, what measuring one candidate explains."""
    column = covariance[:, at].copy()
    covariance -= np.outer(column, column) / (column[at] + NOISE)


def _candidates(
    features: ArrayLike, priors_log_ms: ArrayLike | None, columns: int, priors: int | None
) -> tuple[DoubleArray, DoubleArray]:
    """Returns costs (n, `columns`) and latencies elsewhere (n, `priors`), checked."""
    costs = _matrix("features", features, columns, least=0.0)
    known = np.zeros((len(costs), 0)) if priors_log_ms is None else priors_log_ms
    return costs, _matrix("priors_log_ms", known, priors, rows=len(costs))


def _matrix(
    what: str, given: ArrayLike, columns: int | None, *, rows: int | None = None,
    least: float = -np.inf,
) -> DoubleArray:  # fmt: skip
    array: NDArray[Any] = np.asarray(given)
    shape = f"({'N' if rows is None else rows}, {'P' if columns is None else columns})"
    if array.ndim != 2 or columns not in (None, array.shape[1]) or rows not in (None, len(array)):
        raise LatencyError(f"wanted {what} {shape}, got {array.shape}")
    return _numbers(what, array, least)


def _vector(what: str, given: ArrayLike, count: int) -> DoubleArray:
    array = np.asarray(given)
    if array.shape not in ((), (count,)):
        raise LatencyError(f"wanted {what} ({count},), got {array.shape}")
    return _numbers(what, np.broadcast_to(array, count), -np.inf)


def _numbers(what: str, array: NDArray[Any], least: float) -> DoubleArray:
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise LatencyError(f"wanted numbers as {what}, got {array.dtype}") from error
    if not np.isfinite(numbers).all() or (numbers < least).any():
        raise LatencyError(f"wanted finite {what} ≥ {least}, got one of another kind")
    return numbers
