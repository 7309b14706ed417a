"""A classifier that rests on channels which hardly ever fire, mended.

Features of narrow data leave many channels constant. A classifier fitted to such a channel may
have any weight there: nothing shows it on the training data, but one step of an 8-bit integer, or
one photo from elsewhere, then outweighs all other channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, FloatArray
from tofa_edge.architecture.layers import Convolution, GlobalPool, Layer, Linear

QUIET = 0.05  # of the typical deviation: channels below it hardly ever fire
MOST = 20.0  # times the typical weight on the other channels

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def without_dead_inputs(
    network: tuple[Layer, ...], arrays: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Returns arrays whose classifier puts no outsized weight on a channel that hardly ever fires.

    What a pooled channel varies by follows from the scale and shift of the BatchNorm before it:
    after calibration its input has exactly this deviation and mean, here taken as normal. Where
    a channel varies by less than a share of the typical deviation, and some weight on it is many
    times the typical weight on the others, the weights become 0 and the bias takes over their
    mean. Honest classifiers come back as they are.

    Args:
        network: its layers, with BatchNorm apart.
        arrays: float32, by name, of all layers or of those that the classifier needs.
    """
    arrays = dict(arrays)
    by_name = {layer.name: layer for layer in network}
    for layer in network:
        if not isinstance(layer, Linear):
            continue
        pool = by_name.get(layer.input)
        before = by_name.get(pool.input) if isinstance(pool, GlobalPool) else None
        if not isinstance(before, Convolution) or not before.normalised:
            continue
        mean, deviation = _after_activation(before, arrays)
        typical = np.sqrt(np.mean(deviation**2))
        quiet = deviation < QUIET * typical
        weight = arrays[f"{layer.name}.weight"]
        if quiet.all() or not quiet.any():
            continue
        usual = np.sqrt(np.mean(np.square(weight[:, ~quiet], dtype=np.float64)))
        dead = quiet & (np.abs(weight).max(axis=0) > MOST * usual)
        if dead.any():
            moved = (weight[:, dead] @ mean[dead]).astype(np.float32)
            arrays[f"{layer.name}.weight"] = np.where(dead, np.float32(0), weight)
            arrays[f"{layer.name}.bias"] = arrays[f"{layer.name}.bias"] + moved
    return arrays


def _after_activation(
    layer: Convolution, arrays: Mapping[str, FloatArray]
) -> tuple[DoubleArray, DoubleArray]:
    """Returns mean and deviation of each channel after BatchNorm and activation, (channels,)."""
    scale, shift = (
        arrays[f"{layer.name}.{role}"].astype(np.float64) for role in ("scale", "shift")
    )
    values = _activated(layer.activation, shift[:, None] + scale[:, None] * _NODES)
    mean = values @ _WEIGHTS
    return mean, np.sqrt(np.maximum((values - mean[:, None]) ** 2 @ _WEIGHTS, 0.0))


def _activated(activation: str, values: DoubleArray) -> DoubleArray:
    if activation == "relu":
        return np.maximum(values, 0.0)
    if activation == "relu6":
        return np.clip(values, 0.0, 6.0)
    gate = np.clip(values + 3.0, 0.0, 6.0) / 6.0
    return {"hard_swish": values * gate, "hard_sigmoid": gate}.get(activation, values)
