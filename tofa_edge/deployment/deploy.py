"""deployed(): from a bundle to a running network, on this device, by measuring.

open the bundle → remembered? measure it again, done → self-test of the engines on the golden cases,
each in a process of its own → time those that pass on one subnet → measure a few subnets → predict
all, try the best: cut, calibrate, fold, build, load, compare with the reference, measure → correct
the prediction and try again → Model
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tofa_edge.backends.protocol import Engine
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.check import checked
from tofa_edge.deployment.choice import best_within, check_predicted, chooser_for, exactly
from tofa_edge.deployment.local_device import Finished, local_device
from tofa_edge.deployment.measure import model_of
from tofa_edge.deployment.profile import known_profiles, promising
from tofa_edge.deployment.provisional import (
    Asked,
    Provisional,
    asked_of,
    is_due,
    judged,
    look_now_and_then,
    note_disturbance,
    start_again,
    starter,
)
from tofa_edge.deployment.remember import (
    Decision,
    decision_key_of,
    decision_of,
    one_chooser,
    recall,
    recalled,
    served_model,
)
from tofa_edge.deployment.remember import remember as remember_decision
from tofa_edge.deployment.request import Request
from tofa_edge.deployment.screen import EngineFilter, fastest, screen, working_engines
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import BackendError
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.measurement.validity import snapshot
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.search.forecast import expected_drop
from tofa_edge.serving.explanation import Explanation
from tofa_edge.serving.model import Model

MADE_AGAIN = (
    ": it is made again in the background when the load is clearly lower, at most once an hour"
)


def deployed(request: Request, remember: bool, unknown_below: float) -> Model:
    """Returns the network that was chosen before, or chooses.

    Args:
        request: what is wanted.
        remember: whether choices are reused and kept.
        unknown_below: of the model.
    """
    key, trace = key_of(request, remember), Trace()
    model = remembered_model(request, key, trace, unknown_below)
    if model is None:
        with one_chooser(key, request.until) as waited:
            if waited:  # for the decision of another process
                model = remembered_model(request, key, trace, unknown_below, just_decided=True)
            model = model or chosen_and_kept(request, key, trace, unknown_below)
    return model


def key_of(request: Request, remember: bool) -> str | None:
    """Returns what a choice is remembered under; None with frames, or where none is to be kept.

    Args:
        request: what is wanted.
        remember: whether choices are reused and kept.
    """
    return decision_key_of(request) if remember and not request.options.calibration else None


def chosen_and_kept(
    request: Request,
    key: str | None,
    trace: Trace,
    unknown_below: float,
    tell: Callable[[Decision, bytes], None] | None = None,
) -> Model:
    """Chooses a network, checks it, remembers it, and returns its model.

    Args:
        request: what is wanted.
        key: to remember it under; None for not at all.
        trace: of what was done so far.
        unknown_below: of the model.
        tell: given the decision and the engine's artefact, whether they are remembered or not.
    """
    choice = _chosen(request, trace)
    finished, provisional = choice.finished, choice.provisional
    trace.note(choice.cutter.about_statistics(finished.measured.subnet))
    check = checked(finished, request, choice.cutter, choice.calibrating, choice.predictor, trace)
    if provisional.reason:
        again = key is not None and starter(request.options.python) is not None
        trace.note(f"provisional, as {provisional.reason}{MADE_AGAIN if again else ''}")

    def explained() -> Explanation:
        return trace.explanation(
            request.bundle.path,
            request.budget,
            finished.measured,
            choice.predictor is not None or finished.measured.subnet in request.tested,
            difference=finished.difference,
            check=None if check is None else (check.right, check.count),
        )

    decision = decision_of(request, finished, explained(), provisional)
    reason = remember_decision(key, decision, finished.artefact) if key is not None else ""
    if tell is not None:
        tell(decision, finished.artefact)
    if reason:
        trace.note(f"this choice is not remembered: {reason}")
    elif key is not None and provisional.reason:
        with contextlib.suppress(Exception):  # no deployment fails for what comes after it
            _look_now_and_then(request, key)
    explanation = explained()
    subnet, engine = finished.measured.subnet, finished.engine
    return model_of(request.bundle, finished.session, subnet, engine, explanation, unknown_below)


def remembered_model(
    request: Request,
    key: str | None,
    trace: Trace,
    unknown_below: float,
    just_decided: bool = False,
) -> Model | None:
    """Returns the model of what was chosen before; a provisional choice may be made again.

    Args:
        request: what is wanted.
        key: it was remembered under; None finds nothing.
        trace: told why a choice is of no use any more.
        unknown_below: of the model.
        just_decided: whether another process chose it a moment ago.
    """
    found = recalled(request, key, trace, just_decided) if key is not None else None
    if found is None or key is None:
        return None
    served, decision = found
    if decision.provisional:
        with contextlib.suppress(Exception):
            if not _make_again(asked_of(request, key)):
                _look_now_and_then(request, key)
    return served_model(request, served, decision, trace, unknown_below)


def _look_now_and_then(request: Request, key: str) -> None:
    asked = asked_of(request, key)  # the bundle need not stay open for it
    look_now_and_then(key, lambda: _make_again(asked))


def _make_again(asked: Asked) -> bool:
    """Starts a process that makes a provisional choice again if that is due.

    Returns whether nothing is left to do.
    """
    found = recall(asked.key)
    if found is None or not found[0].provisional:
        return True
    decision, artefact = found
    if not is_due(decision.load, decision.decided_s):
        return False
    now = time.time()
    if not remember_decision(asked.key, replace(decision, decided_s=now), artefact):
        start_again(replace(asked, decided_s=now))
    return False


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """The network to serve, and what it was made with.

    Attributes:
        finished: the network.
        provisional: whether the choice stands.
        cutter: that it was cut with.
        calibrating: the engine that computes in float for others.
        predictor: of accuracy; None where the bundle has none.
    """

    finished: Finished
    provisional: Provisional
    cutter: Cutter
    calibrating: Engine
    predictor: AccuracyPredictor | None


def _chosen(request: Request, trace: Trace) -> Choice:
    """Returns the network to serve: the very one asked for, or the best within the budget."""
    bundle, options, fixed = request.bundle, request.options, request.fixed
    with trace.timed("read"):
        cutter = Cutter(bundle, options.calibration, options.frames_share)
        predictor = bundle.accuracy_predictor()
    if options.calibration:
        trace.note(cutter.about_frames())
    check_predicted(request, predictor)
    exact = fixed is not None or not cutter.can_calibrate()
    allowed = EngineFilter(options.backend, options.threads, options.precision, exact)
    with trace.timed("self_test"):
        engines = working_engines(bundle, allowed, trace, options.python)
    with measuring_turn(deadline=request.until) as turn:
        if turn == "busy":
            trace.note("another process measures here, too: latencies may be too high")
        before, profiles = snapshot(), known_profiles()
        offered = promising(engines.offered, bundle.space, profiles)
        with trace.timed("screen"):
            device = local_device(
                cutter, offered, engines.calibrating, trace, request.budget, predictor,
                request.until,
            )  # fmt: skip
            candidates = screen(device, fixed or bundle.space.middle(), offered)
        if fixed is not None:
            with trace.timed("screen"):
                engine = fastest(device, fixed, candidates)
            accuracy = request.tested.get(fixed)
            if accuracy is not None:
                accuracy -= expected_drop(predictor, engine.target)
            finished = exactly(device, fixed, engine, request.budget, accuracy)
        else:
            tested = {s: share for s, share in request.tested.items() if cutter.can_cut(s)}
            chooser = chooser_for(request, predictor, candidates, profiles, tested)
            finished = best_within(device, chooser)
        provisional = judged(before, snapshot(), request.budget)
        if finished.measured.latency.is_disturbed:
            with contextlib.suppress(BackendError):  # it is only told
                smallest = device.measured_as_stored(bundle.space.smallest(), finished.engine)
                note_disturbance(finished.measured, smallest, trace)
    return Choice(finished, provisional, cutter, engines.calibrating, predictor)
