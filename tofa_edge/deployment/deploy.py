"""deploy(): from a bundle to a running network, on this device, by measuring.

open the bundle → remembered? measure it again, done → self-test of the engines on the golden cases,
each in a process of its own → time those that pass on one subnet → measure a few subnets → predict
all, try the best: cut, calibrate, fold, build, load, compare with the reference, measure → correct
the prediction and try again → Model
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.check import checked
from tofa_edge.deployment.choice import best_within, exactly
from tofa_edge.deployment.local_device import Finished, local_device
from tofa_edge.deployment.measure import model_of
from tofa_edge.deployment.profile import known_forecasts, known_profiles, promising
from tofa_edge.deployment.remember import decision_key_of, keep, recalled
from tofa_edge.deployment.request import (
    DeployOptions,
    Request,
    checked_limits,
    refuse_former,
    requested,
)
from tofa_edge.deployment.screen import EngineFilter, fastest, screen, working_engines
from tofa_edge.deployment.trace import Trace
from tofa_edge.device.machine import fingerprint
from tofa_edge.device_profiles.profile import Profile
from tofa_edge.errors import BudgetError
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.search.candidates import Candidate, fastest_candidates
from tofa_edge.search.chooser import Chooser
from tofa_edge.search.forecast import Forecast
from tofa_edge.serving.model import Model

UNSTEADY = 3.0  # p95 over p50 that tells of background load


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
    **former: object,
) -> Model:
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
        former: none; arguments of earlier versions are refused, naming their new place.

    Raises:
        BundleError: the bundle is damaged, or has no photos and too few frames were given.
        BudgetError: no network measured is within the budget.
        LimitError: a limit is no number in its range, or limits contradict each other.
        BackendError: no engine works here, or the one asked for does not.
        SubnetError: the bundle's space does not contain the subnet.
        ImageError: a calibration frame cannot be read.
        TypeError: an argument is unknown, or has moved to the options.
    """
    refuse_former(former)
    limits = checked_limits(latency_ms, memory_mb, budget, subnet)
    request, trace = requested(bundle, limits, subnet, options), Trace()
    key = decision_key_of(request) if remember and not options.calibration else None
    model = recalled(request, key, trace, unknown_below) if key else None
    if model is not None:
        return model
    finished, predictor = _chosen(request, trace)
    check = checked(finished, request, trace)
    explanation = trace.explanation(
        request.bundle.path,
        limits,
        finished.measured,
        predictor is not None,
        difference=finished.difference,
        check=check,
    )
    if key is not None:
        keep(key, finished, explanation)
    served = finished.measured.subnet, finished.engine, explanation, unknown_below
    return model_of(request.bundle, finished.session, *served)


def _chosen(request: Request, trace: Trace) -> tuple[Finished, AccuracyPredictor | None]:
    """Returns the network to serve, and what predicted its accuracy."""
    bundle, options, fixed = request.bundle, request.options, request.fixed
    with trace.timed("read"):
        cutter = Cutter(bundle, options.calibration, options.frames_share)
        predictor = bundle.accuracy_predictor()
    if options.calibration:
        trace.note(cutter.about_frames())
    if request.budget.accuracy is not None and predictor is None:
        raise BudgetError(
            f"{bundle.path} has no accuracy predictor, so a budget cannot ask for an "
            "accuracy: train it with --predictor-subnets 240"
        )
    with measuring_turn(deadline=request.until) as turn:
        if turn == "busy":
            trace.note("another process measures here, too: latencies may be too high")
        exact = fixed is not None or not cutter.can_calibrate()
        allowed = EngineFilter(options.backend, options.threads, options.precision, exact)
        with trace.timed("self_test"):
            engines = working_engines(bundle, allowed, trace)
        profiles = known_profiles()
        offered = promising(engines.offered, bundle.space, profiles)
        with trace.timed("screen"):
            device = local_device(
                cutter, offered, engines.calibrating, trace, request.budget, predictor
            )
            candidates = screen(device, fixed or bundle.space.middle(), offered)
        if fixed is not None:
            with trace.timed("screen"):
                engine = fastest(device, fixed, candidates)
            finished = exactly(device, fixed, engine, request.budget)
        else:
            chooser = chooser_for(request, predictor, candidates, profiles)
            finished = best_within(device, chooser)
    _note_disturbance(finished, trace)
    return finished, predictor


def chooser_for(
    request: Request,
    predictor: AccuracyPredictor | None,
    candidates: list[Candidate],
    profiles: list[Profile],
) -> Chooser:
    """Returns what chooses among the fastest candidates, beginning with what profiles know."""
    space, device = request.bundle.space, fingerprint()

    def known(engine: Engine) -> list[Forecast]:
        return known_forecasts(space, engine, device, profiles)

    rng = np.random.default_rng(request.options.seed)
    two = fastest_candidates(candidates)
    return Chooser(space, predictor, request.budget, two, rng, request.until, known)


def _note_disturbance(finished: Finished, trace: Trace) -> None:
    latency = finished.measured.latency
    if latency.p95_ms > UNSTEADY * latency.p50_ms:
        trace.note(
            f"p95 is {latency.p95_ms / latency.p50_ms:.0f} × p50: other programs kept this machine "
            "busy; deploy again when it is idle (--no-cache, remember=False)"
        )
