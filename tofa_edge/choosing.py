"""Which subnet on which engine: measure a few, predict all, try the best, correct, try again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tofa_edge.backends import Engine
from tofa_edge.budget import Budget, headroom
from tofa_edge.cost import FLOAT_BYTES
from tofa_edge.cutting import Cutter
from tofa_edge.forecast import Forecast, expected_accuracy
from tofa_edge.measurement import Latency
from tofa_edge.memory import MEGA, peak_memory_mb
from tofa_edge.screening import Candidate
from tofa_edge.search import Scores, distinct, encoded, maximise, sample
from tofa_edge.space import Subnet
from tofa_edge.tables import Encodings, tables

POOL = 1500  # subnets among which the next to measure is chosen
MEASUREMENTS = 8  # over all engines, those of the screening included
SECOND = 1.5  # an engine so much slower than the best is not measured further
SURE = 0.01  # relative standard deviation of a prediction that is good enough
SURELY = 0.5  # of the budget: what is expected to take less needs no better prediction
LOWER = 0.9  # of the budget is aimed at, after each try that was over it
CAUTION = 1.0  # standard deviations that a predicted latency stays below the budget
WORTH = 0.001  # of expected accuracy: what another try must promise

Try = Callable[[Subnet, Engine], Latency]


@dataclass(frozen=True, eq=False, slots=True)
class Pick:
    """A subnet expected to be the best within the budget.

    Attributes:
        subnet: which.
        engine: to run it.
        accuracy: expected, 0..1, or its stand-in.
        predicted_ms: the limited percentile of its latency.
    """

    subnet: Subnet
    engine: Engine
    accuracy: float
    predicted_ms: float


@dataclass(eq=False)
class Chooser:
    """Chooses within a budget.

    Attributes:
        cutter: of the bundle.
        budget: what it must keep.
        candidates: engines that proved themselves, the fastest first.
        rng: source of randomness.
        until: when to stop measuring, by `time.monotonic`.
        known: what profiles of such devices know of an engine.
        forecasts: of each engine considered.
    """

    cutter: Cutter
    budget: Budget
    candidates: list[Candidate]
    rng: np.random.Generator
    until: float = float("inf")
    known: Callable[[Engine], list[Forecast]] = lambda engine: []
    forecasts: dict[Engine, Forecast] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        space, self._predictor = self.cutter.space, self.cutter.bundle.accuracy_predictor()
        self._pool = distinct(space, sample(space, self.rng, POOL))
        self._tried: list[Encodings] = []
        self._aim = 1.0
        best = self.candidates[0].cost_ms
        for candidate in self.candidates:
            if candidate.cost_ms <= SECOND * best:
                forecast = Forecast(space, self._pool, self._others(candidate.engine))
                forecast.add(space.middle(), candidate.latency)
                self.forecasts[candidate.engine] = forecast

    def _others(self, engine: Engine) -> list[Forecast]:
        return [*self.known(engine), *list(self.forecasts.values())[:1]]

    @property
    def predicts_accuracy(self) -> bool:
        """Whether the bundle has an accuracy predictor."""
        return self._predictor is not None

    @property
    def fastest_engine(self) -> Engine:
        """The engine that ran the middle subnet fastest."""
        return self.candidates[0].engine

    def measure(self, try_out: Try) -> None:
        """Measures up to 8 subnets, each the one that tells most, the engines in turn.

        Fewer where all predictions are good, or where the best of all subnets surely fits.

        Args:
            try_out: measures a subnet on an engine.
        """
        done = len(self.forecasts)
        order = list(self.forecasts)
        limit = self.budget.latency_ms
        best = None if limit is None else self._best(replace(self.budget, latency_ms=None))
        while done < MEASUREMENTS and time.monotonic() < self.until:
            if limit is not None and (best is None or self._surely_fits(best.subnet, limit)):
                return
            for engine in order[: MEASUREMENTS - done]:
                forecast = self.forecasts[engine]
                subnet = forecast.next()
                self.observe(subnet, engine, try_out(subnet, engine))
                done += 1
            order = [engine for engine in order if not self._is_sure(engine)]
            if not order:
                return

    def observe(self, subnet: Subnet, engine: Engine, latency: Latency) -> None:
        """Learns from a measurement; aims lower after one over the budget that was tried."""
        self.forecasts[engine].add(subnet, latency)
        encoding = self.cutter.space.encode(subnet)
        tried = any(np.array_equal(encoding, other) for other in self._tried)
        if tried and not self.allows(subnet, latency, engine):
            self._aim *= LOWER

    def pick(self, better_than: float | None = None, share: float = 1.0) -> Pick | None:
        """Returns the best subnet expected within the budget that was not tried, or None.

        Args:
            better_than: the expected accuracy of what is there already.
            share: of the latency budget to aim at.
        """
        self._aim *= share
        limit = self.budget.latency_ms
        aimed = self.budget if limit is None else replace(self.budget, latency_ms=self._aim * limit)
        pick = self._best(aimed)
        if pick is None or (better_than is not None and pick.accuracy < better_than + WORTH):
            return None
        self._tried.append(self.cutter.space.encode(pick.subnet))
        return pick

    def _best(self, budget: Budget) -> Pick | None:
        space = self.cutter.space
        start = self._tried[-1][np.newaxis] if self._tried else None
        best, scores = maximise(
            space, lambda genes: self._score(genes, budget), self.rng, start=start
        )
        if not len(best):
            return None
        engine, predicted = self._fastest(best[:1])
        return Pick(space.decode(best[0]), engine, float(scores[0]), float(predicted[0]))

    def front(self, count: int) -> list[Pick]:
        """Returns the best subnet expected for each of `count` latencies, the fastest first."""
        space = self.cutter.space
        ends = encoded(space, [space.smallest(), space.largest()])
        low, high = (float(self._fastest(end[np.newaxis])[1][0]) for end in ends)
        found: dict[Subnet, Pick] = {}
        for limit in np.geomspace(low, high, count):
            pick = self._best(replace(self.budget, latency_ms=float(limit) * 1.001))
            if pick is not None:
                found[pick.subnet] = pick
        return sorted(found.values(), key=lambda pick: pick.predicted_ms)

    def allows(self, subnet: Subnet, latency: Latency, engine: Engine) -> bool:
        """Whether a measured subnet keeps the budget, with headroom where all cores are needed."""
        limit = self.budget.latency_ms
        worst = latency.percentile_ms(self.budget.percentile) * headroom(engine)
        quick = limit is None or worst <= limit
        return quick and bool(self._allowed(encoded(self.cutter.space, [subnet]))[0])

    def _surely_fits(self, subnet: Subnet, limit: float) -> bool:
        genes = encoded(self.cutter.space, [subnet])
        return any(
            bool(self._cautious_ms(engine, genes, CAUTION)[0] <= SURELY * limit)
            for engine in self.forecasts
        )

    def _score(self, genes: Encodings, budget: Budget) -> Scores:
        accuracy = expected_accuracy(self.cutter.space, self._predictor, genes)
        allowed = self._allowed(genes)
        if self._predictor is not None and budget.accuracy is not None:
            allowed &= accuracy >= budget.accuracy
        if budget.latency_ms is not None:
            fits = np.zeros(len(genes), bool)
            for engine in self.forecasts:
                fits |= self._cautious_ms(engine, genes, CAUTION) <= budget.latency_ms
            allowed &= fits
        for tried in self._tried:
            allowed &= (genes != tried).any(axis=1)
        scores: Scores = np.where(allowed, accuracy, -np.inf)
        return scores

    def _allowed(self, genes: Encodings) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        space, budget = self.cutter.space, self.budget
        allowed = np.ones(len(genes), bool)
        if budget.memory_mb is not None:
            backend = self.fastest_engine.backend.name
            allowed &= peak_memory_mb(space, genes, backend) <= budget.memory_mb
        costs = tables(space).costs(genes)
        if budget.mmacs is not None:
            allowed &= costs.macs / MEGA <= budget.mmacs
        if budget.size_mb is not None:
            allowed &= FLOAT_BYTES * costs.parameters / MEGA <= budget.size_mb
        return allowed

    def _cautious_ms(self, engine: Engine, genes: Encodings, caution: float) -> Scores:
        return self._expected_ms(engine, genes, caution) * headroom(engine)

    def _expected_ms(self, engine: Engine, genes: Encodings, caution: float = 0.0) -> Scores:
        forecast = self.forecasts[engine]
        factor = forecast.spread(self.budget.percentile) * np.exp(caution * forecast.deviation())
        expected: Scores = forecast.median_ms(genes) * factor
        return expected

    def _fastest(self, genes: Encodings) -> tuple[Engine, Scores]:
        cost = {engine: self._cautious_ms(engine, genes, 0.0)[0] for engine in self.forecasts}
        engine = min(cost, key=lambda engine: float(cost[engine]))
        return engine, self._expected_ms(engine, genes)

    def _is_sure(self, engine: Engine) -> bool:
        return self.forecasts[engine].deviation() < SURE
