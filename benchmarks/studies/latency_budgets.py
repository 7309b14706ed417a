"""Choosing under a latency budget with a few noisy measurements: accuracy lost, budgets broken.

Nine budgets on each of six accelerators, with the accuracy that Accel-NASBench gives each network.
Only measured networks are returned, and every measurement is off by 3 % at random.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.benchmarks.studies.latency_data import LatencySet, accel_nasbench
from tofa_edge.prediction.latency import LatencyPredictor

CANDIDATES = 2000
MOST = 11
DESIGNED = 5
NOISE = 0.03
TOLERANCE = 1.05  # of the budget: what a winner may truly take
LEAST_PROBABILITY = 0.99  # how probable it must be that a winner keeps the tolerance
QUANTILES = np.arange(0.1, 0.95, 0.1)


def accel_budgets(folder: Path, seeds: int) -> dict[str, dict[str, Any]]:
    """Budgets at the nine deciles of each device's latencies, with and without other devices."""
    data = accel_nasbench(folder)
    rows = {}
    for title, known in (("other devices known", True), ("no reference device", False)):
        outcomes = np.concatenate([_device(data, name, known, seeds) for name in data.devices])
        regret, over, used = outcomes.T
        has_winner = np.isfinite(regret)
        rows[f"accel_nasbench, nine budgets, {title}"] = {
            "choices": len(outcomes),
            "without_winner": int((~has_winner).sum()),
            "winners_over_1.05_budget": int((over[has_winner] > TOLERANCE).sum()),
            "worst_over_budget": round(float(over[has_winner].max()), 3),
            "accuracy_points_lost": {
                "mean": round(float(regret[has_winner].mean()), 3),
                "p95": round(float(np.quantile(regret[has_winner], 0.95)), 3),
            },
            "measurements": {"mean": round(float(used.mean()), 2), "most": int(used.max())},
        }
    return rows


def _device(data: LatencySet, target: str, with_others: bool, seeds: int) -> DoubleArray:
    """Returns regret, latency over budget and measurements of each choice, (9 · seeds, 3)."""
    others = [name for name in data.devices if name != target] if with_others else []
    truth = data.column(target)
    priors = data.known(others)
    complete = np.flatnonzero(np.isfinite(truth) & np.isfinite(priors).all(axis=1))
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        pool = rng.permutation(complete)[:CANDIDATES]
        first = LatencyPredictor(data.features[pool], data.columns, priors[pool], seed=seed)
        seen = first.design(DESIGNED)
        first.observe(seen, _measured(truth[pool[seen]], rng), NOISE)
        for quantile in QUANTILES:
            budget = float(np.quantile(truth[pool], quantile))
            predictor, accuracy = first.with_seed(seed), data.accuracy[pool]
            rows.append(_choose(predictor, seen, truth[pool], accuracy, budget, rng))
    return np.array(rows)


def _choose(
    predictor: LatencyPredictor, seen: IndexArray, truth: DoubleArray, accuracy: DoubleArray,
    budget: float, rng: np.random.Generator,
) -> tuple[float, float, float]:  # fmt: skip
    """Measures what promises most within the budget, then returns the best that surely keeps it."""
    measured = seen.tolist()
    while True:
        prediction = predictor.predict()
        safe = prediction.probability_within(TOLERANCE * budget) >= LEAST_PROBABILITY
        kept = [index for index in set(measured) if safe[index]]
        best = max(kept, key=lambda index: accuracy[index], default=None)
        if len(measured) == MOST:
            break
        least = accuracy[best] if best is not None else accuracy.min() - 1
        gain = (accuracy - least) * prediction.probability_within(budget)
        new = int(np.argmax(gain))
        if gain[new] <= 0:
            break
        predictor.observe([new], _measured(truth[[new]], rng), NOISE)
        measured.append(new)
    if best is None:
        return np.nan, np.nan, len(measured)
    lost = accuracy[truth <= budget].max() - accuracy[best]
    return float(lost), float(truth[best] / budget), len(measured)


def _measured(truth: DoubleArray, rng: np.random.Generator) -> DoubleArray:
    noisy: DoubleArray = truth * np.exp(NOISE * rng.standard_normal(len(truth)))
    return noisy
