"""From the supernet's arrays to one subnet's: slice, fold BatchNorm, write its calibration network.

A subnet takes the first channels of every array and the centre of every kernel. Its activations
differ from the supernet's, so its BatchNorm statistics are estimated anew from unlabelled images
(`tofa_edge.cutting.calibration`) before they are folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

    `name` is one of `parameter_shapes(layer)`; `supernet` holds arrays or tensors of any dtype by
    name, shaped as in `supernet_shapes`.
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
    """Returns the arrays of a subnet's layers, `network`, as views into those of the `supernet`.

    BatchNorm is still apart.
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
    sqrt(variance + epsilon). `network` and `arrays` are the subnet's, as `cut` takes and gives.
    """
    folded: dict[str, FloatArray] = {}
    layers: list[Layer] = []
    for layer in network:
        if isinstance(layer, Convolution):
            weight, bias = _folded(layer, arrays)
            folded[f"{layer.name}.weight"], folded[f"{layer.name}.bias"] = weight, bias
            layers.append(replace(layer, normalised=False, epsilon=0.0, kernel_path=()))
        else:
            for name, _ in parameter_shapes(layer):
                folded[name] = np.ascontiguousarray(arrays[name], dtype=np.float32)
            layers.append(layer)
    return Network(tuple(layers), folded, preprocessing)


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
    after the last of them are left out. `network` and `arrays` are as in `fold`.
    """
    layers: list[Layer] = []
    for layer in network:
        layers += _apart(layer) if isinstance(layer, Convolution) and layer.normalised else [layer]
    measured = [layer for layer in layers if isinstance(layer, BatchStatistics)]
    used = layers[: layers.index(measured[-1]) + 1]
    taken = {name: array for layer in used for name, array in _parameters(layer, arrays)}
    outputs = tuple(name for layer in measured for name in layer.statistics)
    return Network(tuple(used), taken, preprocessing, outputs)


PLAIN = "_plain"  # what the name of a convolution ends in whose BatchNorm is apart


def _apart(layer: Convolution) -> list[Layer]:
    name, size, after = f"{layer.name}{PLAIN}", layer.out_size, (layer.epsilon, layer.activation)
    plain = replace(layer, name=name, normalised=False, epsilon=0.0, activation="none")
    statistics = BatchStatistics(layer.name, name, layer.out_channels, size, *after)
    return [replace(plain, kernel_path=()), statistics]


def _parameters(layer: Layer, arrays: Arrays) -> Iterator[tuple[str, FloatArray]]:
    for name, shape in parameter_shapes(layer):
        if name.endswith(f"{PLAIN}.bias"):
            yield name, np.zeros(shape, np.float32)
        else:
            yield name, np.ascontiguousarray(arrays[name.replace(f"{PLAIN}.", ".")])
