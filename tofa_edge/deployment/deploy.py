"""deploy(): from a bundle to a running network, on this device, by measuring.

open the bundle → remembered? measure it again, done → self-test of the engines on the golden cases,
each in a process of its own → time those that pass on one subnet → measure a few subnets → predict
all, try the best: cut, calibrate, fold, build, load, compare with the reference, measure → correct
the prediction and try again → Model
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.backends.registry import working
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.images import ImageSource
from tofa_edge.cutting.cutter import FRAMES_SHARE, Cutter
from tofa_edge.deployment.choose import Chooser, Pick, fastest_candidates
from tofa_edge.deployment.finish import Finished, Finisher
from tofa_edge.deployment.forecast import Forecast
from tofa_edge.deployment.profile import known_forecasts, known_profiles, promising
from tofa_edge.deployment.remember import kept, recalled
from tofa_edge.deployment.screen import Candidate, EngineFilter, candidates_here, fastest
from tofa_edge.device.machine import fingerprint
from tofa_edge.device_profiles.profile import Profile
from tofa_edge.errors import BackendError, BudgetError, LimitError, SubnetError
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.serving.model import Model
from tofa_edge.storage.cache import decision_key
from tofa_edge.storage.plain import to_plain

TRIES = 3
UNSTEADY = 3.0  # p95 over p50 that tells of background load
CAUTIOUS = 0.6  # of the budget is aimed at when all tries were over it


def deploy(
    bundle: str | Path | Bundle,
    *,
    latency_ms: float | None = None,
    memory_mb: float | None = None,
    budget: Budget | None = None,
    subnet: Subnet | None = None,
    backend: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    calibration: Sequence[ImageSource] = (),
    frames_share: float = FRAMES_SHARE,
    unknown_below: float = 0.0,
    max_seconds: float | None = None,
    remember: bool = True,
    seed: int = 0,
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
        backend: an engine's name; by default the fastest one here that computes correctly.
        threads: by default the fastest number here.
        precision: "fp32", "fp16", "int8" or "dynamic"; by default whatever serves the budget best,
            and float where there is none. What integers cost is measured on the bundle's photos;
            `Budget.max_accuracy_drop` bounds it.
        calibration: frames of this device's own camera, of as many different scenes as there are.
            Of those that look alike one counts.
        frames_share: at most so much of the 256 images that calibrate, 0..1, are frames, unless
            the bundle has too few photos. Give 1 where the camera differs much from the training
            photos and the frames show every class about as often as it will come.
        unknown_below: predictions of less probability, 0..1, say that they are not `known`.
        max_seconds: to measure at most, about; with less, the prediction is worse and so the
            network may be smaller than it could be. It is measured within the budget all the same.
        remember: whether to reuse and keep what was chosen here before; never with frames.
        seed: of the search.

    Raises:
        BundleError: the bundle is damaged, or has no photos and too few frames were given.
        BudgetError: no network measured is within the budget.
        LimitError: a limit or the seed is no number in its range, or limits contradict each other.
        BackendError: no engine works here, or the one asked for does not.
        SubnetError: the bundle's space does not contain the subnet.
        ImageError: a calibration frame cannot be read, or their share is out of range.
    """
    limits = checked_limits(latency_ms, memory_mb, budget, subnet, seed)
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    if subnet is not None:
        opened.space.validate(subnet)
    until = time.monotonic() + max_seconds if max_seconds else float("inf")
    finisher, key, model = Finisher(opened, limits), None, None
    if remember and not calibration:
        key = _key(opened, limits, subnet, [backend, threads, precision, seed])
        model = recalled(finisher, key)
    if model is None:
        with finisher.timed("read"):
            finisher.cutter = Cutter(opened, calibration, frames_share)
        if calibration:
            finisher.note(finisher.cutter.about_frames())
        finished = _finished(
            finisher, subnet, EngineFilter(backend, threads, precision), seed, until
        )
        model = finisher.delivered(finished)
        if key is not None:
            kept(finisher, key, finished)
    model.unknown_below = unknown_below
    return model


def checked_limits(
    latency_ms: float | None,
    memory_mb: float | None,
    budget: Budget | None,
    subnet: Subnet | None,
    seed: int = 0,
) -> Budget:
    """Returns the limits as one budget; a subnet takes none, and a seed is no less than 0."""
    if seed < 0:
        raise LimitError(f"wanted a seed of 0 or more, got {seed}")
    if subnet is not None and not isinstance(subnet, Subnet):
        raise SubnetError(f"wanted a Subnet, got {subnet!r}: Subnet.from_json reads printed ones")
    if budget is not None and not (latency_ms is None and memory_mb is None):
        raise LimitError("wanted either budget, or latency_ms and memory_mb; got both")
    limits = budget or Budget(latency_ms=latency_ms, memory_mb=memory_mb)
    if subnet is not None and not limits.is_free:
        raise LimitError(f"wanted a budget or a subnet, got {limits} and {subnet}")
    return limits


def _key(bundle: Bundle, limits: Budget, subnet: Subnet | None, options: Sequence[object]) -> str:
    return decision_key(
        {
            "bundle": bundle.digest,
            "budget": dataclasses.asdict(limits),
            "asked": [subnet and subnet.to_json(), *options],
            "device": to_plain(fingerprint()),
            "versions": [__version__, *(item.version() for item in working().values())],
        }
    )


