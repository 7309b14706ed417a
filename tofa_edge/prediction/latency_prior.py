"""What latency is expected to be before measuring: the model's inputs, and priors over them.

A network's latency is a sum of costs, each divided by a speed that the device has for it:
t = Σ_j x_j · exp(θ_j). Speeds are positive and differ by orders of magnitude between devices, less
between kinds of work, still less between stages of a network: θ has a hierarchical Gaussian prior.
What the sum misses is a Gaussian process on log t (Rasmussen and Williams, 2006, chapter 2), and
other devices' measured latencies, where there are some, come in as starting points and directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.architecture.work import Column


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Standard deviations in log units, where several are given each is a hypothesis.

    Attributes:
        scale: of the device's overall speed, without a prior and with one from another device.
        kinds: of the speeds of different kinds of work, without a prior.
        transferred: of the speeds against those of the device that the prior came from.
        operators, places, columns: of operators within a kind, of places, and of single columns,
            without a prior; multiplied by each of `details`.
        slope: of the exponent of a prior.
        mixes: of the part that resembles the other priors.
        residuals: of the smooth rest.
        noises: of what is not explained, besides the error of the measurement.
        outlier: probability that a measurement is off by a factor (of about e).
        no_prior: probability, where there are priors, that none of them fits.
        fixed: cost that no column counts, as a share of one kind's mean.
    """

    scale: tuple[float, float] = (3.0, 1.0)
    kinds: tuple[float, ...] = (0.7, 2.0)
    transferred: tuple[float, ...] = (0.3, 0.8)
    operators: float = 0.3
    places: float = 0.2
    columns: float = 0.15
    details: tuple[float, ...] = (1.0, 2.0)
    slope: float = 0.3
    mixes: tuple[float, ...] = (0.1, 0.4)
    residuals: tuple[float, ...] = (0.02, 0.08)
    noises: tuple[float, ...] = (0.01, 0.05)
    outlier: float = 0.02
    no_prior: float = 0.5
    fixed: float = 0.05


BELIEFS = Beliefs()


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What the model is given of n candidates."""

    work: DoubleArray  # scaled costs, and a constant, (n, D + 1)
    centred_prior: DoubleArray  # of each source, less its mean over the pool, (n, P + 1)
    offset: DoubleArray  # what log t has besides the sum of costs, for each source, (n, P + 1)
    point: DoubleArray  # whose neighbours have similar residuals, (n, Z)

    def take(self, indices: IndexArray) -> ModelInputs:
        """Returns the candidates at `indices`, (n,)."""
        return ModelInputs(*(part[indices] for part in self._parts()))

    def join(self, other: ModelInputs) -> ModelInputs:
        """Returns these candidates, then the other ones."""
        pairs = zip(self._parts(), other._parts(), strict=True)
        return ModelInputs(*(np.concatenate(pair) for pair in pairs))

    def _parts(self) -> tuple[DoubleArray, ...]:
        return (self.work, self.centred_prior, self.offset, self.point)

    def __len__(self) -> int:
        return len(self.work)


FIT_CANDIDATES = 300  # of the pool, that speeds of priors are fitted to


class Standardisation:
    """How raw candidates become `ModelInputs`: units, centres and reference speeds from a pool.

    Args:
        features: costs ≥ 0 of the pool, (N, D).
        priors_log_ms: the pool's latencies elsewhere, (N, P).

    Attributes:
        same: whether two columns share the kind, the operator and kind, the place: 3 × (D+1, D+1).
        speeds: θ of each source, (P + 1, D + 1); the first is the one without a prior.
    """

    def __init__(
        self,
        features: DoubleArray,
        columns: Sequence[Column],
        priors_log_ms: DoubleArray,
    ) -> None:
        labels = [(c.kind, c.operator, c.place) for c in columns] + [("", "", "")]
        kind, operator, place = (np.array(labels)[:, [i]] for i in range(3))
        same_kind = kind == kind.T
        self.same = tuple(
            same.astype(np.float64)
            for same in (same_kind, same_kind & (operator == operator.T), place == place.T)
        )
        totals = features.mean(axis=0) @ self.same[0][:-1, :-1] if len(columns) else np.zeros(0)
        self._unit = np.where(totals > 0, totals, 1.0)
        self._fixed = BELIEFS.fixed if len(columns) else 1.0
        self._mean = np.where(features.mean(axis=0) > 0, features.mean(axis=0), 1.0)
        self._centre = priors_log_ms.mean(axis=0)
        points = self._point(features, priors_log_ms)
        self._origin = points.mean(axis=0)
        spread = np.sqrt(((points - self._origin) ** 2).sum(axis=1).mean())
        self._spread = spread if spread > 0 else 1.0
        work = self._work(features)
        some = np.random.default_rng(0).permutation(len(work))[:FIT_CANDIDATES]
        covariance = self.covariance(5.0, 2.0, 0.7, 0.5, 0.3)
        fitted = [_speeds(work[some], prior[some], covariance) for prior in priors_log_ms.T]
        self.speeds = np.stack([np.zeros(len(labels)), *fitted])

    def inputs(self, features: DoubleArray, priors_log_ms: DoubleArray) -> ModelInputs:
        """Returns candidates in the pool's units: features (n, D), priors (n, P)."""
        work = self._work(features)
        offset = np.zeros((len(work), len(self.speeds)))
        offset[:, 1:] = priors_log_ms - np.log(work @ np.exp(self.speeds[1:].T))
        point = (self._point(features, priors_log_ms) - self._origin) / self._spread
        centred = np.zeros_like(offset)
        centred[:, 1:] = priors_log_ms - self._centre
        return ModelInputs(work, centred, offset, point)

    def covariance(
        self, scale: float, kinds: float, operators: float, places: float, columns: float
    ) -> DoubleArray:
        """Returns the prior covariance of θ from its standard deviations, (D + 1, D + 1)."""
        kind, operator, place = self.same
        own = columns**2 * np.eye(len(kind))
        full: DoubleArray = (
            scale**2 + kinds**2 * kind + operators**2 * operator + places**2 * place + own
        )
        return full

    def _work(self, features: DoubleArray) -> DoubleArray:
        fixed = np.full((len(features), 1), self._fixed)
        work: DoubleArray = np.hstack([features / self._unit, fixed])
        return work

    def _point(self, features: DoubleArray, priors_log_ms: DoubleArray) -> DoubleArray:
        if features.shape[1]:
            logarithms: DoubleArray = np.log1p(features / self._mean)
            return logarithms
        profile: DoubleArray = priors_log_ms - priors_log_ms.mean(axis=1, keepdims=True)
        return profile


