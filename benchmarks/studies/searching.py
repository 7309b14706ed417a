"""How fast the search is, and what it misses against scoring every subnet.

`python -m tofa_edge.benchmarks.studies.searching parts.tofa --out searching.json`: the bundle's
accuracy predictor and a latency forecast score subnets of the bundle's space (speed), and of a part
of it small enough to score all of its subnets (what is missed, for nine budgets).
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, distinct
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables
from tofa_edge.benchmarks.studies.command import Row, options, store
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BundleError
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.search.evolution import Score, maximise
from tofa_edge.search.forecast import Forecast

BUDGETS = 9
REPEATS = 5


def main() -> None:
    given = options(__doc__, "bundle", out=Path("searching.json"))
    bundle = Bundle.open(given.bundle)
    predictor = bundle.accuracy_predictor()
    if predictor is None:
        raise BundleError(f"{bundle.path} has no accuracy predictor")
    rows = {**_speed(bundle.space, predictor), **_missed(_part(bundle.space), predictor)}
    store(given.out, rows)
    print(json.dumps(rows, indent=1))


def _speed(space: SearchSpace, predictor: AccuracyPredictor) -> Row:
    forecast, count = _forecast(space), 0
    limit = float(np.median(forecast.median_ms(sample(space, np.random.default_rng(0), 500))))
    score = _within(forecast, limit, predictor)

    def counted(encodings: Encodings) -> DoubleArray:
        nonlocal count
        count += len(encodings)
        return score(encodings)

    begun = time.perf_counter()
    for seed in range(REPEATS):
        maximise(space, counted, np.random.default_rng(seed))
    seconds = time.perf_counter() - begun
    return {"candidates_per_s": round(count / seconds), "search_s": round(seconds / REPEATS, 3)}


def _missed(space: SearchSpace, predictor: AccuracyPredictor) -> Row:
    choices = np.meshgrid(*(np.arange(n) for n in space.cardinalities()), indexing="ij")
    every = np.stack([choice.ravel() for choice in choices], axis=1)
    forecast = _forecast(space)
    times, accuracies = forecast.median_ms(every), predictor.expected(space, every)
    missed = []
    for limit in np.quantile(times, np.linspace(0.1, 0.9, BUDGETS)):
        score = _within(forecast, limit, predictor)
        best = maximise(space, score, np.random.default_rng(0))[1][0]
        missed.append(float(accuracies[times <= limit].max() - best))
    return {"subnets": len(every), "points_missed": [round(100 * lost, 4) for lost in missed]}


def _within(forecast: Forecast, limit: float, predictor: AccuracyPredictor) -> Score:
    def score(encodings: Encodings) -> DoubleArray:
        allowed = forecast.median_ms(encodings) <= limit
        return np.where(allowed, predictor.expected(forecast.space, encodings), -np.inf)

    return score


def _part(space: SearchSpace) -> SearchSpace:
    """Returns a part of a space: fixed depths, the two largest expand ratios, half of the sizes."""
    stages = tuple(
        replace(
            stage,
            depths=stage.depths[:1],
            expands=stage.expands[-2:],
            widths=stage.widths[-2:] if index in (3, 5) else stage.widths[-1:],
        )
        for index, stage in enumerate(space.stages)
    )
    return replace(space, resolutions=space.resolutions[::2], stages=stages)


def _forecast(space: SearchSpace) -> Forecast:
    """A device whose latency is made up, but not linear in anything."""
    table, rng = tables(space), np.random.default_rng(1)
    forecast = Forecast(space, distinct(space, sample(space, rng, 500)))
    speeds = np.exp(rng.normal(0, 0.5, len(table.columns)))
    for encoding in distinct(space, sample(space, rng, 8)):
        costs = table.costs(encoding[np.newaxis])
        time_ms = float((costs.features[0] * speeds).sum() / 1e6) + 0.05
        latency = Latency(time_ms, time_ms, time_ms, time_ms, 30, 0.01)
        forecast.add(space.decode(encoding), latency)
    return forecast


if __name__ == "__main__":
    main()
