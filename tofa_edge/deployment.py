"""deploy(): from a bundle to a running network, on this device, by measuring.

open the bundle → screen the engines → the fastest proves itself on the golden cases → choose a
subnet: predict, measure, correct → cut, calibrate, fold, build, load → compare with the reference
→ measure once more → Model
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tofa_edge import backends
from tofa_edge.backends import Backend, Engine
from tofa_edge.bundle import Bundle
from tofa_edge.cost import macs
from tofa_edge.cutting import CALIBRATION_IMAGES, Cutter
from tofa_edge.errors import BackendError, BudgetError, TofaError
from tofa_edge.explanation import Explanation, Measured, Screened
from tofa_edge.images import ImageSource
from tofa_edge.layers import layers
from tofa_edge.measurement import Latency, measure
from tofa_edge.model import Model
from tofa_edge.network import ImageArray, Network
from tofa_edge.proof import TOLERANCE, disproof, reference_difference
from tofa_edge.search import accuracy_proxy, candidates, predicted_ms
from tofa_edge.space import Subnet

QUICK_CALIBRATION_IMAGES = 32  # enough to time a network: calibrated, so without denormals
CANDIDATES = 2000
MOST_MEASUREMENTS = 6
MOST_FINISHED = 3
MOST_REPEATS = 2
SHRINK = 0.88  # of the margin, after each subnet that was over the budget
MARGIN = 0.95  # of the budget that a predicted latency may use

Tell = Callable[[str], None]


def deploy(
    bundle: str | Path | Bundle,
    *,
    latency_ms: float | None = None,
    subnet: Subnet | None = None,
    backend: str | None = None,
    threads: int | None = None,
    calibration: Sequence[ImageSource] = (),
    unknown_below: float = 0.0,
    seed: int = 0,
    tell: Tell = lambda line: None,
) -> Model:
    """Cuts a network out of a bundle for this device and returns it, loaded and measured.

    With `latency_ms`: the one with the best expected accuracy among the networks measured within
    the budget. With `subnet`: exactly that one. With neither: the largest.

    Args:
        bundle: a `.tofa` file, or one already opened.
        latency_ms: bounds the p95 of `model(x)` for one uint8 array of the network's input size.
        subnet: the very architecture to build, the same on every device.
        backend: an engine's name; by default the fastest one here that computes correctly.
        threads: by default the fastest number here.
        calibration: frames of this device's own camera, used before the bundle's photos.
        unknown_below: predictions of less probability, 0..1, say that they are not `known`.
        seed: of the sample of candidates.
        tell: called with a line of text after each step.

    Raises:
        BundleError: the bundle is damaged, or has no photos and too few frames were given.
        BudgetError: no network measured is within the budget.
        BackendError: no engine works here, or the one asked for does not.
        SubnetError: the bundle's space does not contain the subnet.
        ImageError: a calibration frame cannot be read.
    """
    if latency_ms is not None and not (subnet is None and latency_ms > 0):
        raise BudgetError(f"wanted latency_ms > 0 and no subnet, got {latency_ms} and {subnet}")
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    if subnet is not None:
        opened.space.validate(subnet)
    explanation = Explanation(opened.path, latency_ms)
    cutter = Cutter(opened, calibration)
    engine = _choose_engine(cutter, backend, threads, explanation, tell)
    explanation.engine = str(engine)

    def finished(subnet: Subnet) -> Model:
        model = _finish(cutter, subnet, engine, explanation, tell)
        model.unknown_below = unknown_below
        return model

    if latency_ms is None:
        chosen = subnet or opened.space.largest()
        return finished(chosen)
    _measure_subnets(cutter, latency_ms, engine, np.random.default_rng(seed), explanation, tell)
    for measured in explanation.to_finish(MOST_FINISHED):
        try:
            return finished(measured.subnet)
        except BudgetError as error:
            explanation.dropped.append(str(error))
            tell(str(error))
    again = f", but {explanation.dropped[-1]}" if explanation.dropped else ""
    raise BudgetError(
        f"wanted p95 ≤ {latency_ms:g} ms on {engine}; the fastest network measured is "
        f"{explanation.fastest()}{again}: allow more time, quiet the machine, or use a faster one"
    )


def _choose_engine(
    cutter: Cutter, name: str | None, threads: int | None, explanation: Explanation, tell: Tell
) -> Engine:
    """Returns the engine that runs a middling subnet fastest and computes the golden cases."""
    found = {name: backends.backend(name)} if name else backends.working()
    if len(found) > 1:
        found.pop("reference", None)
    middle = cutter.space.middle()
    network = cutter.stored_network(middle)
    timed: list[tuple[float, Engine]] = []
    for engine in (e for item in found.values() for e in _engines(item, threads)):
        try:
            with _load(cutter, network, middle, engine, explanation) as model:
                latency = _time(model)
        except BackendError as error:
            explanation.screened.append(Screened(str(engine), reason=str(error)))
            continue
        explanation.screened.append(Screened(str(engine), latency))
        tell(f"engine {engine}: {latency}")
        timed.append((latency.p50_ms, engine))
    for _, engine in sorted(timed, key=lambda item: item[0]):
        reason = disproof(cutter, engine)
        if reason is None:
            return engine
        explanation.screened.append(Screened(str(engine), reason=reason))
        tell(f"engine {engine}: not used, {reason}")
    reasons = "; ".join(str(s) for s in explanation.screened if s.reason)
    raise BackendError(f"no engine works here: {reasons or 'none is installed'}")


def _engines(backend: Backend, threads: int | None) -> list[Engine]:
    targets = backend.targets()
    if threads is None:
        return [Engine(backend, target) for target in targets]
    counts = sorted({target.threads for target in targets})
    if threads not in counts:
        offered = ", ".join(map(str, counts))
        raise BackendError(f"{backend.name}: wanted {threads} threads, it offers {offered} here")
    return [Engine(backend, target) for target in targets if target.threads == threads]


def _measure_subnets(
    cutter: Cutter,
    latency_ms: float,
    engine: Engine,
    rng: np.random.Generator,
    explanation: Explanation,
    tell: Tell,
) -> None:
    """Measures the smallest subnet, the largest, and the best few expected to fit the budget."""
    space, measured = cutter.space, explanation.measured

    def try_out(subnet: Subnet, predicted: float | None = None) -> bool:
        network = cutter.network(subnet, engine, QUICK_CALIBRATION_IMAGES)
        with _load(cutter, network, subnet, engine, explanation) as model:
            latency = _time(model, latency_ms)
        proxy = accuracy_proxy(space, subnet)
        measured.append(Measured(subnet, macs(network.layers), proxy, latency, predicted))
        tell(f"subnet {measured[-1]}")
        return latency.p95_ms <= latency_ms

    fits = try_out(space.smallest())
    if not fits or try_out(space.largest()):
        return
    pool = candidates(space, rng, CANDIDATES)
    sizes = np.array([macs(layers(space, subnet)) for subnet in pool])
    worth = np.array([accuracy_proxy(space, subnet) for subnet in pool])
    margin = MARGIN
    for _ in range(MOST_MEASUREMENTS):
        spread = min(m.latency.p95_ms / m.latency.p50_ms for m in measured)  # of the quietest
        expected = spread * predicted_ms([(m.macs, m.latency.p50_ms) for m in measured], sizes)
        better = worth > explanation.within_budget()[0].proxy
        able = (expected <= latency_ms * margin) & better
        if not able.any():
            return
        best = int(np.argmax(np.where(able, worth, -np.inf)))
        if not try_out(pool[best], float(expected[best])):
            margin *= SHRINK  # the prediction was too bold here: aim lower
        worth[best] = -np.inf


def _finish(
    cutter: Cutter, subnet: Subnet, engine: Engine, explanation: Explanation, tell: Tell
) -> Model:
    """Returns the model of one subnet: calibrated, compared with the reference, measured.

    Raises:
        BackendError: its numbers differ from the reference's.
        BudgetError: it is over the budget now.
    """
    network = cutter.network(subnet, engine, CALIBRATION_IMAGES)
    model = _load(cutter, network, subnet, engine, explanation)
    try:
        probe = _probe_images(network.input_size)
        logits = np.stack([prediction.logits for prediction in model.batch(probe)])
        wrong = reference_difference(network, logits, probe)
        if wrong > TOLERANCE:
            raise BackendError(f"{engine}: {wrong:.1e} of the largest logit off on {subnet}")
        budget = explanation.latency_ms
        latency = _time(model, budget)
        if budget is not None and latency.p95_ms > budget:
            raise BudgetError(
                f"{subnet} was within {budget:g} ms, measured again it takes {latency}"
            )
    except TofaError:
        model.close()
        raise
    proxy = accuracy_proxy(cutter.space, subnet)
    explanation.chosen = Measured(subnet, macs(network.layers), proxy, latency)
    explanation.difference = wrong
    tell(f"deployed {explanation.chosen} on {engine}")
    model.reset_stats()
    return model


def _load(
    cutter: Cutter, network: Network, subnet: Subnet, engine: Engine, explanation: Explanation
) -> Model:
    bundle, crop = cutter.bundle, network.preprocessing.crop
    session, temperature = engine.load(network), bundle.temperature
    return Model(session, subnet, engine, bundle.classes, explanation, crop, temperature)


def _time(model: Model, latency_ms: float | None = None) -> Latency:
    """Returns the latency of `model(x)`.

    Where the median keeps the budget and the p95 does not, something else may have run: it is
    measured up to three times, and the quietest counts.
    """
    image = _probe_images(model.input_size)[0]
    quietest = measure(lambda: model(image))
    for _ in range(MOST_REPEATS):
        if latency_ms is None or not quietest.p50_ms <= latency_ms < quietest.p95_ms:
            break
        quietest = min(quietest, measure(lambda: model(image)), key=lambda latency: latency.p95_ms)
    return quietest


def _probe_images(size: int) -> ImageArray:
    """Two images that no photo resembles, uint8, (2, size, size, 3)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
