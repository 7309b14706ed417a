"""deploy(): a network for this device, or with `live` a model that serves for months."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import overload

from tofa_edge.architecture.space import Subnet
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.deploy import deployed, key_of, remembered_model
from tofa_edge.deployment.provisional import starter
from tofa_edge.deployment.remember import forget, loaded_again, served_model
from tofa_edge.deployment.request import (
    DeployOptions,
    Request,
    checked_limits,
    refuse_former,
    requested,
)
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import ImageError, LimitError, TofaError
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


@overload
def deploy(
    bundle: str | Path | Bundle,
    *,
    latency_ms: float | None = ...,
    memory_mb: float | None = ...,
    budget: Budget | None = ...,
    subnet: Subnet | None = ...,
    unknown_below: float = ...,
    remember: bool = ...,
    options: DeployOptions = ...,
    live: None = ...,
    **former: object,
) -> Model: ...


@overload
def deploy(
    bundle: str | Path | Bundle,
    *,
    latency_ms: float | None = ...,
    memory_mb: float | None = ...,
    budget: Budget | None = ...,
    subnet: Subnet | None = ...,
    unknown_below: float = ...,
    remember: bool = ...,
    options: DeployOptions = ...,
    live: LiveOptions,
    **former: object,
) -> LiveModel: ...


def deploy(
    bundle: str | Path | Bundle,
    *,
    latency_ms: float | None = None,
    memory_mb: float | None = None,
    budget: Budget | None = None,
    subnet: Subnet | None = None,
    unknown_below: float = 0.0,
    remember: bool = True,
    options: DeployOptions = DeployOptions(),  # noqa: B008 (frozen)
    live: LiveOptions | None = None,
    **former: object,
) -> Model | LiveModel:
    """Cuts a network out of a bundle for this device and returns it, loaded and measured.

    With a budget: the one with the best expected accuracy among the networks measured within it.
    With `subnet`: exactly that one. With neither: the largest.

    Args:
        bundle: a `.tofa` file, or one already opened.
        latency_ms: bounds the p95 of `model(x)` for one uint8 array of the network's input size.
        memory_mb: bounds by how much the process is expected to grow, in MB of 1e6 bytes.
        budget: these and more limits in one; instead of them.
        subnet: the very architecture to build, the same on every device.
        unknown_below: predictions of less probability, 0..1, say that they are not `known`.
        remember: whether to reuse and keep what was chosen here before; never with frames.
        options: which engines may be used, frames of this device's camera, how long to search.
        live: for a model that serves at once or by several networks, and tells what happens.
        former: none; arguments of earlier versions are refused, naming their new place.

    Raises:
        BundleError: the bundle is damaged, or has no photos and too few frames were given.
        BudgetError: no network measured is within the budget. Where a first network serves
            already, that is an event instead, as all that fails later.
        LimitError: a limit is no number in its range, or limits contradict each other.
        BackendError: no engine works here, or the one asked for does not.
        SubnetError: the bundle's space does not contain the subnet.
        ImageError: a calibration frame cannot be read.
        TypeError: an argument is unknown, or has moved to the options.
    """
    refuse_former(former)
    limits = checked_limits(latency_ms, memory_mb, budget, subnet)
    if live is not None:
        _check(live, limits, options)
    request = requested(bundle, limits, subnet, options)
    if live is None:
        return deployed(request, remember, unknown_below)
    return _live_model(request, live, remember, unknown_below)


def _check(live: LiveOptions, limits: Budget, options: DeployOptions) -> None:
    """Refuses what contradicts itself before anything is opened."""
    if live.ladder > 1 and limits.latency_ms is None:
        raise LimitError(
            f"wanted a latency_ms with a ladder of {live.ladder} networks, got none: it says when "
            "a faster one serves"
        )
    others = [f for f in options.calibration if not isinstance(f, str | os.PathLike)]
    if others and (live.serve_first or live.ladder > 1):
        raise ImageError(
            f"wanted frames as files with serve_first or a ladder, because another process reads "
            f"them; got {type(others[0]).__name__}: save them, and give their paths"
        )


def _live_model(
    request: Request, live: LiveOptions, remember: bool, unknown_below: float
) -> LiveModel:
    """Returns a model that serves; a process chooses what is missing where that is wanted."""
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
