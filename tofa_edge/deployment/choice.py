"""The best network measured within a budget: predicted, tried, corrected, tried again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

import numpy as np

from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.budget import Budget
from tofa_edge.deployment.local_device import Finished
from tofa_edge.deployment.profile import known_forecasts
from tofa_edge.deployment.request import Request
from tofa_edge.deployment.trace import Trace
from tofa_edge.device.machine import fingerprint
from tofa_edge.device_profiles.profile import Profile
from tofa_edge.errors import BackendError, BudgetError
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.search.candidates import Candidate, fastest_candidates
from tofa_edge.search.chooser import Chooser, Pick
from tofa_edge.search.finalists import FinalistChooser
from tofa_edge.search.forecast import Forecast
from tofa_edge.serving.explanation import Measured

TRIES, MORE_TRIES = 3, 5  # what is observed varies more than what is predicted, and bold tries fail
CAUTIOUS = 0.6  # of the budget is aimed at when all tries were over it


class Device(Protocol):
    """What a choice needs of a machine: `LocalDevice` here, a formula in tests."""

    @property
    def trace(self) -> Trace:
        """Where it writes down what it measures."""

    def measure(self, subnet: Subnet, engine: Engine) -> Measured:
        """Returns a subnet measured to learn from."""

    def finish(
        self,
        subnet: Subnet,
        engine: Engine,
        accuracy: float | None = None,
        predicted_ms: float | None = None,
    ) -> Finished:
        """Returns a subnet as it would serve, measured; see `LocalDevice.finish`."""


def best_within(device: Device, chooser: Chooser) -> Finished:
    """Returns the best network measured within a chooser's budget.

    Raises:
        BackendError: the engine computes wrong numbers.
        BudgetError: no network measured is within the budget.
    """
    if chooser.budget.latency_ms is not None:
        with device.trace.timed("measure"):
            chooser.measure(partial(_measured, device))
    best: Finished | None = None
    tries, most = 0, MORE_TRIES if chooser.budget.is_observed or chooser.is_bold else TRIES
    try:
        while tries < most:
            with device.trace.timed("search"):
                pick = chooser.pick(better_than=best.measured.accuracy if best else None)
            if pick is None or (best is not None and time.monotonic() > chooser.until):
                break
            best, counts = _better(device, chooser, best, pick)
            tries += counts
    except BaseException:
        if best is not None:
            best.session.close()
        raise
    best = best or _fallback(device, chooser)
    if chooser.budget.is_observed:
        _note_own_choice(device, chooser, best)
    return best


def _measured(device: Device, subnet: Subnet, engine: Engine) -> Latency | None:
    """Returns a latency to learn from; None where the engine fails on this subnet."""
    try:
        return device.measure(subnet, engine).latency
    except BackendError as error:
        device.trace.note(f"{error}: not learned from")
        return None


def _note_own_choice(device: Device, chooser: Chooser, best: Finished) -> None:
    """Tells what own latency would choose, beside what the observed one did."""
    own = chooser.by_own_latency()
    if own is None:
        device.trace.note("by own latency no network is expected within the budget either")
    elif own.subnet == best.measured.subnet:
        device.trace.note("by own latency the choice would be the same")
    else:
        device.trace.note(
            f"by own latency the choice would be {own.subnet} on {own.engine}, expected at "
            f"{own.predicted_ms:.2f} ms"
        )


def exactly(
    device: Device, subnet: Subnet, engine: Engine, budget: Budget, accuracy: float | None = None
) -> Finished:
    """Returns a subnet on an engine, whatever it takes; with its tested `accuracy`, if known.

    Raises:
        BackendError: the engine computes wrong numbers.
        BudgetError: rounding to integers costs more than the budget allows.
    """
    finished = device.finish(subnet, engine, accuracy)
    reason = _refusal(finished, budget)
    if reason:
        finished.session.close()
        raise BudgetError(f"{reason}; take fp32, or allow it (max_accuracy_drop)")
    return finished


def _better(
    device: Device, chooser: Chooser, best: Finished | None, pick: Pick
) -> tuple[Finished | None, bool]:
    """Tries a pick: returns it if it keeps the budget, else what was the best before.

    Also whether that counts as a try: not where its precision was given up for its accuracy.
    """
    target, engine = pick.engine.target, pick.engine
    try:
        tried = device.finish(pick.subnet, pick.engine, pick.accuracy, pick.predicted_ms)
    except BackendError as error:
        if target.is_integer:
            others_left, what = chooser.give_up(target.precision), f"in {target.precision}"
        else:
            others_left, what = chooser.give_up_engine(engine), "any more"
        if not others_left and best is None:
            raise
        device.trace.note(f"{error}: not used {what}")
        return best, not others_left
    if _refusal(tried, chooser.budget):
        tried.session.close()
        return best, not chooser.give_up(target.precision)
    chooser.observe(pick.subnet, pick.engine, tried.measured.latency)
    keeps = chooser.allows(pick.subnet, tried.measured.latency, pick.engine)
    worse = best if keeps else tried
    if worse is not None:
        worse.session.close()
    return (tried if keeps else best), True


def _refusal(finished: Finished, budget: Budget) -> str:
    drop = finished.measured.drop
    return drop.refusal(budget.max_accuracy_drop) if drop is not None else ""


def _fallback(device: Device, chooser: Chooser) -> Finished:
    """Returns the best of what was measured on the way, else a cautious pick, else the smallest."""
    smallest, engine, budget = chooser.space.smallest(), chooser.fastest_engine, chooser.budget
    engines = {str(each): each for each in chooser.forecasts}
    on_the_way = [
        (measured.subnet, engines[measured.engine])
        for measured in device.trace.measured
        if measured.engine in engines
        and chooser.allows(measured.subnet, measured.latency, engines[measured.engine])
    ]
    within: list[tuple[Subnet, Engine, float | None]] = [
        (subnet, by, chooser.expected_accuracy(subnet, by)) for subnet, by in on_the_way
    ]
    within.sort(key=lambda item: -(item[2] or 0.0))
    cautious = None if within else chooser.pick(share=CAUTIOUS)
    if cautious is not None:
        within.append((cautious.subnet, cautious.engine, cautious.accuracy))
    for subnet, by, accuracy in [*within[:TRIES], (smallest, engine, None)]:
        try:
            tried = device.finish(subnet, by, accuracy)
        except BackendError as error:
            if subnet == smallest:
                raise
            device.trace.note(f"{error}: not used")
            continue
        keeps = chooser.allows(subnet, tried.measured.latency, by)
        if keeps and not _refusal(tried, budget):
            return tried
        tried.session.close()
    exceeded = chooser.exceeded(smallest, engine)
    if exceeded:
        raise BudgetError(f"wanted {budget}; {exceeded}: allow more, or less accuracy")
    raise BudgetError(
        f"wanted {budget} on {engine}; the fastest network measured is "
        f"{device.trace.fastest(budget)}: allow more, stop other programs, or use a faster machine"
    )


def chooser_for(
    request: Request,
    predictor: AccuracyPredictor | None,
    candidates: list[Candidate],
    profiles: list[Profile],
    tested: Mapping[Subnet, float] = MappingProxyType({}),
) -> Chooser:
    """Returns what chooses among the fastest candidates, beginning with what profiles know.

    Of the subnets that the host has `tested`, by their accuracies, or if there are none of all.
    """
    space, device = request.bundle.space, fingerprint()

    def known(engine: Engine) -> list[Forecast]:
        return known_forecasts(space, engine, device, profiles)

    rng = np.random.default_rng(request.options.seed)
    two = fastest_candidates(candidates)
    whole = (space, predictor, request.budget, two, rng, request.until, known)
    return FinalistChooser(*whole, tested) if tested else Chooser(*whole)


def check_predicted(request: Request, predictor: AccuracyPredictor | None) -> None:
    """Checks that an accuracy is asked for only where one is predicted, or was tested.

    Raises:
        BudgetError: it is asked for, and the bundle has no predictor.
    """
    if request.budget.accuracy is not None and predictor is None and not request.tested:
        raise BudgetError(
            f"{request.bundle.path} has no accuracy predictor, so a budget cannot ask for an "
            "accuracy: train it with more than 0 --predictor-subnets"
        )
