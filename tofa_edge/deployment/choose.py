"""Which subnet on which engine: measure a few, predict all, try the best, correct, try again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.cost import FLOAT_BYTES
from tofa_edge.architecture.encodings import Encodings, distinct, encoded, sample
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.backends.protocol import Engine
from tofa_edge.budget import Budget
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.forecast import Forecast, expected_accuracy, expected_drop
from tofa_edge.deployment.screen import Candidate
from tofa_edge.deployment.search import maximise
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.prediction.memory import MEGA, SHARES, peak_memory_mb
from tofa_edge.serving.explanation import headroom

POOL = 1500  # subnets among which the next to measure is chosen
MEASUREMENTS = 8  # over all engines, those of the screening included
SECOND = 1.5  # an engine so much slower than the best is not measured further
MAX_RELATIVE_STD = 0.01  # relative standard deviation of a prediction that is good enough
SURELY = 0.5  # of the budget: what is expected to take less needs no better prediction
LOWER = 0.9  # of the budget is aimed at, after each try that was over it
CAUTION = 1.0  # standard deviations that a predicted latency stays below the budget
MIN_GAIN = 0.001  # of expected accuracy: what another try must promise

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
        self._tried: list[tuple[Encodings, Engine]] = []
        self._aim = 1.0
        for candidate in self.candidates:
            alike = [c for c in self.candidates if _kind(c.engine) == _kind(candidate.engine)]
            if candidate.cost_ms <= SECOND * alike[0].cost_ms:
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
        """The engine that ran the middle subnet fastest, of those that are left."""
        return next(c.engine for c in self.candidates if c.engine in self.forecasts)

    def give_up(self, precision: str) -> bool:
        """Leaves out every engine of a precision, and what was tried on it.

        Args:
            precision: such as "int8".

        Returns:
            whether another is left; if not, all stay.
        """
        left = {e: f for e, f in self.forecasts.items() if e.target.precision != precision}
        if left:
            self.forecasts = left
            self._tried = [(genes, engine) for genes, engine in self._tried if engine in left]
        return bool(left)

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
        tried = any(np.array_equal(encoding, genes) for genes, _ in self._tried)
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
        if pick is None or (better_than is not None and pick.accuracy < better_than + MIN_GAIN):
            return None
        self._tried.append((self.cutter.space.encode(pick.subnet), pick.engine))
        return pick

    def _best(self, budget: Budget) -> Pick | None:
        space = self.cutter.space
        start = self._tried[-1][0][np.newaxis] if self._tried else None
        best, scores = maximise(
            space, lambda genes: self._score(genes, budget), self.rng, start=start
        )
        if not len(best):
            return None
        worth = {e: float(self._worth(best[:1], e, budget)[0]) for e in self.forecasts}
        most = max(worth.values())
        engine, predicted = self._fastest(best[:1], [e for e in worth if worth[e] == most])
        return Pick(space.decode(best[0]), engine, float(scores[0]), float(predicted[0]))

    def front(self, count: int) -> list[Pick]:
        """Returns the best subnet expected for each of `count` latencies, the fastest first."""
        space = self.cutter.space
        ends = encoded(space, [space.smallest(), space.largest()])
        every = list(self.forecasts)
        low, high = (float(self._fastest(end[np.newaxis], every)[1][0]) for end in ends)
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
        genes = encoded(self.cutter.space, [subnet])
        slow = replace(self.budget, latency_ms=None)  # what is expected of it; it was measured
        return quick and bool(np.isfinite(self._worth(genes, engine, slow)[0]))

    def beyond(self, subnet: Subnet, engine: Engine) -> str:
        """Returns which limits but latency a subnet is beyond, with what it has; empty for none.

        Args:
            subnet: such as the smallest, which no other is below.
            engine: that would run it.
        """
        space = self.cutter.space
        found = [
            f"{name} of the smallest is {cost[0]:.3g} {unit}"
            for name, unit, cost, limit in self._limited(encoded(space, [subnet]), engine)
            if cost[0] > limit
        ]
        largest = encoded(space, [space.largest()])
        reached = float(expected_accuracy(space, self._predictor, largest)[0])
        if self.budget.accuracy is not None and reached < self.budget.accuracy:
            found.append(f"the largest is expected to reach {reached:.1%}")
        return ", ".join(found)

    def _surely_fits(self, subnet: Subnet, limit: float) -> bool:
        genes = encoded(self.cutter.space, [subnet])
        return any(
            bool(self._cautious_ms(engine, genes, CAUTION)[0] <= SURELY * limit)
            for engine in self.forecasts
        )

    def _score(self, genes: Encodings, budget: Budget) -> DoubleArray:
        accuracy = expected_accuracy(self.cutter.space, self._predictor, genes)
        every = [self._worth(genes, engine, budget, accuracy) for engine in self.forecasts]
        scores: DoubleArray = np.max(every, axis=0)
        for tried, _ in self._tried:
            scores[(genes == tried).all(axis=1)] = -np.inf
        return scores

    def _worth(
        self, genes: Encodings, engine: Engine, budget: Budget, accuracy: DoubleArray | None = None
    ) -> DoubleArray:
        """Returns expected accuracies on an engine, −inf where subnets are beyond the budget."""
        if accuracy is None:
            accuracy = expected_accuracy(self.cutter.space, self._predictor, genes)
        worth = accuracy - expected_drop(self._predictor, engine.target)
        allowed = self._allowed(genes, engine)
        if self._predictor is not None and budget.accuracy is not None:
            allowed &= worth >= budget.accuracy
        if budget.latency_ms is not None:
            allowed &= self._cautious_ms(engine, genes, CAUTION) <= budget.latency_ms
        found: DoubleArray = np.where(allowed, worth, -np.inf)
        return found

    def _allowed(self, genes: Encodings, engine: Engine) -> NDArray[np.bool_]:
        allowed = np.ones(len(genes), bool)
        for _, _, cost, limit in self._limited(genes, engine):
            allowed &= cost <= limit
        return allowed

    def _limited(
        self, genes: Encodings, engine: Engine
    ) -> Iterator[tuple[str, str, DoubleArray, float]]:
        """Yields each limit but latency and accuracy: its name, its unit, costs (N,), the limit."""
        space, budget, precision = self.cutter.space, self.budget, engine.target.precision
        if budget.memory_mb is not None:
            grown = peak_memory_mb(space, genes, engine.backend.name, precision)
            yield "memory", "MB expected", grown, budget.memory_mb
        costs = tables(space).costs(genes)
        if budget.mmacs is not None:
            yield "work", "MMACs", costs.macs / MEGA, budget.mmacs
        if budget.size_mb is not None:
            stored = FLOAT_BYTES * SHARES.get(precision, 1.0) * costs.parameters
            yield "size", "MB", np.asarray(stored / MEGA, np.float64), budget.size_mb

    def _cautious_ms(self, engine: Engine, genes: Encodings, caution: float) -> DoubleArray:
        return self._expected_ms(engine, genes, caution) * headroom(engine)

    def _expected_ms(self, engine: Engine, genes: Encodings, caution: float = 0.0) -> DoubleArray:
        forecast = self.forecasts[engine]
        factor = forecast.spread(self.budget.percentile) * np.exp(caution * forecast.deviation())
        expected: DoubleArray = forecast.median_ms(genes) * factor
        return expected

    def _fastest(self, genes: Encodings, engines: list[Engine]) -> tuple[Engine, DoubleArray]:
        cost = {engine: self._cautious_ms(engine, genes, 0.0)[0] for engine in engines}
        engine = min(cost, key=lambda engine: float(cost[engine]))
        return engine, self._expected_ms(engine, genes)

    def _is_sure(self, engine: Engine) -> bool:
        return self.forecasts[engine].deviation() < MAX_RELATIVE_STD


def fastest_candidates(candidates: list[Candidate]) -> list[Candidate]:
    """Returns the two engines to consider: the fastest, and the next that promises something else.

    After one in integers that is the fastest in float, which is more accurate; after one in float
    the next of all.
    """
    first, others = candidates[0], candidates[1:]
    if _kind(first.engine):
        others = [other for other in others if not _kind(other.engine)] or others
    return [first, *others[:1]]


def _kind(engine: Engine) -> bool:
    return engine.target.is_integer
