"""What this machine chose, kept so that its second start is warm: loaded, measured shortly, served.

A decision holds under the same bundle, device, budget and versions: its key is a hash of all of
them. The engine's artefact lies beside it. Nothing here may fail a deployment: what cannot be
written is not remembered, what cannot be read or was touched is decided anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine, Session, Target
from tofa_edge.backends.registry import working
from tofa_edge.deployment.local_device import Finished
from tofa_edge.deployment.measure import model_of, timed_carefully, unexplained
from tofa_edge.deployment.provisional import Provisional
from tofa_edge.deployment.request import Request
from tofa_edge.deployment.trace import Trace
from tofa_edge.deployment.verify import check_unchanged, specimen_logits
from tofa_edge.device.machine import fingerprint
from tofa_edge.errors import BackendError, SpaceError, SubnetError
from tofa_edge.measurement.stopwatch import Latency, Stopwatch
from tofa_edge.search.candidates import headroom
from tofa_edge.selftest.conditions import conditions
from tofa_edge.selftest.records import passing_engines
from tofa_edge.serving.explanation import Explanation, Measured
from tofa_edge.serving.model import Model
from tofa_edge.storage.cache import CacheFolder, decision_key
from tofa_edge.storage.files import printable
from tofa_edge.storage.locks import exclusive
from tofa_edge.storage.plain import from_plain, to_plain

log = logging.getLogger(__name__)

WAIT_S = 900.0  # for another process's choice; some engines build for minutes
LEAST_RUNS, MOST_RUNS, SECONDS = 12, 30, 0.05
MOST_REMEMBERED, MOST_LINE = 20, 1000
MOST_BYTES = 256 * 2**20
OF_BUNDLE = 16  # letters of a key that are the bundle's
CACHE = CacheFolder("decisions", MOST_REMEMBERED, MOST_REMEMBERED * MOST_BYTES, MOST_BYTES)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was chosen.

    Attributes:
        subnet: as JSON.
        backend: name of the engine.
        target: of it.
        accuracy: expected, 0..1, or its stand-in.
        predicts_accuracy: whether the bundle has an accuracy predictor.
        explanation: how it was chosen, in lines.
        artefact_sha256: of the engine's artefact, hexadecimal.
        provisional: why it is to be made again; empty where it is not.
        load: cores that other programs kept busy meanwhile.
        decided_s: when, or when it was last tried to decide it again; seconds since 1970.
        own_ms: the limited percentile of its own latency, as measured then; 0 where not kept.
        logits: of one specimen image, (classes,), once its numbers were right; empty where not
            kept.
    """

    subnet: str
    backend: str
    target: Target
    accuracy: float
    predicts_accuracy: bool
    explanation: tuple[str, ...]
    artefact_sha256: str = ""
    provisional: str = ""
    load: float = 0.0
    decided_s: float = 0.0
    own_ms: float = 0.0
    logits: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Served:
    """A remembered network, loaded and measured again; whoever holds this closes the session."""

    engine: Engine
    session: Session
    measured: Measured


def decision_key_of(request: Request) -> str:
    """Returns the key that the choice for a request is remembered under on this machine.

    It depends on software, processor and cores, and not on what changes without meaning: the
    kernel's patch level, or a few kB of memory. It begins with the bundle's digest.
    """
    options, machine = request.options, fingerprint()
    asked = [options.backend, options.threads, options.precision, options.seed]
    return request.bundle.digest[:OF_BUNDLE] + decision_key(
        {
            "bundle": request.bundle.digest,
            "budget": dataclasses.asdict(request.budget),
            "asked": [request.subnet and request.subnet.to_json(), *asked],
            "device": [machine.board, machine.quota_cores, machine.maximum_clock_mhz],
            "conditions": conditions(working()),
        }
    )


def recall(key: str) -> tuple[Decision, bytes] | None:
    """Returns the decision remembered under a `key`, with its artefact, or None."""
    fields, artefact = CACHE.read(f"{key}.json"), CACHE.read(f"{key}.artefact")
    with contextlib.suppress(ValueError, RecursionError):
        decision = from_plain(Decision, json.loads(fields or b""))
        if hashlib.sha256(artefact or b"").hexdigest() == decision.artefact_sha256:
            return decision, artefact or b""
    return None


def remember(key: str, decision: Decision, artefact: bytes) -> str:
    """Keeps a decision and its artefact, and drops the least recently used beyond 20.

    Returns in one line why it is not kept; empty where it is.
    """
    reason = CACHE.keep(f"{key}.artefact", artefact)
    fields = json.dumps(to_plain(sealed(decision, artefact))).encode()
    return reason or CACHE.keep(f"{key}.json", fields)


def sealed(decision: Decision, artefact: bytes) -> Decision:
    """Returns a decision that can be written: with the hash of its artefact, in printable text.

    Args:
        decision: what was chosen.
        artefact: the engine's file.
    """
    lines = (printable(line, MOST_LINE) for line in decision.explanation)
    digest = hashlib.sha256(artefact).hexdigest()
    return replace(decision, explanation=tuple(lines), artefact_sha256=digest)


def forget(key: str) -> None:
    """Drops the decision remembered under a `key`, if it is there."""
    CACHE.forget(key)


