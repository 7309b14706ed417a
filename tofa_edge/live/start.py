"""How a live model starts: with what is remembered, or a first network, while a process chooses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tofa_edge.deployment.deploy import deployed, key_of, remembered_model
from tofa_edge.deployment.provisional import starter
from tofa_edge.deployment.remember import forget, loaded_again, served_model
from tofa_edge.deployment.request import Request, requested
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import TofaError
from tofa_edge.live.choosing import Choosing
from tofa_edge.live.events import EventLog
from tofa_edge.live.first import first_rung
from tofa_edge.live.model import LiveModel
from tofa_edge.live.options import LiveOptions
from tofa_edge.live.order import Answer, order_of
from tofa_edge.live.rungs import Rung, rung_of
from tofa_edge.live.throttling import ThrottleWatch
from tofa_edge.selftest.interpreter import Interpreter
from tofa_edge.selftest.records import engine_records
from tofa_edge.serving.explanation import Measured
from tofa_edge.serving.model import Model


def live_model(
    request: Request, live: LiveOptions, remember: bool, unknown_below: float
) -> LiveModel:
    """Returns a model that serves; a process chooses what is missing where that is wanted.

    Args:
        request: what is wanted.
        live: how it serves.
        remember: whether choices are reused and kept.
        unknown_below: of the model.
    """
    events, starts = EventLog(live.on_event), starter(request.options.python)
    first: Rung | None = None
    if live.serve_first and starts is not None:
        known = remembered_model(request, key_of(request, remember), Trace(), unknown_below)
        first = first_rung(request, unknown_below) if known is None else _rung(request, known)
    first = first or _rung(request, deployed(request, remember, unknown_below))
    model = LiveModel(first, events, request.budget)
    choose = partial(_choose_others, model, request, live, remember, events, starts)
    model.restores_by(partial(_restored, model, request, remember, choose))
    if live.ladder > 1:
        throttle_watch = ThrottleWatch(model.hold)
        model.owns(throttle_watch.stop)
        throttle_watch.start()
    if not first.chosen or live.ladder > 1:
        choose(first)
    return model


def _restored(
    model: LiveModel,
    request: Request,
    remember: bool,
    choose: Callable[[Rung], None],
    failed: tuple[str, ...],
) -> None:
    """Lets a first network serve again, and chooses anew without the engines that `failed`."""
    key = key_of(request, remember)
    if key is not None:
        forget(key)
    engine_records(request.bundle, failed, again=True, python=request.options.python)
    first = first_rung(request, model.unknown_below)
    model.take(first)
    model.serve(first, "no other network computes right")
    choose(first)


def _choose_others(
    model: LiveModel,
    request: Request,
    live: LiveOptions,
    remember: bool,
    events: EventLog,
    starts: Interpreter | None,
    first: Rung,
) -> None:
    """Starts the process that chooses; the model stops it."""
    if starts is None:
        events.add("not chosen", "no Python to choose further networks with: see TOFA_EDGE_PYTHON")
        return

    def take(answer: Answer, artefact: bytes) -> None:
        reason = answer.failure
        if answer.decision is not None:
            try:
                model.take(_loaded(request, answer, artefact))
            except TofaError as error:
                reason = str(error)
        if reason:
            which = "the network" if answer.rung == 0 else f"faster network {answer.rung}"
            events.add("not chosen", f"{which}: {reason}")

    def failed(reason: str) -> None:
        events.add("not chosen", reason)

    top_ms = first.own_ms or 0.0 if first.chosen else 0.0
    order = order_of(request, remember, live.ladder, top_ms)
    choosing = Choosing(order, starts, take, failed)
    model.owns(choosing.stop)
    choosing.start()


def _loaded(request: Request, answer: Answer, artefact: bytes) -> Rung:
    """Returns a network that another process chose, loaded and measured here by a few runs."""
    decision, trace = answer.decision, Trace()
    assert decision is not None
    asked = requested(request.bundle, answer.budget, request.subnet, request.options)
    served = loaded_again(asked, decision, artefact, trace)
    model = served_model(asked, served, decision, trace)
    accuracy, own_ms = _known(asked, served.measured, decision.predicts_accuracy)
    if decision.own_ms:  # measured longer, and with less else in the process
        own_ms = min(own_ms, decision.own_ms)
    return rung_of(model, accuracy, own_ms)


def _rung(request: Request, model: Model) -> Rung:
    explanation = model.explanation
    measured = explanation.chosen
    if measured is None:
        return rung_of(model)
    return rung_of(model, *_known(request, measured, explanation.predicts_accuracy))


def _known(request: Request, measured: Measured, predicts: bool) -> tuple[float | None, float]:
    """Returns the accuracy expected, where something tells, and the own latency in ms."""
    own_ms = measured.latency.percentile_ms(request.budget.percentile)
    return measured.accuracy if predicts else None, own_ms
