"""How long a network takes here: stopwatches beside a reference, and measured values."""

from __future__ import annotations

from dataclasses import dataclass

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
from tofa_edge.measurement.stopwatch import Latency, Run, Stopwatch
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.search.candidates import headroom
from tofa_edge.search.forecast import expected_accuracy, expected_drop
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.serving.explanation import Explanation, Measured
from tofa_edge.serving.model import Model

QUICK_SECONDS, QUICK_RUNS = 0.15, 60
REPEATS = 3


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


def timed(model: Model, stopwatch: Stopwatch) -> Latency:
    """Returns the latency of one prediction of an array of the network's size."""
    image = specimen_images(model.input_size)[0]
    return stopwatch.time(lambda: model(image))


def timed_carefully(model: Model, stopwatch: Stopwatch, budget: Budget) -> Latency:
    """Returns the latency of what may be delivered.

    Where the median keeps the budget and the p95 does not, something else may have run: it is
    measured up to three times, and the lowest p95 counts.
    """
    image, limit = specimen_images(model.input_size)[0], budget.latency_ms
    latencies: list[Latency] = []
    while len(latencies) < REPEATS:
        latencies.append(stopwatch.time(lambda: model(image)))
        latency = latencies[-1]
        if limit is None or not latency.p50_ms <= limit < latency.p95_ms:
            break
    return min(latencies, key=lambda each: each.p95_ms)


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
        session, subnet, engine, bundle.classes, explanation, crop, temperature, unknown_below
    )


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
            session.run(image)
        except BackendError:
            continue
        return lambda session=session: session.run(image)  # type: ignore[misc]
    return None
