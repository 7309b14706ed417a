"""What a network costs before anything is measured: MACs, parameters, activation memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tofa_edge.architecture.layers import (
    BatchStatistics,
    Convolution,
    GlobalPool,
    Layer,
    Linear,
    parameter_shapes,
)

FLOAT_BYTES = 4


def layer_macs(layer: Layer) -> int:
    """Returns the multiply-accumulates of one layer for one image."""
    if isinstance(layer, Convolution):
        return math.prod(layer.weight_shape) * layer.out_size**2
    if isinstance(layer, Linear):
        return layer.in_features * layer.out_features
    return 0


def macs(network: Sequence[Layer]) -> int:
    """Returns the multiply-accumulates of a `network` for one image."""
    return sum(layer_macs(layer) for layer in network)


def layer_parameters(layer: Layer) -> int:
    """Returns how many numbers one deployed layer stores: BatchNorm counts as the folded bias."""
    if isinstance(layer, Convolution):
        return math.prod(layer.weight_shape) + layer.out_channels
    return sum(math.prod(shape) for _, shape in parameter_shapes(layer))


def parameters(network: Sequence[Layer]) -> int:
    """Returns how many numbers the deployed `network` stores."""
    return sum(layer_parameters(layer) for layer in network)


def output_shape(layer: Layer) -> tuple[int, int]:
    """Returns the channels of a layer's value, and its height and width in pixels."""
    if isinstance(layer, Convolution):
        return layer.out_channels, layer.out_size
    if isinstance(layer, Linear):
        return layer.out_features, 1
    return layer.channels, 1 if isinstance(layer, GlobalPool) else layer.size


def value_elements(layer: Layer) -> int:
    """Returns how many numbers the value of a layer holds for one image."""
    channels, size = output_shape(layer)
    return channels * size**2


def last_uses(network: Sequence[Layer]) -> dict[str, int]:
    """Returns for each value of a `network` the index of the last layer that reads it."""
    return {name: index for index, layer in enumerate(network) for name in layer.inputs}


def peak_activation_bytes(network: Sequence[Layer], batch: int = 1) -> int:
    """Returns the most bytes of float32 activations of a `network` alive at once, for a `batch`.

    A lower bound of what an engine needs: it counts each value from the layer that makes it to the
    last that reads it, and `BatchStatistics` twice (its centred map), without engine workspace.
    """
    return max(elements_alive(network)) * FLOAT_BYTES * batch


def elements_alive(network: Sequence[Layer]) -> list[int]:
    """Returns how many numbers are alive as each layer of a `network` computes one image."""
    final = last_uses(network)
    first = network[0]
    size = first.in_size if isinstance(first, Convolution) else 1
    alive = {first.inputs[0]: 3 * size**2}
    counts = []
    for index, layer in enumerate(network):
        alive[layer.name] = value_elements(layer)
        working = alive[layer.name] if isinstance(layer, BatchStatistics) else 0
        counts.append(sum(alive.values()) + working)
        alive = {name: n for name, n in alive.items() if final.get(name, -1) > index}
    return counts
