"""The front of latency and accuracy: predicted, then measured, beside the largest network smaller.

A front worth its name beats the plain way to make a network faster: the largest one on smaller
images. So that is measured in the same run.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.suite.fields import latency_of, rounded
from tofa_edge.benchmarks.suite.row import QUICK_POINT, Effort, Measurer
from tofa_edge.benchmarks.suite.schedule import Schedule
from tofa_edge.budget import Budget
from tofa_edge.deployment.choose import Chooser, Pick
from tofa_edge.deployment.forecast import expected_accuracy, expected_drop
from tofa_edge.deployment.screen import Candidate

log = logging.getLogger(__name__)

POINTS, QUICK_POINTS = 12, 8
FRONT_SHARE = 0.93  # of the time, at which it must be done
QUICK_RESOLUTIONS = 3


def measured_front(
    found: dict[str, Any],
    measurer: Measurer,
    engine: Engine,
    row: dict[str, Any],
    quick: bool,
    schedule: Schedule,
) -> None:
    """Adds the front to a result."""
    bench = measurer.finisher
    space, predictor = bench.bundle.space, bench.bundle.accuracy_predictor()
    candidates, rng = [Candidate(engine, latency_of(row))], np.random.default_rng(0)
    chooser = Chooser(space, predictor, Budget(), candidates, rng)
    found["predicts_accuracy"] = chooser.predicts_accuracy
    log.info(f"measuring subnets on {engine} to predict the others")
    chooser.measure(bench.quickly_measured)
    found["learned_from"] = [
        {"subnet": m.subnet.to_json(), "engine": m.engine, "latency": rounded(m.latency)}
        for m in bench.explanation.measured
    ]
    points = chooser.front(QUICK_POINTS if quick else POINTS)
    plain = _largest_smaller(chooser, engine, quick)
    effort = QUICK_POINT if quick else replace(Effort(), seconds=1.5, batches=())
    schedule.part(len(points) + len(plain), FRONT_SHARE)
    for role, pick in _mixed(points, plain):
        what = f"{role}: {pick.subnet.resolution} px at {pick.predicted_ms:.2f} ms"
        if not schedule.has_time(what):
            continue
        made = measurer.row(role, pick.subnet, pick.engine, effort)
        made["expected_accuracy"] = round(pick.accuracy, 4)
        made["predicted_p95_ms"] = round(pick.predicted_ms, 4)
        found["front"].append(made)
        schedule.done(_told(made))
    misses = [
        abs(made["predicted_p95_ms"] / made["latency"]["p95_ms"] - 1)
        for made in found["front"]
        if made["latency"]
    ]
    found["mean_prediction_error"] = round(float(np.mean(misses)), 4) if misses else None


def _largest_smaller(chooser: Chooser, engine: Engine, quick: bool) -> list[tuple[str, Pick]]:
    """Returns the largest subnet at each resolution, as predicted."""
    space, predictor = chooser.space, chooser.predictor
    sizes = space.resolutions[-QUICK_RESOLUTIONS:] if quick else space.resolutions
    subnets = [Subnet(size, space.largest().stages) for size in sizes]
    genes = encoded(space, subnets)
    accuracies = expected_accuracy(space, predictor, genes)
    accuracies = accuracies - expected_drop(predictor, engine.target)
    forecast = chooser.forecasts[engine]
    times = forecast.median_ms(genes) * forecast.spread(95)
    role = "largest at lower resolution"
    rows = zip(subnets, accuracies, times, strict=True)
    return [(role, Pick(subnet, engine, float(a), float(t))) for subnet, a, t in rows]


def _mixed(points: list[Pick], plain: list[tuple[str, Pick]]) -> list[tuple[str, Pick]]:
    """Returns both so that an early end leaves something of each, every second point first."""
    front = [("front", pick) for pick in (*points[::2], *points[1::2])]
    half = len(points) - len(points) // 2
    return [*front[:half], *plain, *front[half:]]


def _told(row: dict[str, Any]) -> str:
    name = f"{row['role']} {row['resolution']} px, {row['mmacs']:.1f} MMACs"
    if row["failed"]:
        return f"{name}: failed, {row['failed']}"
    measured, predicted = row["latency"]["p95_ms"], row["predicted_p95_ms"]
    return f"{name}: p95 {measured:.2f} ms, predicted {predicted:.2f} ms"