@contextlib.contextmanager
def one_chooser(key: str | None, until: float) -> Iterator[bool]:
    """Waits while another process chooses under the same `key`; its decision can be recalled then.

    `until` is a time by `time.monotonic`. None for a key waits for nobody. Yields whether one
    waited.
    """
    with contextlib.ExitStack() as stack:
        waits = key is not None and stack.enter_context(exclusive(key, 0.0)) == "busy"
        if waits and key is not None:
            log.info("another process is choosing the same here: waiting for its decision")
            stack.enter_context(exclusive(key, WAIT_S, until))
        yield waits


def recalled(
    request: Request, key: str, trace: Trace, just_decided: bool = False
) -> tuple[Served, Decision] | None:
    """Returns the network chosen the last time if it still keeps the budget, and that decision.

    A decision that is damaged, or that no engine takes any more, is forgotten. One that another
    process has `just_decided` is taken as it is: all who waited for it start at once.
    """
    remembered = recall(key)
    if remembered is None:
        return None
    decision, artefact = remembered
    try:
        served = loaded_again(request, decision, artefact, trace)
    except (BackendError, SpaceError, SubnetError) as error:
        trace.note(f"the remembered choice is of no use any more ({error}): choosing again")
        forget(key)
        return None
    limit, latency = request.budget.latency_ms, served.measured.latency
    own = latency.percentile_ms(request.budget.percentile)
    over = limit is not None and own * headroom(served.engine) > limit
    if over and not just_decided and not latency.is_disturbed:
        served.session.close()
        trace.note(f"the remembered {served.measured.subnet} now takes {latency}: choosing again")
        forget(key)
        return None
    log.info(f"remembered {served.measured}")
    return served, decision


def loaded_again(request: Request, decision: Decision, artefact: bytes, trace: Trace) -> Served:
    """Returns a network chosen before, loaded from its artefact and measured by a few runs.

    Args:
        request: that it was chosen for.
        decision: what was chosen.
        artefact: the engine's file.
        trace: told how long it took.

    Raises:
        BackendError: the engine does not work here any more, refuses the artefact, or computes
            other numbers than when it was chosen.
        SpaceError: the decision names no subnet, or none of the bundle's space.
    """
    bundle, subnet = request.bundle, Subnet.from_json(decision.subnet)
    bundle.space.validate(subnet)
    engine = _engine(decision, request)
    with trace.timed("load"):
        session = engine.backend.load(artefact, engine.target)
    try:
        model = unexplained(bundle, session, subnet, engine)
        check_unchanged(model, decision.logits)
        latency = _measured_again(request, model, trace)
    except BaseException:
        session.close()
        raise
    cost = macs(layers(bundle.space, subnet))
    return Served(engine, session, Measured(subnet, str(engine), cost, decision.accuracy, latency))


def served_model(
    request: Request, served: Served, decision: Decision, trace: Trace, unknown_below: float = 0.0
) -> Model:
    """Returns the model of a network that was chosen before.

    Args:
        request: that it was chosen for.
        served: the network, loaded; the model closes it.
        decision: how it was chosen.
        trace: of what was done since.
        unknown_below: of the model.
    """
    explanation = trace.explanation(
        request.bundle.path,
        request.budget,
        served.measured,
        decision.predicts_accuracy,
        remembered="\n".join(decision.explanation),
    )
    subnet, engine = served.measured.subnet, served.engine
    return model_of(request.bundle, served.session, subnet, engine, explanation, unknown_below)


def decision_of(
    request: Request, finished: Finished, explanation: Explanation, provisional: Provisional
) -> Decision:
    """Returns what was chosen, and how, as it is remembered.

    Args:
        request: that it was chosen for.
        finished: the network.
        explanation: of the choice.
        provisional: whether it stands.
    """
    engine, measured = finished.engine, finished.measured
    model = unexplained(request.bundle, finished.session, measured.subnet, engine)
    return Decision(
        subnet=measured.subnet.to_json(),
        backend=engine.backend.name,
        target=engine.target,
        accuracy=measured.accuracy,
        predicts_accuracy=explanation.predicts_accuracy,
        explanation=tuple(str(explanation).splitlines()),
        provisional=provisional.reason,
        load=provisional.cores,
        decided_s=time.time(),
        own_ms=measured.latency.percentile_ms(request.budget.percentile),
        logits=tuple(float(each) for each in specimen_logits(model)),
    )


def _measured_again(request: Request, model: Model, trace: Trace) -> Latency:
    """Returns the own latency of a remembered network, by few runs.

    Also for a budget of observed latency: it was kept under a load that a few runs do not show.
    """
    own = replace(request.budget, latency="own")
    with trace.timed("measure"):
        stopwatch = Stopwatch(least_runs=LEAST_RUNS, most_runs=MOST_RUNS, seconds=SECONDS)
        return timed_carefully(model, stopwatch, own, request.until)


def _engine(decision: Decision, request: Request) -> Engine:
    python, threads = request.options.python, decision.target.threads
    offered = passing_engines(request.bundle, decision.backend, threads, python=python)
    found = next((engine for engine in offered if engine.target == decision.target), None)
    if found is None:
        raise BackendError(f"{decision.backend} {decision.target} does not work here")
    return found
