"""From the supernet's arrays to one subnet's: slice, fold BatchNorm, write its calibration network.

A subnet takes the first channels of every array and the centre of every kernel. Its activations
differ from the supernet's, so its BatchNorm statistics are estimated anew from unlabelled images
(`calibration.py`) before they are folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import (
    NORMALISED_ROLES,
    BatchStatistics,
    Convolution,
    Layer,
    parameter_shapes,
    transform_name,
)
from tofa_edge.network.network import Network, Preprocessing

Arrays = Mapping[str, FloatArray]


def take(layer: Layer, name: str, supernet: Mapping[str, Any]) -> Any:
    """Returns the part of one supernet array that a layer uses, as a view where it can.

    It serves numpy arrays on the device and torch tensors in training alike, so that a subnet is
    sliced by one rule: first channels, centre of the kernel, then the learned kernel matrices, one
    after the other (Cai et al., ICLR 2020, section 3.2).

    Args:
        layer: the layer that owns the array.
        name: one of the names in `parameter_shapes(layer)`.
        supernet: arrays or tensors of the supernet by name, shaped as in `supernet_shapes`.
    """
    stored = supernet[name]
    if not isinstance(layer, Convolution) or not name.endswith(".weight"):
        shape = dict(parameter_shapes(layer))[name]
        return stored[: shape[0], : shape[1]] if len(shape) == 2 else stored[: shape[0]]
    out_channels, in_channels = layer.weight_shape[:2]
    weight = stored[:out_channels, :in_channels]
    for larger, smaller in layer.transforms:
        centre = _centre(weight, smaller).reshape(out_channels * in_channels, smaller**2)
        matrix = supernet[transform_name(layer, larger, smaller)]
        weight = (centre @ matrix.T).reshape(out_channels, in_channels, smaller, smaller)
    return _centre(weight, layer.kernel)


def _centre(weight: Any, kernel: int) -> Any:
    margin = (weight.shape[-1] - kernel) // 2
    return weight[:, :, margin : margin + kernel, margin : margin + kernel]


def cut(network: tuple[Layer, ...], supernet: Arrays) -> dict[str, FloatArray]:
    """Returns the arrays of a subnet, BatchNorm still apart, as views into the supernet's.

    Args:
        network: `layers(space, subnet)`.
        supernet: float32 arrays by name, shaped as in `supernet_shapes(space)`.
    """
    return {
        name: take(layer, name, supernet)
        for layer in network
        for name, _ in parameter_shapes(layer)
        if ".transform_" not in name
    }


def fold(network: tuple[Layer, ...], arrays: Arrays, preprocessing: Preprocessing) -> Network:
    """Returns a Network with every BatchNorm folded into its convolution.

    A convolution followed by BatchNorm computes scale · (W x - mean) / sqrt(variance + epsilon)
    + shift, which is a convolution with W · g and bias shift - mean · g, g = scale /
    sqrt(variance + epsilon).

    Args:
        network: its layers.
        arrays: float32, of the supernet's names, in the shapes of `parameter_shapes`.
        preprocessing: of its images.
    """
    folded: dict[str, FloatArray] = {}
    made: list[Layer] = []
    for layer in network:
        if isinstance(layer, Convolution):
            weight, bias = _folded(layer, arrays)
            folded[f"{layer.name}.weight"], folded[f"{layer.name}.bias"] = weight, bias
            made.append(replace(layer, normalised=False, epsilon=0.0, kernel_path=()))
        else:
            for name, _ in parameter_shapes(layer):
                folded[name] = np.ascontiguousarray(arrays[name], dtype=np.float32)
            made.append(layer)
    return Network(tuple(made), folded, preprocessing)


def _folded(layer: Convolution, arrays: Arrays) -> tuple[FloatArray, FloatArray]:
    weight = arrays[f"{layer.name}.weight"]
    if not layer.normalised:
        return np.ascontiguousarray(weight), np.ascontiguousarray(arrays[f"{layer.name}.bias"])
    scale, shift, mean, variance = (arrays[f"{layer.name}.{role}"] for role in NORMALISED_ROLES)
    gain = scale / np.sqrt(variance + np.float32(layer.epsilon))
    bias: FloatArray = np.ascontiguousarray(shift - mean * gain)
    folded: FloatArray = np.ascontiguousarray(weight * gain[:, None, None, None])
    return folded, bias


def calibration_network(
    network: tuple[Layer, ...], arrays: Arrays, preprocessing: Preprocessing
) -> Network:
    """Returns the network that measures a subnet's BatchNorm statistics.

    Each convolution's BatchNorm becomes a `BatchStatistics` layer of its own, which takes over the
    convolution's name for those that read it. The outputs are all means and variances; layers
    after the last of them are left out.

    Args:
        network: its layers.
        arrays: float32, of the supernet's names, in the shapes of `parameter_shapes`.
        preprocessing: of its images.
    """
    made: list[Layer] = []
    taken: dict[str, FloatArray] = {}
    outputs: list[str] = []
    for layer in network:
        if isinstance(layer, Convolution) and layer.normalised:
            plain = replace(
                layer,
                name=f"{layer.name}_plain",
                normalised=False,
                epsilon=0.0,
                activation="none",
                kernel_path=(),
            )
            measured = BatchStatistics(
                layer.name,
                plain.name,
                layer.out_channels,
                layer.out_size,
                layer.epsilon,
                layer.activation,
            )
            taken[f"{plain.name}.weight"] = np.ascontiguousarray(arrays[f"{layer.name}.weight"])
            taken[f"{plain.name}.bias"] = np.zeros(layer.out_channels, np.float32)
            for role in ("scale", "shift"):
                taken[f"{layer.name}.{role}"] = np.ascontiguousarray(arrays[f"{layer.name}.{role}"])
            made += [plain, measured]
            outputs += measured.statistics
        else:
            made.append(layer)
            for name, _ in parameter_shapes(layer):
                taken[name] = np.ascontiguousarray(arrays[name])
    last = max(i for i, layer in enumerate(made) if isinstance(layer, BatchStatistics)) + 1
    kept = {name for layer in made[:last] for name, _ in parameter_shapes(layer)}
    used = {name: array for name, array in taken.items() if name in kept}
    return Network(tuple(made[:last]), used, preprocessing, tuple(outputs))
