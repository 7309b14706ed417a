"""Where networks are finished: cut, calibrated, built, compared with the reference, timed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine, Session
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import Drop, drop, logits_of, photos_of
from tofa_edge.cutting.calibration import BATCH
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES, Cutter
from tofa_edge.cutting.ranges import RANGE_IMAGES, ready
from tofa_edge.cutting.sensitivity import with_sensitive_layers_in_float
from tofa_edge.deployment.forecast import expected_accuracy, expected_drop
from tofa_edge.errors import BackendError
from tofa_edge.measurement.stopwatch import Latency, Run, Stopwatch
from tofa_edge.network.network import Network
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.selftest.golden import difference, reference_logits, specimen_images, tolerance
from tofa_edge.selftest.records import calibrator
from tofa_edge.serving.explanation import Explanation, Measured, headroom
from tofa_edge.serving.model import Model

log = logging.getLogger(__name__)

QUICK_CALIBRATION_IMAGES = 32  # enough to time a network: calibrated, so without denormals
QUICK_SECONDS, QUICK_RUNS = 0.15, 60
REPEATS = 2
CHECKED_IMAGES = 2


@dataclass(frozen=True, eq=False, slots=True)
class Finished:
    """A model, what was measured of it, and the engine's artefact that it was loaded from.

    Attributes:
        measured: its latency and what was expected.
        artefact: the engine's file.
        difference: of its logits from the reference's, over the largest.
    """

    model: Model
    measured: Measured
    artefact: bytes
    difference: float


class _Built(NamedTuple):
    model: Model
    artefact: bytes
    difference: float
    drop: Drop | None


class Finisher:
    """Finishes networks of one bundle on this machine, and writes down what it measures.

    Attributes:
        cutter: of the bundle; set before the first network is cut.
        explanation: of what was measured.
        on_the_way: subnets measured to learn from, quickly calibrated, with their engines.
        quick: times a network when many are to be timed.
        careful: times one that may be delivered.
    """

    cutter: Cutter

    def __init__(self, bundle: Bundle, budget: Budget) -> None:
        self.bundle, self.budget = bundle, budget
        self.explanation = Explanation(bundle.path, budget)
        self.on_the_way: list[tuple[Measured, Engine]] = []
        self.stand_beside(None)

    def stand_beside(self, reference: Run | None) -> None:
        """Times from now on beside a `reference`: a short run that never changes; None for none."""
        self.careful = Stopwatch(reference)
        self.quick = Stopwatch(reference, seconds=QUICK_SECONDS, most_runs=QUICK_RUNS)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time of what is done inside to a `part` of the explanation's seconds."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.explanation.seconds
            seconds[part] = round(seconds.get(part, 0.0) + time.perf_counter() - begun, 4)

    def note(self, line: str) -> None:
        """Adds a `line` to the explanation's notes, and to the log."""
        self.explanation.notes.append(line)
        log.info(line)

    def time(self, model: Model, stopwatch: Stopwatch) -> Latency:
        """Returns the latency of one prediction of an array of the network's size."""
        image = specimen_images(model.input_size)[0]
        return stopwatch.time(lambda: model(image))

    def timed_as_stored(self, subnet: Subnet, engine: Engine) -> Latency:
        """Returns the latency of a subnet with stored statistics: calibrated, it takes as long."""
        artefact = engine.backend.build(self.stored(subnet, engine), engine.target)
        with self.reloaded(artefact, subnet, engine) as model:
            return self.time(model, self.quick)

    def stored(self, subnet: Subnet, engine: Engine) -> Network:
        """Returns a subnet with stored statistics, as an engine runs it: exact, not accurate."""
        network = self.cutter.stored_network(subnet)
        return self._ready(network, engine, specimen_images(network.input_size))

    def quickly_measured(self, subnet: Subnet, engine: Engine) -> Latency:
        """Returns the latency of a subnet, calibrated with few images."""
        few = QUICK_CALIBRATION_IMAGES
        network = self.cutter.network(subnet, calibrator(engine, self.bundle), few)
        if engine.target.is_integer:
            network = self._ready(network, engine, self.cutter.images(subnet.resolution, few))
        with self._model(engine.load(network), subnet, engine) as model:
            measured = self._measured(model, self.time(model, self.quick))
        self.explanation.measured.append(measured)
        self.on_the_way.append((measured, engine))
        log.info(f"measured {measured}")
        return measured.latency

    def finished(
        self,
        subnet: Subnet,
        engine: Engine,
        accuracy: float | None = None,
        predicted_ms: float | None = None,
    ) -> Finished:
        """Returns a subnet calibrated, loaded, compared with the reference, and measured.

        Args:
            accuracy: expected, if known.
            predicted_ms: the latency expected, if known.

        Raises:
            BackendError: its numbers differ from the reference's.
            BundleError: there are too few images to calibrate with.
        """
        with self.timed("cut"):
            by = calibrator(engine, self.bundle)
            exact = self.cutter.network(subnet, by, CALIBRATION_IMAGES)
        if engine.target.is_integer:
            built = self._in_integers(exact, subnet, engine)
        else:
            built = self._built(exact, exact, subnet, engine)
        try:
            with self.timed("measure"):
                latency = self._careful(built.model)
        except BaseException:
            built.model.close()
            raise
        measured = self._measured(built.model, latency, accuracy, predicted_ms, built.drop)
        self.explanation.finished.append(measured)
        log.info(f"tried {measured}")
        return Finished(built.model, measured, built.artefact, built.difference)

    def delivered(self, finished: Finished) -> Model:
        """Returns the model of what was chosen, after it classified the bundle's check photos."""
        model, explanation = finished.model, self.explanation
        explanation.chosen, explanation.difference = finished.measured, finished.difference
        if self.bundle.check_count:
            with self.timed("check"):
                images, labels = self.bundle.check_images(model.input_size)
                classes = np.array([prediction.index for prediction in model.batch(images)])
            explanation.check = (int((classes == labels).sum()), len(labels))
        model.reset_stats()
        return model

    def reloaded(self, artefact: bytes, subnet: Subnet, engine: Engine) -> Model:
        """Returns the model of an `artefact` that an engine built; BackendError if refused."""
        return self._model(engine.backend.load(artefact, engine.target), subnet, engine)

    def _ready(self, network: Network, engine: Engine, images: ImageArray) -> Network:
        return ready(network, engine.target, images, calibrator(engine, self.bundle))

    def _in_integers(self, exact: Network, subnet: Subnet, engine: Engine) -> _Built:
        """Builds a network in integers; the most sensitive layers in float if it loses too much."""
        with self.timed("quantise"):
            images = self.cutter.images(subnet.resolution)
            network = self._ready(exact, engine, images)
        built = self._built(network, exact, subnet, engine)
        assert built.drop is not None
        if not built.drop.refusal(self.budget.max_accuracy_drop):
            return built
        built.model.close()
        with self.timed("quantise"):
            by = calibrator(engine, self.bundle)
            network = with_sensitive_layers_in_float(exact, images[:RANGE_IMAGES], engine, by)
        kept = ", ".join(network.quantisation.kept) if network.quantisation else ""
        self.note(
            f"{subnet} loses too much accuracy in 8-bit integers on {engine}; its most sensitive "
            f"layers stay in float: {kept}"
        )
        return self._built(network, exact, subnet, engine)

    def _built(self, network: Network, exact: Network, subnet: Subnet, engine: Engine) -> _Built:
        """Builds, loads and compares a network; `exact` is the same in float."""
        with self.timed("build"):
            artefact = engine.backend.build(network, engine.target)
            model = self.reloaded(artefact, subnet, engine)
        try:
            with self.timed("compare"):
                return _Built(model, artefact, *self._compared(model, network, exact))
        except BaseException:
            model.close()
            raise

    def _compared(
        self, model: Model, network: Network, exact: Network
    ) -> tuple[float, Drop | None]:
        """Returns a model's difference from the reference, and what rounding to integers costs."""
        if network is exact:
            return _checked(model, exact, exact, specimen_images(model.input_size)), None
        photos, labels = photos_of(self.bundle, self.cutter, model.input_size)
        logits = logits_of(exact, calibrator(model.engine, self.bundle), photos)
        largest = float(np.abs(logits).max())
        wrong = _checked(model, network, exact, photos[:CHECKED_IMAGES], largest)
        parts = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
        rounded = np.stack([p.logits for part in parts for p in model.batch(part)])
        return wrong, drop(logits, rounded, self.bundle.temperature, labels)

    @cached_property
    def _predictor(self) -> AccuracyPredictor | None:
        return self.bundle.accuracy_predictor()

    def _careful(self, model: Model) -> Latency:
        """Times what may be delivered.

        Where the median keeps the budget and the p95 does not, something else may have run: it is
        measured up to three times, and the lowest p95 counts.
        """
        limit, latency = self.budget.latency_ms, self.time(model, self.careful)
        for _ in range(REPEATS):
            if limit is None or not latency.p50_ms <= limit < latency.p95_ms:
                break
            latency = min(latency, self.time(model, self.careful), key=lambda each: each.p95_ms)
        return latency

    def _model(self, session: Session, subnet: Subnet, engine: Engine) -> Model:
        bundle = self.bundle
        crop, temperature = bundle.preprocessing.crop, bundle.temperature
        return Model(session, subnet, engine, bundle.classes, self.explanation, crop, temperature)

    def _measured(
        self,
        model: Model,
        latency: Latency,
        accuracy: float | None = None,
        predicted_ms: float | None = None,
        drop: Drop | None = None,
    ) -> Measured:
        space, subnet, engine = self.bundle.space, model.subnet, model.engine
        if accuracy is None:
            encodings = encoded(space, [subnet])
            accuracy = float(expected_accuracy(space, self._predictor, encodings)[0])
            accuracy -= expected_drop(self._predictor, engine.target)
        cost, room = macs(layers(space, subnet)), headroom(engine)
        return Measured(subnet, str(engine), cost, accuracy, latency, predicted_ms, room, drop)


def _checked(
    model: Model, network: Network, exact: Network, images: ImageArray, largest: float = 0.0
) -> float:
    """Returns how far a model's logits are from the reference's; see `difference`."""
    logits = np.stack([prediction.logits for prediction in model.batch(images)])
    wanted = reference_logits(network, images)
    rounding = 0.0
    if network is not exact:
        rounding = difference(wanted, reference_logits(exact, images), largest)
    wrong, engine = difference(logits, wanted, largest), model.engine
    if wrong > tolerance(engine.target, rounding):
        raise BackendError(f"{engine}: {wrong:.1e} of the largest logit off on {model.subnet}")
    return wrong
