"""The second start: the network chosen before is loaded again, measured shortly, and kept."""

from __future__ import annotations

import dataclasses
import logging

from tofa_edge._version import __version__
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.backends.registry import working
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment import decisions
from tofa_edge.deployment.decisions import Decision
from tofa_edge.deployment.local_device import Finished
from tofa_edge.deployment.measure import model_of, timed, unexplained
from tofa_edge.deployment.request import Request
from tofa_edge.deployment.trace import Trace
from tofa_edge.device.machine import fingerprint
from tofa_edge.errors import BackendError
from tofa_edge.measurement.stopwatch import Stopwatch
from tofa_edge.selftest.records import passing_engines
from tofa_edge.serving.explanation import Explanation, Measured
from tofa_edge.serving.model import Model
from tofa_edge.storage.cache import decision_key
from tofa_edge.storage.plain import to_plain

log = logging.getLogger(__name__)

LEAST_RUNS, MOST_RUNS, SECONDS = 12, 30, 0.05


def decision_key_of(request: Request) -> str:
    """Returns the key that the choice for a request is remembered under on this machine."""
    options = request.options
    asked = [options.backend, options.threads, options.precision, options.seed]
    return decision_key(
        {
            "bundle": request.bundle.digest,
            "budget": dataclasses.asdict(request.budget),
            "asked": [request.subnet and request.subnet.to_json(), *asked],
            "device": to_plain(fingerprint()),
            "versions": [__version__, *(item.version() for item in working().values())],
        }
    )


def recalled(request: Request, key: str, trace: Trace, unknown_below: float) -> Model | None:
    """Returns the model chosen the last time if it still keeps the budget, else None.

    Args:
        key: of the decision.
        unknown_below: of the model.
    """
    remembered = decisions.recall(key)
    if remembered is None:
        return None
    decision, artefact = remembered
    bundle, engine = request.bundle, _engine(decision, request.bundle)
    if engine is None:
        return None
    try:
        with trace.timed("load"):
            session = engine.backend.load(artefact, engine.target)
    except BackendError:
        decisions.forget(key)
        return None
    subnet, limit = Subnet.from_json(decision.subnet), request.budget.latency_ms
    model = unexplained(bundle, session, subnet, engine)
    with trace.timed("measure"):
        stopwatch = Stopwatch(least_runs=LEAST_RUNS, most_runs=MOST_RUNS, seconds=SECONDS)
        latency = timed(model, stopwatch)
    if limit is not None and latency.percentile_ms(request.budget.percentile) > limit:
        model.close()
        trace.note(f"the remembered {subnet} now takes {latency}: choosing again")
        return None
    cost = macs(layers(bundle.space, subnet))
    measured = Measured(subnet, str(engine), cost, decision.accuracy, latency)
    log.info(f"remembered {measured}")
    explanation = trace.explanation(
        bundle.path,
        request.budget,
        measured,
        decision.predicts_accuracy,
        remembered="\n".join(decision.explanation),
    )
    return model_of(bundle, session, subnet, engine, explanation, unknown_below)


def keep(key: str, finished: Finished, explanation: Explanation) -> None:
    """Remembers what was chosen under a `key`, and how."""
    engine, measured = finished.engine, finished.measured
    decision = Decision(
        subnet=measured.subnet.to_json(),
        backend=engine.backend.name,
        target=engine.target,
        accuracy=measured.accuracy,
        predicts_accuracy=explanation.predicts_accuracy,
        explanation=tuple(str(explanation).splitlines()),
    )
    decisions.remember(key, decision, finished.artefact)


def _engine(decision: Decision, bundle: Bundle) -> Engine | None:
    try:
        offered = passing_engines(bundle, decision.backend, decision.target.threads)
    except BackendError:
        return None
    return next((engine for engine in offered if engine.target == decision.target), None)
