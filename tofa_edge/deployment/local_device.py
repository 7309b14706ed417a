"""This machine, where subnets of one bundle become networks: built, verified, measured."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine, Session
from tofa_edge.budget import Budget
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.build import built, calibrated_shortly, stored_network
from tofa_edge.deployment.measure import (
    QUICK_OBSERVED_SECONDS,
    Stopwatches,
    measured,
    observed,
    reference_run,
    timed,
    timed_carefully,
    unexplained,
)
from tofa_edge.deployment.trace import Trace
from tofa_edge.deployment.verify import accurate
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.network.network import Network
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.serving.explanation import Measured

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class Finished:
    """A network loaded, verified and measured: it may serve.

    Attributes:
        engine: that runs it.
        session: loaded; whoever holds this value closes it, or makes a model of it.
        artefact: the engine's file that it was loaded from.
        difference: of its logits from the reference's, over the largest.
        measured: its latency, and what was expected.
    """

    engine: Engine
    session: Session
    artefact: bytes
    difference: float
    measured: Measured


@dataclass(frozen=True, eq=False, slots=True)
class LocalDevice:
    """Makes networks of one bundle here, and measures them.

    Attributes:
        cutter: of the bundle.
        budget: what integers may cost, and the latency that a repeated measurement decides on.
        calibrating: the engine that computes statistics and ranges for all: they are the same.
        predictor: of accuracy; None where the bundle has none.
        stopwatches: that time.
        trace: where everything measured is written down.
        until: when measuring must end, by `time.monotonic`.
    """

    cutter: Cutter
    budget: Budget
    calibrating: Engine
    predictor: AccuracyPredictor | None
    stopwatches: Stopwatches
    trace: Trace
    until: float = float("inf")

    def measure(self, subnet: Subnet, engine: Engine) -> Measured:
        """Returns a subnet measured to learn from: calibrated with few images, timed shortly."""
        network = calibrated_shortly(self.cutter, subnet, engine, self.calibrating)
        with unexplained(self.cutter.bundle, engine.load(network), subnet, engine) as model:
            latency = timed(model, self.stopwatches.quick, self.until)
            if self.budget.is_observed:
                latency = observed(model, latency, QUICK_OBSERVED_SECONDS, self.until)
        found = measured(self.cutter.space, subnet, engine, latency, self.predictor)
        self.trace.measured.append(found)
        log.info(f"measured {found}")
        return found

    def finish(
        self,
        subnet: Subnet,
        engine: Engine,
        accuracy: float | None = None,
        predicted_ms: float | None = None,
    ) -> Finished:
        """Returns a subnet calibrated, loaded, compared with the reference, and measured.

        Args:
            subnet: in the bundle's space.
            engine: that will run it.
            accuracy: expected, if known.
            predicted_ms: the latency expected, if known.

        Raises:
            BackendError: its numbers differ from the reference's.
            BundleError: there are too few images to calibrate with.
        """
        cutter, by, trace = self.cutter, self.calibrating, self.trace
        with trace.timed("build"):
            made = built(cutter, subnet, engine, by)
        with trace.timed("compare"):
            sound = accurate(made, cutter, by, self.budget.max_accuracy_drop, trace.note)
        session, artefact = sound.built.session, sound.built.artefact
        try:
            with trace.timed("measure"):
                model = unexplained(cutter.bundle, session, subnet, engine)
                latency = timed_carefully(model, self.stopwatches.careful, self.budget, self.until)
        except BaseException:
            session.close()
            raise
        found = measured(
            cutter.space, subnet, engine, latency, self.predictor,
            accuracy=accuracy, predicted_ms=predicted_ms, drop=sound.drop,
        )  # fmt: skip
        trace.finished.append(found)
        log.info(f"tried {found}")
        return Finished(engine, session, artefact, sound.difference, found)

    def time_stored(self, subnet: Subnet, engine: Engine) -> Latency:
        """Returns the latency of a subnet with stored statistics: calibrated, it takes as long."""
        session = engine.load(self.stored(subnet, engine))
        with unexplained(self.cutter.bundle, session, subnet, engine) as model:
            return timed(model, self.stopwatches.quick, self.until)

    def measured_as_stored(self, subnet: Subnet, engine: Engine) -> Measured:
        """Returns a subnet with stored statistics measured, to compare with another."""
        latency = self.time_stored(subnet, engine)
        return measured(self.cutter.space, subnet, engine, latency, self.predictor)

    def stored(self, subnet: Subnet, engine: Engine) -> Network:
        """Returns a subnet with stored statistics, as an engine runs it: exact, not accurate."""
        return stored_network(self.cutter, subnet, engine, self.calibrating)


def local_device(
    cutter: Cutter,
    offered: list[Engine],
    calibrating: Engine,
    trace: Trace,
    budget: Budget = Budget(),  # noqa: B008 (frozen)
    predictor: AccuracyPredictor | None = None,
    until: float = float("inf"),
) -> LocalDevice:
    """Returns this machine, where stopwatches run beside a reference on an engine `offered`.

    Statistics and ranges come from the engine `calibrating`, and measuring ends at `until`, by
    `time.monotonic`; see `LocalDevice`.
    """
    reference = reference_run(cutter, offered, calibrating)
    stopwatches = Stopwatches.beside(reference)
    return LocalDevice(cutter, budget, calibrating, predictor, stopwatches, trace, until)
