"""Whether a loaded network still computes what it did when it was found right."""

from __future__ import annotations

from dataclasses import dataclass

from tofa_edge.errors import BackendError
from tofa_edge.live.rungs import Rung, specimen_logits
from tofa_edge.selftest.golden import difference, tolerance


@dataclass(frozen=True, slots=True)
class RungCheck:
    """What a check found.

    Attributes:
        network: subnet and engine.
        difference: of its logits from those it had when loaded, over the largest; infinite where
            it failed.
        fault: what is wrong, in words; empty where nothing is.
    """

    network: str
    difference: float
    fault: str = ""


def checked_rung(rung: Rung) -> RungCheck:
    """Returns what a network computes now, against what it computed when it was loaded."""
    if rung.logits is None:
        return RungCheck(str(rung), 0.0)
    try:
        now = specimen_logits(rung.model)
    except BackendError as error:
        return RungCheck(str(rung), float("inf"), str(error))
    wrong = difference(now, rung.logits)
    if wrong <= tolerance(rung.model.engine.target):
        return RungCheck(str(rung), wrong)
    return RungCheck(str(rung), wrong, f"{wrong:.1e} of the largest logit off since it was loaded")
