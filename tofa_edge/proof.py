"""How an engine proves that it computes the right numbers, before it is used."""

from __future__ import annotations

import numpy as np

from tofa_edge import backends
from tofa_edge.backends import Engine, Target
from tofa_edge.bundle import GoldenCase
from tofa_edge.cutting import Cutter
from tofa_edge.errors import BackendError
from tofa_edge.layers import LOGITS
from tofa_edge.network import FloatArray, ImageArray, Network

TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2}  # by precision, of the largest logit


def tolerance(target: Target) -> float:
    """Returns how far logits may be from the reference's on a target, as `difference` says it."""
    return TOLERANCES.get(target.precision, TOLERANCES["fp16"])


def difference(logits: FloatArray, wanted: FloatArray) -> float:
    """Returns the largest difference over the largest wanted logit; infinite if not finite."""
    if logits.shape != wanted.shape or not np.isfinite(logits).all():
        return float("inf")
    return float(np.abs(logits - wanted).max() / max(np.abs(wanted).max(), 1e-6))


def golden_difference(cutter: Cutter, case: GoldenCase, engine: Engine) -> float:
    """Returns how far an engine is from a golden case, alone and in a batch, as `difference`.

    Raises:
        BackendError: the engine refuses the network.
    """
    session = engine.load(cutter.stored_network(case.subnet))
    try:
        batch = session.run(case.images)[LOGITS]
        single = session.run(case.images[:1])[LOGITS]
    finally:
        session.close()
    return max(difference(batch, case.logits), difference(single, case.logits[:1]))


def disproof(cutter: Cutter, engine: Engine) -> str | None:
    """Returns why an engine must not be used with a bundle, or None if all golden cases hold."""
    try:
        for case in cutter.bundle.golden_cases():
            wrong = golden_difference(cutter, case, engine)
            if wrong > tolerance(engine.target):
                return f"wrong numbers: {wrong:.1e} of the largest logit off on {case.subnet}"
    except BackendError as error:
        return str(error)
    return None


def reference_difference(network: Network, logits: FloatArray, images: ImageArray) -> float:
    """Returns how far logits are from what the reference computes for images, as `difference`."""
    engine = Engine(backends.backend("reference"), Target())
    return difference(logits, engine.load(network).run(images)[LOGITS])