def _speeds(work: DoubleArray, log_ms: DoubleArray, covariance: DoubleArray) -> DoubleArray:
    """Returns θ fitted to the known latencies of another device, by Gauss–Newton steps."""
    precision = np.linalg.inv(covariance + 1e-6 * np.eye(len(covariance)))
    centre = np.full(work.shape[1], (log_ms - np.log(work.sum(axis=1))).mean())
    speeds: DoubleArray = centre.copy()
    certainty = 0.03**-2
    for _ in range(10):
        parts = work * np.exp(speeds)
        total = parts.sum(axis=1, keepdims=True)
        shares = parts / total
        missing = log_ms - np.log(total[:, 0])
        gradient = certainty * shares.T @ missing - precision @ (speeds - centre)
        step = np.linalg.solve(certainty * shares.T @ shares + precision, gradient)
        speeds += step * min(1.0, 1.5 / max(np.abs(step).max(), 1e-12))
    return speeds


@dataclass(frozen=True, slots=True)
class Hypotheses:
    """H ways a latency may come about, each a prior for θ and for the rest."""

    source: IndexArray  # the row of `Standardisation.speeds` it starts from, (H,); 0 is none
    log_weight: DoubleArray  # before any measurement, (H,)
    speeds: DoubleArray  # mean of θ, (H, D + 1)
    covariance: DoubleArray  # of θ, (H, D + 1, D + 1)
    slope: DoubleArray  # standard deviations, (H,), from here on
    mix: DoubleArray
    residual: DoubleArray
    noise: DoubleArray

    def take(self, indices: IndexArray) -> Hypotheses:
        """Returns the hypotheses at `indices`, (n,)."""
        fields = (getattr(self, name)[indices] for name in self.__dataclass_fields__)
        return Hypotheses(*fields)


def hypotheses(standard: Standardisation, centred_prior: DoubleArray) -> Hypotheses:
    """Returns every combination of source and standard deviations."""
    has_features, priors = standard.speeds.shape[1] > 1, centred_prior.shape[1] - 1
    weights = _source_weights(centred_prior[:, 1:], BELIEFS.no_prior if has_features else 0.0)
    rows = []
    for source, weight in enumerate(weights):
        if weight == 0:
            continue
        grid = _grid(source, priors, has_features)
        for speeds, mix, residual, noise in grid:
            slope = BELIEFS.slope if source else 0.0
            tuning = (slope, mix / np.sqrt(max(priors, 1)), residual, noise)
            rows.append((source, np.log(weight / len(grid)), standard.covariance(*speeds), *tuning))
    sources, log_weights, covariances, *tunings = (
        np.array(field) for field in zip(*rows, strict=True)
    )
    return Hypotheses(sources, log_weights, standard.speeds[sources], covariances, *tunings)


def _grid(
    source: int, priors: int, has_features: bool
) -> list[tuple[tuple[float, float, float, float, float], float, float, float]]:
    mixes = BELIEFS.mixes if priors > bool(source) else (0.0,)
    if source:
        spreads = BELIEFS.transferred if has_features else (0.0,)
        speeds = [(BELIEFS.scale[1], sd, 0.5 * sd, 0.4 * sd, 0.3 * sd) for sd in spreads]
    else:
        operators, places, columns = BELIEFS.operators, BELIEFS.places, BELIEFS.columns
        speeds = [
            (BELIEFS.scale[0], kinds, detail * operators, detail * places, detail * columns)
            for kinds, detail in product(BELIEFS.kinds, BELIEFS.details)
        ]
    return list(product(speeds, mixes, BELIEFS.residuals, BELIEFS.noises))


def _source_weights(centred: DoubleArray, no_prior: float) -> DoubleArray:
    """Returns the probability of each source: priors that agree share theirs."""
    if not centred.shape[1]:
        return np.ones(1)
    unit = centred / np.maximum(np.sqrt((centred**2).sum(axis=0)), 1e-12)
    similarity = np.clip(unit.T @ unit, 0, 1) ** 8
    novelty = 1 / np.maximum(similarity.sum(axis=1), 1e-12)
    return np.array([no_prior, *((1 - no_prior) * novelty / novelty.sum())])
