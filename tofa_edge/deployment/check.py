"""The last look before a network serves: does it do on the check photos what was expected of it?

A calibration that is spoiled (flat or foreign photos), labels that are shifted, a camera's frames
that break the statistics: each costs accuracy that no comparison with the reference shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.layers import layers as layers_of
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.cutting.accuracy_drop import Drop, logits_by, logits_of
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.local_device import Finished
from tofa_edge.deployment.request import Request
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import BudgetError
from tofa_edge.prediction.accuracy import AccuracyPredictor

DEVIATIONS = 3.0  # that the check photos must lie below what was expected: one in 700 by chance
OF_MEAN_ERROR = 1.2533  # the standard deviation of a normal error over its mean
FRAMES_COST = 0.05  # of accuracy on the check photos, that frames of another camera may cost


@dataclass(frozen=True, slots=True)
class Checked:
    """What a network got right of the bundle's check photos.

    Attributes:
        right: of them.
        count: of the photos.
        warning: what contradicts what was expected; empty where nothing does.
    """

    right: int
    count: int
    warning: str = ""


def checked(
    finished: Finished,
    request: Request,
    cutter: Cutter,
    by: Engine,
    predictor: AccuracyPredictor | None,
    trace: Trace,
) -> Checked | None:
    """Returns how a network does on the bundle's check photos; None where there are none.

    Args:
        finished: the network; its session is closed where it is refused.
        request: whose budget may ask for a share of right ones.
        cutter: that it was cut with.
        by: the engine that computes in float.
        predictor: of accuracy; None where the bundle has none.
        trace: told loudly where the photos contradict what was expected.

    Raises:
        BudgetError: the network gets fewer right than the budget asks for, or nobody can tell.
        BundleError: a photo cannot be read.
    """
    try:
        with trace.timed("check"):
            found = _checked(finished, request, cutter, by, predictor)
            if found is not None and found.warning:
                trace.warn(found.warning)
            _refuse(found, request)
    except BaseException:
        finished.session.close()
        raise
    return found


def _checked(
    finished: Finished,
    request: Request,
    cutter: Cutter,
    by: Engine,
    predictor: AccuracyPredictor | None,
) -> Checked | None:
    bundle, measured = request.bundle, finished.measured
    if not bundle.check_count:
        return None
    subnet = measured.subnet
    images, labels = bundle.check_images(subnet.resolution)
    classes = logits_by(finished.session, layers_of(bundle.space, subnet), images).argmax(axis=1)
    right = int((classes == labels).sum())
    if not cutter.frames:
        deviation = accuracy_deviation(predictor, bundle.space, subnet)
        expected = None if predictor is None else measured.accuracy
        return Checked(right, len(labels), contradiction(right, labels, expected, deviation))
    photos_alone = Cutter(bundle)
    if request.options.frames_share == 1 or not photos_alone.can_cut(subnet):
        return Checked(right, len(labels))
    without = logits_of(photos_alone.network(subnet, by), by, images).argmax(axis=1)
    return Checked(right, len(labels), cost_of_frames(classes, without, labels))


def accuracy_deviation(
    predictor: AccuracyPredictor | None, space: SearchSpace, subnet: Subnet
) -> float:
    """Returns the standard deviation of the accuracy expected of a subnet, 0..1.

    The predictor's own, and the error that cross-validation found; 0 without a `predictor`.
    """
    if predictor is None:
        return 0.0
    own = float(predictor.deviation(space, encoded(space, [subnet]))[0])
    return float(np.hypot(own, OF_MEAN_ERROR * predictor.error))


def contradiction(right: int, labels: IndexArray, expected: float | None, deviation: float) -> str:
    """Returns how check photos contradict what was expected; empty where they do not.

    Args:
        right: of them.
        labels: of all, (N,).
        expected: accuracy, 0..1; None where only chance is expected.
        deviation: its standard deviation.
    """
    count = len(labels)
    if expected is None:
        most = int(np.bincount(labels).max())
        chance = most / count  # of always naming the most frequent class
        error = (chance * (1 - chance) / count) ** 0.5
        if right / count >= chance - DEVIATIONS * error:
            return ""
        named = f"always naming one class would get {most} right"
    else:
        error = float(np.hypot(deviation, (expected * (1 - expected) / count) ** 0.5))
        if right / count >= expected - DEVIATIONS * error:
            return ""
        named = f"{expected:.0%} were expected (±{2 * error:.0%})"
    return (
        f"only {right} of {count} check photos are right, and {named}: the bundle's calibration or "
        "check photos or their labels are spoiled; look at them (tofa-edge inspect), and do not "
        "trust this network"
    )


def cost_of_frames(with_frames: IndexArray, without: IndexArray, labels: IndexArray) -> str:
    """Returns that frames spoil the calibration; empty where they do not.

    Args:
        with_frames: classes of the check photos by a network calibrated with them, (N,).
        without: by the same calibrated without, (N,).
        labels: of the photos, (N,).
    """
    right, before = with_frames == labels, without == labels
    lost, won = int((before & ~right).sum()), int((right & ~before).sum())
    pair = Drop(len(labels), int((right == before).sum()), 0.0, 0.0, len(labels), lost, won)
    loss, error = pair.measured
    if loss - DEVIATIONS * error <= FRAMES_COST:
        return ""
    return (
        f"calibrated with these frames {int(right.sum())} of {len(labels)} check photos are right, "
        f"without them {int(before.sum())}: they spoil the calibration; give frames of different "
        "scenes, as they will come, or none"
    )


def _refuse(found: Checked | None, request: Request) -> None:
    least = request.budget.min_check_accuracy
    if least is None:
        return
    if found is None:
        raise BudgetError(
            f"{request.bundle.path} has no check photos, so nobody can tell whether "
            f"{least:.1%} are right: train it with some (--check-photos), or do not ask"
        )
    if found.right < least * found.count:
        reason = f": {found.warning}" if found.warning else ""
        raise BudgetError(
            f"{found.right} of {found.count} check photos are right, and min_check_accuracy asks "
            f"for {least:.1%}{reason}"
        )
