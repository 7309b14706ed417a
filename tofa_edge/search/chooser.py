"""Which subnet on which engine: measure a few, predict all, try the best, correct, try again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, distinct, encoded
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.budget import Budget
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.search.candidates import Candidate, headroom
from tofa_edge.search.evolution import maximise
from tofa_edge.search.forecast import Forecast, expected_accuracy, expected_drop
from tofa_edge.search.limits import limited_costs

POOL = 1500  # subnets among which the next to measure is chosen
MEASUREMENTS = 8  # over all engines, those of the screening included
SECOND = 1.5  # an engine so much slower than the best is not measured further
MAX_RELATIVE_STD = 0.01  # relative standard deviation of a prediction that is good enough
SURELY = 0.5  # of the budget: what is expected to take less needs no better prediction
LOWER = 0.9  # of the budget is aimed at, after each try that was over it
CAUTION = 1.0  # standard deviations that a predicted latency stays below the budget
MIN_GAIN = 0.001  # of expected accuracy: what another try must promise

Measure = Callable[[Subnet, Engine], Latency | None]  # None where the engine fails


@dataclass(frozen=True, eq=False, slots=True)
class Pick:
    """A subnet expected to be the best within the budget.

    Attributes:
        accuracy: expected, 0..1, or its stand-in.
        predicted_ms: the limited percentile of its latency.
    """

    subnet: Subnet
    engine: Engine
    accuracy: float
    predicted_ms: float


@dataclass(eq=False)
class Chooser:
    """Chooses subnet and engine within a budget, by what was measured so far.

    Attributes:
        predictor: of their accuracy; None where the bundle has none.
        candidates: engines that passed the self-test, the fastest first.
        until: when to stop measuring, by `time.monotonic`.
        known: forecasts for an engine from profiles of such devices.
    """

    space: SearchSpace
    predictor: AccuracyPredictor | None
    budget: Budget
    candidates: list[Candidate]
    rng: np.random.Generator
    until: float = float("inf")
    known: Callable[[Engine], list[Forecast]] = lambda engine: []
    forecasts: dict[Engine, Forecast] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        pool = self._pool()
        self._tried: list[tuple[Encodings, Engine]] = []
        self._aim = 1.0
        for candidate in self.candidates:
            engine, is_integer = candidate.engine, candidate.engine.target.is_integer
            alike = [c for c in self.candidates if c.engine.target.is_integer == is_integer]
            if candidate.cost_ms <= SECOND * alike[0].cost_ms:
                others = [*self.known(engine), *list(self.forecasts.values())[:1]]
                self.forecasts[engine] = Forecast(self.space, pool, others)
                self.forecasts[engine].add(self.space.middle(), candidate.latency)

    def _pool(self) -> Encodings:
        """Returns the subnets among which the next to measure is chosen."""
        return distinct(self.space, sample(self.space, self.rng, POOL))

    @property
    def is_bold(self) -> bool:
        """Whether a try that may be over the budget is worth it, once there is one within it."""
        return False

    @property
    def fastest_engine(self) -> Engine:
        """The engine that ran the middle subnet fastest, of those that are left."""
        return next(c.engine for c in self.candidates if c.engine in self.forecasts)

    def give_up(self, precision: str) -> bool:
        """Leaves out every engine of a `precision`, and what was tried on it, if others are left.

        Returns whether they are; if not, all stay.
        """
        return self._leave(lambda engine: engine.target.precision != precision)

    def give_up_engine(self, given_up: Engine) -> bool:
        """Leaves out the engine `given_up`, as `give_up` does a precision."""
        return self._leave(lambda engine: engine != given_up)

    def _leave(self, stays: Callable[[Engine], bool]) -> bool:
        left = {engine: f for engine, f in self.forecasts.items() if stays(engine)}
        if left:
            self.forecasts = left
            self._tried = [(genes, engine) for genes, engine in self._tried if engine in left]
        return bool(left)

    def measure(self, measure: Measure) -> None:
        """Measures up to 8 subnets, each the one that tells most, the engines in turn.

        Fewer where all predictions are good, or where the best of all subnets surely fits.
        """
        done, order = len(self.forecasts), list(self.forecasts)
        limit = self.budget.latency_ms
        best = None if limit is None else self._best(replace(self.budget, latency_ms=None))
        while order and done < MEASUREMENTS and time.monotonic() < self.until:
            if limit is not None and (best is None or self._surely_fits(best.subnet, limit)):
                return
            for engine in order[: MEASUREMENTS - done]:
                subnet = self.forecasts[engine].next()
                latency = None if subnet is None else measure(subnet, engine)
                if subnet is None or latency is None:
                    order = [other for other in order if other != engine]
                else:
                    self.observe(subnet, engine, latency)
                done += 1
            order = [e for e in order if self.forecasts[e].deviation() >= MAX_RELATIVE_STD]

    def observe(self, subnet: Subnet, engine: Engine, latency: Latency) -> None:
        """Learns from a measurement; aims lower after one over the budget that was tried."""
        self.forecasts[engine].add(subnet, latency)
        encoding = self.space.encode(subnet)
        tried = any(np.array_equal(encoding, genes) for genes, _ in self._tried)
        if tried and not self.allows(subnet, latency, engine):
            self._aim *= LOWER

    def pick(self, better_than: float | None = None, share: float = 1.0) -> Pick | None:
        """Returns the best subnet expected within the budget that was not tried, or None.

        Its accuracy must be expected to be `better_than` what is there already; a `share` of the
        latency budget is aimed at.
        """
        self._aim *= share
        limit = self.budget.latency_ms
        aimed = self.budget if limit is None else replace(self.budget, latency_ms=self._aim * limit)
        pick = self._best(aimed)
        if pick is None or (better_than is not None and pick.accuracy < better_than + MIN_GAIN):
            return None
        return self._try(pick)

    def _try(self, pick: Pick) -> Pick:
        self._tried.append((self.space.encode(pick.subnet), pick.engine))
        return pick

    def _best(self, budget: Budget, again: bool = False) -> Pick | None:
        """Returns the best within a budget; with `again`, of those that were tried, too."""
        start = self._tried[-1][0][np.newaxis] if self._tried else None
        best, scores = maximise(
            self.space, lambda genes: self._score(genes, budget, again), self.rng, start=start
        )
        if not len(best):
            return None
        accuracy = {e: float(self._accuracy_within(best[:1], e, budget)[0]) for e in self.forecasts}
        most = max(accuracy.values())
        engine, predicted = self._fastest(
            best[:1], [e for e in accuracy if accuracy[e] == most], budget
        )
        return Pick(self.space.decode(best[0]), engine, float(scores[0]), predicted)

    def by_own_latency(self) -> Pick | None:
        """Returns what would be expected to be best if own latency were limited; None for none."""
        return self._best(replace(self.budget, latency="own"), again=True)

    def front(self, count: int) -> list[Pick]:
        """Returns the best subnet expected for each of `count` latencies, the fastest first."""
        ends = encoded(self.space, [self.space.smallest(), self.space.largest()])
        low, high = (self._fastest(end[np.newaxis], list(self.forecasts))[1] for end in ends)
        limits = np.geomspace(low, high, count)
        picks = [self._best(replace(self.budget, latency_ms=float(ms) * 1.001)) for ms in limits]
        distinct_picks = {pick.subnet: pick for pick in picks if pick is not None}
        return sorted(distinct_picks.values(), key=lambda pick: pick.predicted_ms)

    def allows(self, subnet: Subnet, latency: Latency, engine: Engine) -> bool:
        """Whether a measured subnet keeps the budget, with headroom where all cores are needed.

        What is observed has what other programs take in it already.
        """
        limit, observed = self.budget.latency_ms, self.budget.is_observed
        worst = latency.percentile_ms(self.budget.percentile, observed)
        worst *= 1.0 if observed else headroom(engine)
        if limit is not None and not worst <= limit:
            return False
        others = replace(self.budget, latency_ms=None)  # the latency was measured
        genes, accuracy = encoded(self.space, [subnet]), np.array([self._accuracy(subnet)])
        return bool(np.isfinite(self._accuracy_within(genes, engine, others, accuracy)[0]))

    def expected_accuracy(self, subnet: Subnet, engine: Engine) -> float:
        """Returns the accuracy expected of a subnet on an engine, 0..1, or its stand-in."""
        return self._accuracy(subnet) - expected_drop(self.predictor, engine.target)

    def _accuracy(self, subnet: Subnet) -> float:
        genes = encoded(self.space, [subnet])
        return float(expected_accuracy(self.space, self.predictor, genes)[0])

    @property
    def _judges_accuracy(self) -> bool:
        """Whether what is expected is an accuracy, no stand-in."""
        return self.predictor is not None

    def _most_accurate(self) -> tuple[str, float]:
        """Returns who has the highest accuracy, and which."""
        return "the largest is expected to reach", self._accuracy(self.space.largest())

    def exceeded(self, subnet: Subnet, engine: Engine) -> str:
        """Returns which limits but latency the smallest `subnet` exceeds; empty for none."""
        genes = encoded(self.space, [subnet])
        reasons = [
            f"{name} of the smallest is {cost[0]:.3g} {unit}"
            for name, unit, cost, limit in limited_costs(self.space, self.budget, genes, engine)
            if cost[0] > limit
        ]
        who, reached = self._most_accurate()
        if self.budget.accuracy is not None and reached < self.budget.accuracy:
            reasons.append(f"{who} {reached:.1%}")
        return ", ".join(reasons)

    def _surely_fits(self, subnet: Subnet, limit: float) -> bool:
        genes = encoded(self.space, [subnet])
        return any(
            self._cautious_ms(e, genes, self.budget)[0] <= SURELY * limit for e in self.forecasts
        )

    def _score(self, genes: Encodings, budget: Budget, again: bool = False) -> DoubleArray:
        accuracy = expected_accuracy(self.space, self.predictor, genes)
        scores: DoubleArray = np.max(
            [self._accuracy_within(genes, e, budget, accuracy) for e in self.forecasts], axis=0
        )
        for tried, _ in () if again else self._tried:
            scores[(genes == tried).all(axis=1)] = -np.inf
        return scores

    def _accuracy_within(
        self,
        genes: Encodings,
        engine: Engine,
        budget: Budget,
        accuracy: DoubleArray | None = None,
        caution: float = CAUTION,
    ) -> DoubleArray:
        """Returns expected accuracies on an engine, −inf where subnets exceed the budget."""
        if accuracy is None:
            accuracy = expected_accuracy(self.space, self.predictor, genes)
        accuracy = accuracy - expected_drop(self.predictor, engine.target)
        allowed = np.ones(len(genes), bool)
        for _, _, cost, limit in limited_costs(self.space, budget, genes, engine):
            allowed &= cost <= limit
        if self._judges_accuracy and budget.accuracy is not None:
            allowed &= accuracy >= budget.accuracy
        if budget.latency_ms is not None:
            allowed &= self._cautious_ms(engine, genes, budget, caution) <= budget.latency_ms
        within: DoubleArray = np.where(allowed, accuracy, -np.inf)
        return within

    def _cautious_ms(
        self, engine: Engine, genes: Encodings, budget: Budget, caution: float = CAUTION
    ) -> DoubleArray:
        room = 1.0 if budget.is_observed else headroom(engine)
        return self._expected_ms(engine, genes, budget, caution) * room

    def _expected_ms(
        self, engine: Engine, genes: Encodings, budget: Budget, caution: float = 0.0
    ) -> DoubleArray:
        forecast, percentile = self.forecasts[engine], budget.percentile
        medians = forecast.median_ms(genes) * np.exp(caution * forecast.deviation())
        if budget.is_observed:
            factors = forecast.observed_spread(percentile, medians)
        else:
            factors = forecast.spread(percentile, medians)
        expected: DoubleArray = medians * factors
        return expected

    def _fastest(
        self, genes: Encodings, engines: list[Engine], budget: Budget | None = None
    ) -> tuple[Engine, float]:
        """Returns the engine expected to run a subnet, (1, genes), fastest, and its latency."""
        budget = budget or self.budget
        engine = min(engines, key=lambda e: float(self._cautious_ms(e, genes, budget, 0.0)[0]))
        return engine, float(self._expected_ms(engine, genes, budget)[0])
