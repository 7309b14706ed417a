"""The second start: the network chosen before is loaded again, measured shortly, and kept."""

from __future__ import annotations

import logging

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment import decisions
from tofa_edge.deployment.decisions import Decision
from tofa_edge.deployment.finish import Finished, Finisher
from tofa_edge.errors import BackendError
from tofa_edge.measurement.stopwatch import Stopwatch
from tofa_edge.selftest.records import passing_engines
from tofa_edge.serving.explanation import Measured
from tofa_edge.serving.model import Model

log = logging.getLogger(__name__)

LEAST_RUNS, MOST_RUNS, SECONDS = 12, 30, 0.05


def recalled(finisher: Finisher, key: str) -> Model | None:
    """Returns the model chosen the last time if it still keeps the budget, else None."""
    remembered = decisions.recall(key)
    if remembered is None:
        return None
    decision, artefact = remembered
    engine = _engine(decision, finisher.bundle)
    if engine is None:
        return None
    try:
        with finisher.timed("load"):
            model = finisher.reloaded(artefact, Subnet.from_json(decision.subnet), engine)
    except BackendError:
        decisions.forget(key)
        return None
    with finisher.timed("measure"):
        stopwatch = Stopwatch(least_runs=LEAST_RUNS, most_runs=MOST_RUNS, seconds=SECONDS)
        latency = finisher.time(model, stopwatch)
    subnet, limit = model.subnet, finisher.budget.latency_ms
    if limit is not None and latency.percentile_ms(finisher.budget.percentile) > limit:
        model.close()
        finisher.note(f"the remembered {subnet} now takes {latency}: choosing again")
        return None
    cost = macs(layers(finisher.bundle.space, subnet))
    explanation = finisher.explanation
    explanation.chosen = Measured(subnet, str(engine), cost, decision.accuracy, latency)
    explanation.predicts_accuracy = decision.predicts_accuracy
    explanation.remembered = "\n".join(decision.explanation)
    log.info(f"remembered {explanation.chosen}")
    model.reset_stats()
    return model


def kept(finisher: Finisher, key: str, finished: Finished) -> None:
    """Remembers what was chosen."""
    engine, measured = finished.model.engine, finished.measured
    decision = Decision(
        subnet=measured.subnet.to_json(),
        backend=engine.backend.name,
        target=engine.target,
        accuracy=measured.accuracy,
        predicts_accuracy=finisher.explanation.predicts_accuracy,
        explanation=tuple(str(finisher.explanation).splitlines()),
    )
    decisions.remember(key, decision, finished.artefact)


def _engine(decision: Decision, bundle: Bundle) -> Engine | None:
    try:
        offered = passing_engines(bundle, decision.backend, decision.target.threads)
    except BackendError:
        return None
    return next((engine for engine in offered if engine.target == decision.target), None)
