"""8-bit integers for a finished network: ranges of its values, steps of its weights.

A value is stored as an integer q that stands for scale · (q − zero); a weight the same with zero 0
and a scale for each output channel (Jacob et al., CVPR 2018). Rounding the weights moves the mean
of each output channel; that shift is known from the mean input and taken out of the bias (Nagel et
al., ICCV 2019, section 4.2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import Convolution, Linear
from tofa_edge.network.network import Network, Quantisation, Range

MOST_LEVELS = 127
QUANTILE = 0.9  # over images of their extremes: one odd image does not stretch a range

IntArray = NDArray[np.int8]


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """What a network's values are on some images, by the names of the values.

    Attributes:
        extremes: the lowest and the highest in each image, float32, (images, 2).
        means: of each channel over images and positions, float32, (channels,).
    """

    extremes: Mapping[str, FloatArray]
    means: Mapping[str, FloatArray]


def quantised(
    network: Network,
    observation: Observation,
    *,
    weight_levels: int = MOST_LEVELS,
    kept: Collection[str] = (),
) -> Network:
    """Returns a float network with what an engine needs to compute it in 8 bits.

    Args:
        observation: of the same network.
        weight_levels: of a weight on each side of 0.
        kept: names of layers to compute in float32.
    """
    ranges = {name: _range(extremes) for name, extremes in observation.extremes.items()}
    arrays = dict(network.arrays)
    for layer in network.layers:
        if isinstance(layer, Convolution | Linear) and layer.name not in kept:
            shift = _rounding(arrays[f"{layer.name}.weight"], weight_levels)
            if isinstance(layer, Convolution) and layer.depthwise:
                moved = shift.sum(axis=(1, 2, 3)) * observation.means[layer.input]
            else:
                moved = shift.reshape(*shift.shape[:2], -1).sum(2) @ observation.means[layer.input]
            arrays[f"{layer.name}.bias"] = arrays[f"{layer.name}.bias"] - moved.astype(np.float32)
    plan = Quantisation(ranges, tuple(sorted(kept)), weight_levels)
    return replace(network, arrays=arrays, quantisation=plan)


def _rounding(weight: FloatArray, levels: int) -> FloatArray:
    """Returns by how much rounded weights differ from the weights."""
    steps, scales = stepped(weight, levels)
    change: FloatArray = steps * scales.reshape(-1, *[1] * (weight.ndim - 1)) - weight
    return change


def _range(extremes: FloatArray) -> Range:
    low, high = np.quantile(extremes[:, 0], 1 - QUANTILE), np.quantile(extremes[:, 1], QUANTILE)
    return min(float(low), 0.0), max(float(high), 0.0, float(low) + 1e-6)


def stepped(weight: FloatArray, levels: int = MOST_LEVELS) -> tuple[IntArray, FloatArray]:
    """Returns a `weight`, float32 (out, …), in int8 steps, and the step of each output channel.

    There are `levels` steps on each side of 0.
    """
    most = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scales = (np.where(most > 1e-8, most, 1.0) / levels).astype(np.float32)
    steps = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return np.clip(steps, -levels, levels).astype(np.int8), scales


def rounded_values(network: Network) -> Network:
    """Returns a network whose weights lie on the grids of its quantisation, if it has one."""
    plan = network.quantisation
    if plan is None:
        return network
    arrays = dict(network.arrays)
    for layer in network.layers:
        if isinstance(layer, Convolution | Linear) and layer.name not in plan.kept:
            name = f"{layer.name}.weight"
            arrays[name] = arrays[name] + _rounding(arrays[name], plan.weight_levels)
    return replace(network, arrays=arrays)


def on_grid(values: FloatArray, bounds: Range) -> FloatArray:
    """Returns `values` rounded to the 256 steps between `bounds`, float32, in their shape."""
    scale, zero = affine(bounds)
    steps = np.clip(np.rint(values / np.float32(scale)) + zero, 0, 255)
    rounded: FloatArray = ((steps - zero) * np.float32(scale)).astype(np.float32)
    return rounded


def affine(bounds: Range, signed: bool = False) -> tuple[float, int]:
    """Returns scale and zero point of a range: the integer q stands for scale · (q − zero).

    It is in 0..255, or in −128..127 if `signed`; of the `bounds`, low ≤ 0 ≤ high.
    """
    low, high = bounds
    scale = float(np.float32(max(high - low, 1e-8) / 255))
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    return scale, zero - 128 if signed else zero


def pixels_as_steps(network: Network) -> tuple[float, int] | None:
    """Returns scale and zero point by which pixels, uint8, are the normalised image as they are.

    None where channels are normalised differently, or a mean is no whole number.
    """
    means, stds = set(network.preprocessing.mean), set(network.preprocessing.std)
    if len(means) > 1 or len(stds) > 1:
        return None
    mean, std = means.pop(), stds.pop()
    return (1 / std, int(mean)) if mean == int(mean) and 0 <= mean <= 255 else None


def image_range(network: Network) -> Range:
    """Returns the lowest and the highest value of a normalised image."""
    mean, std = np.array(network.preprocessing.mean), np.array(network.preprocessing.std)
    return float((-mean / std).min()), float(((255 - mean) / std).max())
