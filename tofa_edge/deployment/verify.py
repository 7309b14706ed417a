"""Whether a built network computes what it should, by the reference and by itself in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.protocol import Engine
from tofa_edge.cutting.accuracy_drop import Drop, logits_by, logits_of, photos_of
from tofa_edge.cutting.accuracy_drop import drop as compared
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.build import Built, with_sensitive_in_float
from tofa_edge.errors import BackendError
from tofa_edge.selftest.golden import difference, reference_logits, specimen_images, tolerance
from tofa_edge.serving.model import Model

CHECKED_IMAGES = 2


@dataclass(frozen=True, eq=False, slots=True)
class Verified:
    """A built network whose numbers are right.

    Attributes:
        built: the network; whoever holds this value closes its session.
        difference: of its logits from the reference's, over the largest.
        drop: what rounding costs, to integers or bf16; None in other floats.
    """

    built: Built
    difference: float
    drop: Drop | None = None


def accurate(
    built: Built,
    cutter: Cutter,
    by: Engine,
    max_drop: float | None,
    note: Callable[[str], None],
) -> Verified:
    """Returns a network whose numbers are right, as it is or with its sensitive layers in float.

    Args:
        built: loaded; its session is closed where it is not returned.
        cutter: of the bundle.
        by: the engine that computes in float.
        max_drop: that rounding to integers may cost, 0..1; None for any.
        note: told where layers are left in float.

    Raises:
        BackendError: its numbers differ from the reference's.
    """
    sound = verified(built, cutter, by)
    if sound.drop is None or not sound.drop.refusal(max_drop) or not built.in_integers:
        return sound
    again = with_sensitive_in_float(built, cutter, by)
    kept = again.network.quantisation.kept if again.network.quantisation else ()
    note(
        f"{again.subnet} loses too much accuracy in 8-bit integers on {again.engine}; its most "
        f"sensitive layers stay in float: {', '.join(kept)}"
    )
    return verified(again, cutter, by)


def verified(built: Built, cutter: Cutter, by: Engine) -> Verified:
    """Compares a `built` network with the reference; a coarse one also with the same in float32.

    `cutter` has the photos, and `by` computes in float.

    Raises:
        BackendError: the numbers are wrong; the session is closed.
    """
    session, photos, largest, drop = (
        built.session,
        specimen_images(built.subnet.resolution),
        0.0,
        None,
    )
    try:
        if built.engine.target.is_coarse:
            photos, labels = photos_of(cutter.bundle, cutter, built.subnet.resolution)
            exact, rounded = (
                logits_of(built.exact, by, photos),
                logits_by(session, built.exact.layers, photos),
            )
            largest = float(np.abs(exact).max())
            drop = compared(exact, rounded, cutter.bundle.temperature, labels)
        few = photos[:CHECKED_IMAGES]
        wanted, rounding = reference_logits(built.network, few), 0.0
        if built.in_integers:
            rounding = difference(wanted, reference_logits(built.exact, few), largest)
        wrong = difference(session.run(few)[LOGITS], wanted, largest)
        if not wrong <= tolerance(built.engine.target, rounding):
            raise BackendError(
                f"{built.engine}: {wrong:.1e} of the largest logit off on {built.subnet}"
            )
        return Verified(built, wrong, drop)
    except BaseException:
        session.close()
        raise


def specimen_logits(model: Model) -> FloatArray:
    """Returns what a model computes for one image of noise, float32, (classes,).

    Args:
        model: loaded.

    Raises:
        BackendError: the engine fails.
    """
    return model.batch(specimen_images(model.input_size, 1))[0].logits


def check_unchanged(model: Model, before: Sequence[float]) -> None:
    """Checks that a network computes what it did when it was chosen, whatever changed since.

    Args:
        model: loaded.
        before: its logits for one image of noise then, (classes,); empty where not kept.

    Raises:
        BackendError: it computes other numbers.
    """
    if not before:
        return
    wrong = difference(specimen_logits(model), np.array(before, np.float32))
    if wrong > tolerance(model.engine.target):
        raise BackendError(
            f"{model.engine}: {wrong:.1e} of the largest logit off since it was chosen, on "
            f"{model.subnet}"
        )
