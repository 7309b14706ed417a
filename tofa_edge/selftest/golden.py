"""Whether an engine computes the right numbers: golden cases, compared with the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import ready
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network

TOLERANCES = {  # of the largest logit
    "fp32": 1e-3, "fp16": 2e-2, "bf16": 0.16, "int8": 0.1, "dynamic": 0.1,
}  # fmt: skip
ROUNDING = 1.5  # times what rounding to integers itself changes, where that is more
STATISTICS_IMAGES = 4
STATISTICS_TOLERANCE = 0.2  # of the largest: channels that are nearly constant magnify rounding

Fault = Literal[
    "refused", "crash", "out of memory", "hang", "wrong numbers", "fallback", "untested"
]
Judgement = tuple[Fault, str]  # and why


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """What an engine must compute."""

    network: Network  # to load
    images: ImageArray  # uint8, (N, S, S, 3)
    outputs: Mapping[str, FloatArray]  # of the reference, by name
    alone: bool = True  # whether one image alone has the same outputs: not so statistics


def specimen_images(size: int, count: int = 2) -> ImageArray:
    """Returns `count` images of noise of a `size`, uint8, (count, size, size, 3)."""
    shape = (count, size, size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def tolerance(target: Target, rounding: float = 0.0) -> float:
    """Returns how far logits may be from the reference's on a target, as `difference` says it.

    `rounding` is how far the reference's logits are in the target's integers from those in float32:
    engines round some values the other way, and a network magnifies that as much.
    """
    return max(TOLERANCES.get(target.precision, TOLERANCES["fp16"]), ROUNDING * rounding)


def difference(logits: FloatArray, wanted: FloatArray, largest: float = 0.0) -> float:
    """Returns the largest difference over the largest wanted logit; infinite if not finite.

    Args:
        logits: float32, (N, classes).
        wanted: what they should be, float32, (N, classes).
        largest: logit of this network that was seen elsewhere: few photos may have small ones.
    """
    if logits.shape != wanted.shape or not np.isfinite(logits).all():
        return float("inf")
    return float(np.abs(logits - wanted).max() / max(np.abs(wanted).max(), largest, 1e-6))


def golden(cutter: Cutter) -> list[Case]:
    """Returns a bundle's golden cases, with their networks."""
    return [
        Case(cutter.stored_network(case.subnet), case.images, {LOGITS: case.logits})
        for case in cutter.bundle.golden_cases()
    ]


def calibrating(measuring: Network) -> Case:
    """Returns a case of a calibration network: other operators than those of predictions."""
    images = specimen_images(measuring.input_size, STATISTICS_IMAGES)
    return Case(measuring, images, ReferenceSession(measuring).run(images), alone=False)


def judge(engine: Engine, cases: Iterable[Case]) -> Judgement | None:
    """Returns what is wrong with an engine on its target, or None if it computes all cases.

    Whatever the engine raises is a result. What kills or hangs the process is not: that takes a
    process of its own (`tofa_edge.selftest.records`).
    """
    try:
        return next(filter(None, (_judge(engine, case) for case in cases)), None)
    except BackendError as error:
        return ("out of memory" if _lacks_memory(error) else "refused"), str(error)
    except MemoryError:
        return "out of memory", "it could not get the memory it asked for"
    except Exception as error:  # a plug-in may raise anything
        return "crash", f"{type(error).__name__}: {error}"


def _judge(engine: Engine, case: Case) -> Judgement | None:
    case, allowed = _in_integers(case, engine.target)
    with closing(engine.load(case.network)) as session:
        if session.unit != engine.target.unit:
            return "fallback", f"asked for {engine.target.unit}, it runs on {session.unit}"
        for count in (len(case.images), 1) if case.alone else (len(case.images),):
            outputs = session.run(case.images[:count])
            for name, wanted in case.outputs.items():
                expected = wanted[:count] if case.alone else wanted
                reason = _disagreement(case, outputs[name], expected, name, allowed)
                if reason:
                    return "wrong numbers", f"{reason} off at {case.network.input_size} px"
    return None


def _in_integers(case: Case, target: Target) -> tuple[Case, float]:
    """Returns a case as a target computes it, and how far its logits may be off."""
    if not target.is_integer or case.network.quantisation is not None:
        return case, tolerance(target)
    rounded = _quantised(case)
    return rounded, tolerance(target, difference(rounded.outputs[LOGITS], case.outputs[LOGITS]))


@lru_cache(maxsize=1)
def _quantised(case: Case) -> Case:
    """Returns a case in integers, which are the same whatever target computes them."""
    trusted = Engine(backends.backend("reference"), Target())
    network = ready(case.network, Target(precision="int8"), case.images, trusted)
    return replace(case, network=network, outputs=ReferenceSession(network).run(case.images))


def _disagreement(
    case: Case, output: FloatArray, wanted: FloatArray, name: str, allowed: float
) -> str:
    """Returns by how much of what an output is off; empty where it is near enough."""
    if case.alone:
        largest = float(np.abs(case.outputs[name]).max())
        wrong = difference(output, wanted, largest)  # of one image all may be small
        return f"{wrong:.1e} of the largest logit" if wrong > allowed else ""
    wrong = difference(output, wanted, largest=1.0)  # means may be near 0
    return f"{wrong:.1e} of BatchNorm statistics {name}" if wrong > STATISTICS_TOLERANCE else ""


def _lacks_memory(error: BackendError) -> bool:
    text = str(error).lower()
    return isinstance(error.__cause__, MemoryError) or "bad_alloc" in text or "out of mem" in text


def reference_logits(network: Network, images: ImageArray) -> FloatArray:
    """Returns the reference's logits, (N, classes), for images, uint8, (N, S, S, 3)."""
    return ReferenceSession(network).run(images)[LOGITS]
