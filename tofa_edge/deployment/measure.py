"""How long a network takes here: stopwatches beside a reference, and measured values."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine, Session
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import Drop
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.build import stored_network
from tofa_edge.errors import BackendError
from tofa_edge.measurement.stopwatch import Latency, Percentiles, Run, Stopwatch, percentiles
from tofa_edge.measurement.stopwatch import timed as timed_calls
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.search.candidates import headroom
from tofa_edge.search.forecast import expected_accuracy, expected_drop
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.serving.explanation import Explanation, Measured
from tofa_edge.serving.model import Model

QUICK_SECONDS, QUICK_RUNS = 0.15, 60
REPEATS = 3
OBSERVED_TIMES, OBSERVED_SECONDS, QUICK_OBSERVED_SECONDS = 2, 1.5, 0.4
OBSERVED_BLOCK = 50  # calls


@dataclass(frozen=True, eq=False, slots=True)
class Stopwatches:
    """What times networks beside one reference run.

    Attributes:
        quick: where many are to be timed.
        careful: for one that may serve.
    """

    quick: Stopwatch
    careful: Stopwatch

    @staticmethod
    def beside(reference: Run | None) -> Stopwatches:
        """Returns both beside a `reference`: a short run that never changes; None for none."""
        quick = Stopwatch(reference, seconds=QUICK_SECONDS, most_runs=QUICK_RUNS)
        return Stopwatches(quick, Stopwatch(reference))


def timed(model: Model, stopwatch: Stopwatch, until: float = float("inf")) -> Latency:
    """Returns the latency of one prediction of an array of the network's size.

    After `until`, by `time.monotonic`, few runs are enough.
    """
    image = specimen_images(model.input_size)[0]
    return stopwatch.time(lambda: model(image), until)


def observed(model: Model, latency: Latency, seconds: float, until: float) -> Latency:
    """Returns a latency with what is observed of calls that follow each other without a pause.

    A stopwatch asks the kernel for its counts between two calls, and it is then that the kernel
    lets other programs run: a call that it times is interrupted less often than in use.

    Args:
        model: to time.
        latency: its own.
        seconds: to look on.
        until: by `time.monotonic`; after it few calls are enough.
    """
    image, durations = specimen_images(model.input_size)[0], list[float]()
    end = min(time.monotonic() + seconds, until)
    while not durations or time.monotonic() < end:
        durations += timed_calls(lambda: model(image), OBSERVED_BLOCK)
    seen = percentiles(durations)
    wall = Percentiles(seen.p50_ms, seen.p90_ms, seen.p95_ms, seen.p99_ms)
    return replace(latency, observed=wall)


def timed_carefully(
    model: Model, stopwatch: Stopwatch, budget: Budget, until: float = float("inf")
) -> Latency:
    """Returns the latency of what may be delivered.

    Where its own median keeps the budget and its p95 does not, something else may have run: it is
    measured up to three times, and the lowest counts. As it is observed it is measured twice, and
    the higher counts: what other programs do differs from second to second.

    Args:
        model: to time.
        stopwatch: that times it.
        budget: whose latency it decides on.
        until: by `time.monotonic`; after it few runs are enough, and none are repeated.
    """
    limit, percentile = budget.latency_ms, budget.percentile
    latencies: list[Latency] = []
    while len(latencies) < REPEATS:
        latencies.append(timed(model, stopwatch, until))
        latency = latencies[-1]
        over = limit is not None and latency.percentile_ms(percentile) > limit
        if budget.is_observed or not (over and limit is not None and latency.p50_ms <= limit):
            break
        if time.monotonic() > until:
            break
    own = min(latencies, key=lambda each: each.percentile_ms(percentile))
    if not budget.is_observed:
        return own
    twice = [observed(model, own, OBSERVED_SECONDS, until) for _ in range(OBSERVED_TIMES)]
    return max(twice, key=lambda each: each.observed_ms(percentile))


def model_of(
    bundle: Bundle,
    session: Session,
    subnet: Subnet,
    engine: Engine,
    explanation: Explanation,
    unknown_below: float = 0.0,
) -> Model:
    """Returns the model of a loaded network of a bundle."""
    crop, temperature = bundle.preprocessing.crop, bundle.temperature
    return Model(
        session, subnet, engine, bundle.classes, explanation, crop, temperature, unknown_below,
        bundle.peak,
    )  # fmt: skip


def unexplained(bundle: Bundle, session: Session, subnet: Subnet, engine: Engine) -> Model:
    """Returns the model of a loaded network of which there is nothing to explain yet."""
    return model_of(bundle, session, subnet, engine, Explanation(bundle.path, Budget()))


def measured(
    space: SearchSpace,
    subnet: Subnet,
    engine: Engine,
    latency: Latency,
    predictor: AccuracyPredictor | None,
    *,
    accuracy: float | None = None,
    predicted_ms: float | None = None,
    drop: Drop | None = None,
) -> Measured:
    """Returns a latency as what was measured of a subnet; see `Measured`.

    An accuracy that is not known is expected by the `predictor`, or its stand-in.
    """
    if accuracy is None:
        expected = expected_accuracy(space, predictor, encoded(space, [subnet]))
        accuracy = float(expected[0]) - expected_drop(predictor, engine.target)
    cost, room = macs(layers(space, subnet)), headroom(engine)
    return Measured(subnet, str(engine), cost, accuracy, latency, predicted_ms, room, drop)


def reference_run(cutter: Cutter, offered: list[Engine], calibrating: Engine) -> Run | None:
    """Returns a run that never changes, to notice throttling and background load.

    It is the smallest subnet, on the first of the engines `offered` that takes it; None if none
    does. `calibrating` computes ranges in float.
    """
    smallest = cutter.space.smallest()
    image = specimen_images(smallest.resolution)[:1]
    for engine in offered:
        try:
            session = engine.load(stored_network(cutter, smallest, engine, calibrating))
        except BackendError:
            continue
        try:
            session.run(image)
        except BackendError:
            session.close()
            continue
        return lambda session=session: session.run(image)  # type: ignore[misc]
    return None
