"""Whether a new network may take over: what it must not do worse than the one that runs.

The test of accuracy is paired (McNemar's, exact): photos that both get right, or both wrong, tell
nothing; of the others each would get half if they were equally good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from tofa_edge.serving.prediction import Prediction

ALPHA = 0.001  # of honest updates that the paired test refuses by chance, at most
LEAST_AGREEMENT = 0.5  # of frames that two networks for one task name alike


@dataclass(frozen=True, slots=True)
class Paired:
    """How two networks did on the same labelled photos.

    Attributes:
        count: of the photos.
        lost: of them, right by the running network alone.
        won: of them, right by the new one alone.
    """

    count: int
    lost: int
    won: int

    @property
    def chance(self) -> float:
        """The probability of losing as many photos, or more, if both were equally good."""
        pairs = self.lost + self.won
        return float(sum(comb(pairs, n) for n in range(self.lost, pairs + 1)) / 2**pairs)

    @property
    def refusal(self) -> str:
        """Why the new network is refused; empty where it is not."""
        if self.chance > ALPHA:
            return ""
        return (
            f"worse than the running network: of {self.count} labelled photos it loses {self.lost} "
            f"and wins {self.won}"
        )


def paired(before: Sequence[str], after: Sequence[str], labels: Sequence[str]) -> Paired:
    """Returns how two networks did on labelled photos.

    Args:
        before: what the running network named each.
        after: what the new one named each.
        labels: the true names.
    """
    right = [(b == true, a == true) for b, a, true in zip(before, after, labels, strict=True)]
    return Paired(len(right), right.count((True, False)), right.count((False, True)))


def frames_refusal(before: Sequence[str], after: Sequence[str]) -> str:
    """Returns why frames speak against a new network; empty where they do not.

    Args:
        before: what the running network named each; empty where there is none.
        after: what the new one named each.
    """
    if not before:
        return ""
    count, alike = len(after), sum(b == a for b, a in zip(before, after, strict=True))
    chance = sum(comb(count, n) for n in range(alike + 1)) / 2**count
    if chance <= ALPHA:
        return (
            f"names {alike} of {count} frames as the running network does, which is less than "
            f"{LEAST_AGREEMENT:.0%} beyond chance"
        )
    if count > 1 and len(set(after)) == 1 and len(set(before)) > 2:
        return f"names all {count} frames {after[0]!r}, and the running network does not"
    return ""


def not_finite(predictions: Sequence[Prediction]) -> str:
    """Returns that predictions hold what is no number; empty where they do not."""
    wrong = sum(not np.isfinite(each.logits).all() for each in predictions)
    return f"{wrong} of {len(predictions)} predictions are no finite numbers" if wrong else ""
