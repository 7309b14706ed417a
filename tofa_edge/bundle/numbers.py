"""Arrays of a bundle, refused where they hold no numbers that a network can compute with.

A single weight of 1e38 makes some subnets infinite and others not. What training makes stays far
below the bounds here: the largest numbers of published supernets are in the hundreds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.errors import BundleError

MOST_NUMBER = 1e5
MOST_VARIANCE = MOST_NUMBER**2
MOST_LOGIT = 1e6
SPREADS = {"variance": "variances", "deviation": "deviations"}  # roles without a sign
LEAST_DEVIATION = 1e-3  # of a golden case's logits, over the largest


def checked(where: str, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> FloatArray:
    """Returns an array of the supernet, or of a subnet, in float32.

    Args:
        where: the bundle, for messages.
        name: of the array, which says its role.
        array: as it is stored, float32 or float16.
        shape: that it must have.

    Raises:
        BundleError: it has another shape or type, or numbers that nothing can be computed with.
    """
    if array.shape != shape:
        raise BundleError(f"{where}: {name}: wanted shape {shape}, got {array.shape}")
    if array.dtype not in (np.float32, np.float16):
        raise BundleError(f"{where}: {name}: wanted float32 or 16, got {array.dtype}")
    numbers = array.astype(np.float32, copy=False)
    least, most = float(numbers.min()), float(numbers.max())
    if not np.isfinite([least, most]).all():  # a single NaN makes both NaN
        raise BundleError(f"{where}: {name} holds numbers that are not finite")
    role = name.rpartition(".")[2]
    if role in SPREADS and least < 0:
        raise BundleError(f"{where}: {name} holds negative {SPREADS[role]}")
    bound, found = MOST_VARIANCE if role == "variance" else MOST_NUMBER, max(most, -least)
    if found > bound:
        raise BundleError(
            f"{where}: {name} holds {found:.3g}, and networks overflow over {bound:g}; train again"
        )
    return numbers


def check_golden(
    where: str,
    size: int,
    classes: int,
    images: NDArray[Any] | None,
    logits: NDArray[Any] | None,
) -> tuple[ImageArray, FloatArray]:
    """Returns the images and logits of a golden case, if an engine can be judged by them.

    Args:
        where: the bundle and the case, for messages.
        size: of the images, in pixels.
        classes: of the logits.
        images: uint8, (N, size, size, 3).
        logits: float32, (N, classes).

    Raises:
        BundleError: one is missing or of another shape or type, or the logits are not finite or
            all but equal.
    """
    if images is None or images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
        raise BundleError(f"{where} has no fitting images")
    if logits is None or logits.dtype != np.float32 or logits.shape != (len(images), classes):
        raise BundleError(f"{where} has no fitting logits")
    if not len(images) or not np.isfinite(logits).all():
        raise BundleError(f"{where} is empty or not finite")
    most, deviation = float(np.abs(logits).max()), float(logits.std(dtype=np.float64))
    if most > MOST_LOGIT:
        raise BundleError(f"{where} holds a logit of {most:.3g}; train again")
    if deviation <= LEAST_DEVIATION * most:
        raise BundleError(
            f"{where} proves nothing: its logits are all but equal (deviation {deviation:.2g}, the "
            f"largest {most:.2g}); train again"
        )
    return images, logits
