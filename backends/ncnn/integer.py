"""Writes a Network for ncnn's integer kernels.

A layer in integers turns the floats that it reads into integers, sums up in integers, and passes on
floats. Depthwise convolutions compute in float32 with rounded weights: that is faster than ncnn's
integer kernels for them, and more exact. So are sums of two maps, gates and pools.

ncnn's integers are -127 to 127 around 0, of which a value that is never negative would use half. So
a value behind ReLU or ReLU6 is lowered by half its range where its only reader is a convolution
without padding. The lowering is part of the bias and of the activation in front; the reader's bias
makes up for it: the sum of w · (x - c) is the sum of w · x, less c times the sum of w.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tofa_edge.backends import (
    IMAGE,
    Convolution,
    Layer,
    Linear,
    Network,
    Quantisation,
    image_range,
    pixels_as_steps,
    stepped,
)
from tofa_edge.backends.ncnn.model import PLAIN_FLOATS, Graph, Names, Pieces, Weighted

LEVELS = 127  # on each side of 0
INTEGER_WEIGHTS = (0x000D4B38).to_bytes(4, "little")  # before weights in int8
ALIGNMENT = 4  # bytes
IN_INTEGERS = "8=1"
LARGEST = 3e38  # no float32 is larger by much
TOP = {"relu": LARGEST, "relu6": 6.0}  # of activations that begin at 0


def write_ncnn_int8(network: Network) -> tuple[str, Pieces]:
    """Returns the text and, in pieces, the weights of a network in integers; outputs as in fp32.

    Raises:
        BackendError: the network measures BatchNorm statistics, which ncnn cannot express.
        ValueError: the network has no quantisation.
    """
    if network.quantisation is None:
        raise ValueError("ncnn: int8 wants a network with its quantisation")
    return _IntegerGraph(network, network.quantisation).written()


class _IntegerGraph(Graph):
    def __init__(self, network: Network, plan: Quantisation) -> None:
        super().__init__(network)
        self.plan = plan
        self.lowered = _lowered(network, plan)

    def weighted(self, layer: Weighted, kind: str, inputs: Names, options: str) -> None:
        """Adds a layer with weights, in integers where it is to be."""
        if _in_integers(layer, self.plan):
            options = f"{options} {IN_INTEGERS}"
        super().weighted(layer, kind, inputs, options)

    def activation(self, layer: Weighted) -> str:
        """Returns the options of the activation, lowered with its value."""
        half = self.lowered.get(layer.name)
        if half is None or not isinstance(layer, Convolution):
            return super().activation(layer)
        return f"9=3 -23310=2,{-half!r},{TOP[layer.activation] - half!r}"

    def parameters(self, layer: Weighted) -> None:
        """Appends weights and biases, and for integers what makes steps of floats and back."""
        weight = self.network.arrays[f"{layer.name}.weight"]
        bias = self.network.arrays[f"{layer.name}.bias"] - self.lowered.get(layer.name, 0.0)
        if layer.name in self.plan.kept:
            self.weights.append(PLAIN_FLOATS)
            self.store(weight, bias)
            return
        steps, scales = stepped(weight, self.plan.weight_levels)
        rounded = steps * scales.reshape(-1, *[1] * (weight.ndim - 1))
        if not _in_integers(layer, self.plan):
            self.weights.append(PLAIN_FLOATS)
            self.store(rounded, bias)
            return
        bias = bias + self.lowered.get(layer.input, 0.0) * rounded.reshape(len(steps), -1).sum(1)
        stored = steps.tobytes()
        self.weights += [INTEGER_WEIGHTS, stored, bytes(-len(stored) % ALIGNMENT)]
        multiplier = np.array([self.multiplier(layer.input)], np.float32)
        self.store(bias, np.float32(1) / scales, multiplier)

    def multiplier(self, name: str) -> float:
        """Returns by what a value is multiplied before it is rounded."""
        if name == IMAGE:
            return _image_multiplier(self.network)
        low, high = self.plan.ranges[name]
        return LEVELS / self.lowered.get(name, max(-low, high))


def _in_integers(layer: Layer, plan: Quantisation) -> bool:
    depthwise = isinstance(layer, Convolution) and layer.depthwise
    return isinstance(layer, Convolution | Linear) and not depthwise and layer.name not in plan.kept


def _lowered(network: Network, plan: Quantisation) -> Mapping[str, float]:
    """Returns by how much values are lowered, by the names of those that are."""
    readers: dict[str, list[Layer]] = {}
    for layer in network.layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    halves = {}
    for layer in network.layers:
        if isinstance(layer, Convolution) and layer.activation in TOP:
            first, *others = readers[layer.name]
            plain = isinstance(first, Convolution) and not any(first.padding)
            if plain and not others and _in_integers(first, plan):
                halves[layer.name] = plan.ranges[layer.name][1] / 2
    return halves


def _image_multiplier(network: Network) -> float:
    """Pixels less a mean of 127 or 128 are integers as they are, but for one at the end."""
    as_steps = pixels_as_steps(network)
    if as_steps is not None and as_steps[1] in (LEVELS, LEVELS + 1):
        return 1 / as_steps[0]
    low, high = image_range(network)
    return LEVELS / max(-low, high)
