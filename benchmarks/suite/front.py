"""The front of latency and accuracy: predicted, then measured.

The plain way to make a network faster is the largest one on smaller images, so that is measured in
the same run, to compare.
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
from tofa_edge.benchmarks.suite.row import QUICK_POINT, Effort
from tofa_edge.benchmarks.suite.schedule import Benchmark
from tofa_edge.budget import Budget
from tofa_edge.search.candidates import Candidate
from tofa_edge.search.chooser import Chooser, Pick
from tofa_edge.search.forecast import expected_accuracy, expected_drop

log = logging.getLogger(__name__)

POINTS, QUICK_POINTS = 12, 8
FRONT_SHARE = 0.93  # of the time, at which it must be done
QUICK_RESOLUTIONS = 3


def measured_front(run: Benchmark, row: dict[str, Any]) -> None:
    """Adds the front to the result; a row is the fastest engine's."""
    result, device, engine = run.result, run.measurer.device, run.engine_of(row)
    space, predictor = device.cutter.space, device.cutter.bundle.accuracy_predictor()
    candidates, rng = [Candidate(engine, latency_of(row))], np.random.default_rng(0)
    chooser = Chooser(space, predictor, Budget(), candidates, rng)
    result["predicts_accuracy"] = predictor is not None
    log.info(f"measuring subnets on {engine} to predict the others")
    chooser.measure(lambda subnet, engine: device.measure(subnet, engine).latency)
    result["learned_from"] = [
        {"subnet": m.subnet.to_json(), "engine": m.engine, "latency": rounded(m.latency)}
        for m in device.trace.measured
    ]
    points = chooser.front(QUICK_POINTS if run.quick else POINTS)
    _measure_points(run, points, _largest_smaller(chooser, engine, run.quick))
    errors = [
        abs(point["predicted_p95_ms"] / point["latency"]["p95_ms"] - 1)
        for point in result["front"]
        if point["latency"]
    ]
    result["mean_prediction_error"] = round(float(np.mean(errors)), 4) if errors else None


def _measure_points(
    run: Benchmark, points: list[Pick], largest_smaller: list[tuple[str, Pick]]
) -> None:
    effort = QUICK_POINT if run.quick else replace(Effort(), seconds=1.5, batches=())
    run.schedule.part(len(points) + len(largest_smaller), FRONT_SHARE)
    for role, pick in _mixed(points, largest_smaller):
        step = f"{role}: {pick.subnet.resolution} px at {pick.predicted_ms:.2f} ms"
        if not run.schedule.has_time(step):
            continue
        row = run.measurer.row(role, pick.subnet, pick.engine, effort)
        row["expected_accuracy"] = round(pick.accuracy, 4)
        row["predicted_p95_ms"] = round(pick.predicted_ms, 4)
        run.result["front"].append(row)
        run.schedule.done(_summary(row))


def _largest_smaller(chooser: Chooser, engine: Engine, quick: bool) -> list[tuple[str, Pick]]:
    """Returns the largest subnet at each resolution, as predicted."""
    space, predictor = chooser.space, chooser.predictor
    sizes = space.resolutions[-QUICK_RESOLUTIONS:] if quick else space.resolutions
    subnets = [Subnet(size, space.largest().stages) for size in sizes]
    genes = encoded(space, subnets)
    accuracies = expected_accuracy(space, predictor, genes)
    accuracies = accuracies - expected_drop(predictor, engine.target)
    forecast = chooser.forecasts[engine]
    medians = forecast.median_ms(genes)
    times = medians * forecast.spread(95, medians)
    role = "largest at lower resolution"
    rows = zip(subnets, accuracies, times, strict=True)
    return [(role, Pick(subnet, engine, float(a), float(t))) for subnet, a, t in rows]


def _mixed(points: list[Pick], plain: list[tuple[str, Pick]]) -> list[tuple[str, Pick]]:
    """Returns both so that an early end leaves something of each, every second point first."""
    front = [("front", pick) for pick in (*points[::2], *points[1::2])]
    half = len(points) - len(points) // 2
    return [*front[:half], *plain, *front[half:]]


def _summary(row: dict[str, Any]) -> str:
    name = f"{row['role']} {row['resolution']} px, {row['mmacs']:.1f} MMACs"
    if row["failed"]:
        return f"{name}: failed, {row['failed']}"
    measured, predicted = row["latency"]["p95_ms"], row["predicted_p95_ms"]
    return f"{name}: p95 {measured:.2f} ms, predicted {predicted:.2f} ms"