def _finished(
    finisher: Finisher, subnet: Subnet | None, allowed: EngineFilter, seed: int, until: float
) -> Finished:
    """Returns the subnet given, else the largest without limits, else the best within them."""
    space, profiles = finisher.bundle.space, known_profiles()
    with measuring_turn(deadline=until) as turn:
        if turn == "busy":
            finisher.note("another process measures here, too: latencies may be too high")
        fixed = subnet or (space.largest() if finisher.budget.is_free else None)
        exact = fixed is not None or not finisher.cutter.can_calibrate()
        candidates = candidates_here(
            finisher,
            fixed or space.middle(),
            dataclasses.replace(allowed, exact=exact),
            lambda offered: promising(offered, space, profiles),
        )
        if fixed is not None:
            with finisher.timed("screen"):
                engine = fastest(finisher, fixed, candidates)
            finished = finisher.finished(fixed, engine)
            reason = _refusal(finished, finisher.budget)
            if reason:
                finished.model.close()
                raise BudgetError(f"{reason}; take fp32, or allow it (max_accuracy_drop)")
        else:
            rng = np.random.default_rng(seed)
            finished = _chosen(finisher, fastest_candidates(candidates), profiles, rng, until)
    latency = finished.measured.latency
    if latency.p95_ms > UNSTEADY * latency.p50_ms:
        finisher.note(
            f"p95 is {latency.p95_ms / latency.p50_ms:.0f} × p50: other programs kept this machine "
            "busy; deploy again when it is idle (--no-cache, remember=False)"
        )
    return finished


def _chosen(
    finisher: Finisher,
    candidates: list[Candidate],
    profiles: list[Profile],
    rng: np.random.Generator,
    until: float,
) -> Finished:
    """Returns the best network measured within the budget."""
    bundle, device = finisher.bundle, fingerprint()

    def known(engine: Engine) -> list[Forecast]:
        return known_forecasts(bundle.space, engine, device, profiles)

    predictor = bundle.accuracy_predictor()
    chooser = Chooser(bundle.space, predictor, finisher.budget, candidates, rng, until, known)
    finisher.explanation.predicts_accuracy = predictor is not None
    if finisher.budget.accuracy is not None and predictor is None:
        raise BudgetError(
            f"{bundle.path} has no accuracy predictor, so a budget cannot ask for an "
            "accuracy: train it with --predictor-subnets 240"
        )
    if finisher.budget.latency_ms is not None:
        with finisher.timed("measure"):
            chooser.measure(finisher.quickly_measured)
    best: Finished | None = None
    tries = 0
    while tries < TRIES:
        with finisher.timed("search"):
            pick = chooser.pick(better_than=best.measured.accuracy if best else None)
        if pick is None or (best is not None and time.monotonic() > until):
            break
        best, counts = _better(finisher, chooser, best, pick)
        tries += counts
    return best or _fallback(finisher, chooser)


def _better(
    finisher: Finisher, chooser: Chooser, best: Finished | None, pick: Pick
) -> tuple[Finished | None, bool]:
    """Tries a pick: returns it if it keeps the budget, else what was the best before.

    Also whether that counts as a try: not where its precision was given up for its accuracy.
    """
    target = pick.engine.target
    try:
        tried = finisher.finished(pick.subnet, pick.engine, pick.accuracy, pick.predicted_ms)
    except BackendError as error:
        if not target.is_integer or not chooser.give_up(target.precision):
            raise
        finisher.note(f"{error}: not used in {target.precision}")
        return best, False
    if _refusal(tried, finisher.budget):
        tried.model.close()
        return best, not chooser.give_up(target.precision)
    chooser.observe(pick.subnet, pick.engine, tried.measured.latency)
    keeps = chooser.allows(pick.subnet, tried.measured.latency, pick.engine)
    worse = best if keeps else tried
    if worse is not None:
        worse.model.close()
    return (tried if keeps else best), True


def _refusal(finished: Finished, budget: Budget) -> str:
    drop = finished.measured.drop
    return drop.refusal(budget.max_accuracy_drop) if drop is not None else ""


def _fallback(finisher: Finisher, chooser: Chooser) -> Finished:
    """Returns the best of what was measured on the way, else a cautious pick, else the smallest."""
    smallest, engine = finisher.bundle.space.smallest(), chooser.fastest_engine
    within: list[tuple[Subnet, Engine, float | None]] = [
        (measured.subnet, by, measured.accuracy)
        for measured, by in sorted(finisher.on_the_way, key=lambda item: -item[0].accuracy)
        if chooser.allows(measured.subnet, measured.latency, by)
    ]
    cautious = None if within else chooser.pick(share=CAUTIOUS)
    if cautious is not None:
        within.append((cautious.subnet, cautious.engine, cautious.accuracy))
    for subnet, by, accuracy in [*within[:TRIES], (smallest, engine, None)]:
        tried = finisher.finished(subnet, by, accuracy)
        keeps = chooser.allows(subnet, tried.measured.latency, by)
        if keeps and not _refusal(tried, finisher.budget):
            return tried
        tried.model.close()
    exceeded = chooser.exceeded(smallest, engine)
    if exceeded:
        raise BudgetError(f"wanted {finisher.budget}; {exceeded}: allow more, or less accuracy")
    raise BudgetError(
        f"wanted {finisher.budget} on {engine}; the fastest network measured is "
        f"{finisher.explanation.fastest()}: allow more, stop other programs, or use a faster "
        "machine"
    )
