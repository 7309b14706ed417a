"""The front of latency and accuracy: predicted, then measured.

The plain way to make a network faster is the largest one on smaller images, so that is measured in
the same run, to compare.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.result.bench_result import Learned
from tofa_edge.benchmarks.result.row import Role, Row
from tofa_edge.benchmarks.suite.fields import rounded
from tofa_edge.benchmarks.suite.row import QUICK_POINT, Effort, finite
from tofa_edge.benchmarks.suite.schedule import Benchmark
from tofa_edge.budget import Budget
from tofa_edge.search.candidates import Candidate
from tofa_edge.search.chooser import Chooser, Pick
from tofa_edge.search.forecast import expected_accuracy, expected_drop

log = logging.getLogger(__name__)

POINTS, QUICK_POINTS = 12, 8
FRONT_SHARE = 0.93  # of the time, at which it must be done
QUICK_RESOLUTIONS = 3


def measured_front(run: Benchmark, row: Row) -> None:
    """Adds the front to what is found; a row is the fastest engine's."""
    found, device, engine = run.found, run.measurer.device, run.engine_of(row)
    assert row.latency is not None
    space, predictor = device.cutter.space, device.cutter.bundle.accuracy_predictor()
    candidates, rng = [Candidate(engine, row.latency)], np.random.default_rng(0)
    chooser = Chooser(space, predictor, Budget(), candidates, rng)
    found.predicts_accuracy = predictor is not None
    log.info(f"measuring subnets on {engine} to predict the others")
    chooser.measure(lambda subnet, engine: device.measure(subnet, engine).latency)
    found.learned_from += [
        Learned(m.subnet.to_json(), m.engine, rounded(m.latency)) for m in device.trace.measured
    ]
    points = chooser.front(QUICK_POINTS if run.quick else POINTS)
    _measure_points(run, points, _largest_smaller(chooser, engine, run.quick))


def _measure_points(
    run: Benchmark, points: list[Pick], largest_smaller: list[tuple[Role, Pick]]
) -> None:
    effort = QUICK_POINT if run.quick else replace(Effort(), seconds=1.5, batches=())
    run.schedule.part(len(points) + len(largest_smaller), FRONT_SHARE)
    for role, pick in _mixed(points, largest_smaller):
        step = f"{role}: {pick.subnet.resolution} px at {pick.predicted_ms:.2f} ms"
        if not run.schedule.has_time(step):
            continue
        row = replace(
            run.measurer.row(role, pick.subnet, pick.engine, effort),
            expected_accuracy=finite(round(pick.accuracy, 4)),
            predicted_p95_ms=finite(round(pick.predicted_ms, 4)),
        )
        run.found.front.append(row)
        run.schedule.done(_summary(row))


def _largest_smaller(chooser: Chooser, engine: Engine, quick: bool) -> list[tuple[Role, Pick]]:
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
    role: Role = "largest at lower resolution"
    rows = zip(subnets, accuracies, times, strict=True)
    return [(role, Pick(subnet, engine, float(a), float(t))) for subnet, a, t in rows]


def _mixed(points: list[Pick], plain: list[tuple[Role, Pick]]) -> list[tuple[Role, Pick]]:
    """Returns both so that an early end leaves something of each, every second point first."""
    front: list[tuple[Role, Pick]] = [("front", pick) for pick in (*points[::2], *points[1::2])]
    half = len(points) - len(points) // 2
    return [*front[:half], *plain, *front[half:]]


def _summary(row: Row) -> str:
    name = f"{row.role} {row.resolution} px, {row.mmacs or 0:.1f} MMACs"
    if row.failed:
        return f"{name}: failed, {row.failed}"
    return f"{name}: p95 {row.p95_ms or 0:.2f} ms, predicted {row.predicted_p95_ms or 0:.2f} ms"
