"""Writes a network as MNN reads it: an expression of MNN's own operators, saved to a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.backends import (
    IMAGE,
    LOGITS,
    Add,
    BackendError,
    Convolution,
    FloatArray,
    GlobalPool,
    Layer,
    Linear,
    Multiply,
    Network,
)

PIXELS = "pixels"


def write_mnn(mnn: Any, network: Network) -> bytes:
    """Returns the content of an MNN file, made by the module `mnn`.

    Raises:
        BackendError: the network measures BatchNorm statistics, which MNN cannot express.
    """
    if network.outputs != (LOGITS,):
        raise BackendError("mnn runs folded networks alone: calibrate with another engine")
    graph = _Graph(mnn.expr, network)
    graph.preprocess()
    for layer in network.layers:
        graph.layer(layer)
    return graph.file()


class _Graph:
    def __init__(self, operators: Any, network: Network) -> None:
        self.operators, self.network = operators, network
        self.values: dict[str, Any] = {}

    def file(self) -> bytes:
        """Returns what MNN saves of the logits and all that leads to them."""
        logits = self.values[LOGITS]
        logits.name = LOGITS
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.mnn"
            self.operators.save([logits], str(path))
            return path.read_bytes()

    def constant(self, array: FloatArray) -> Any:
        plain = np.ascontiguousarray(array, np.float32)
        return self.operators.const(plain, list(plain.shape), self.operators.NCHW)

    def preprocess(self) -> None:
        """Normalises before any padding: (pixel - mean) / std."""
        size, pre = self.network.input_size, self.network.preprocessing
        mean, std = (np.array(each).reshape(1, 3, 1, 1) for each in (pre.mean, pre.std))
        kinds = self.operators
        pixels = kinds.placeholder([1, 3, size, size], kinds.NCHW, kinds.float)
        pixels.name = PIXELS
        centred = kinds.subtract(pixels, self.constant(mean))
        self.values[IMAGE] = kinds.multiply(centred, self.constant(1 / std))

    def layer(self, layer: Layer) -> None:
        inputs = [self.values[name] for name in layer.inputs]
        match layer:
            case Convolution():
                value = self.convolution(layer, *inputs)
            case Add():
                value = self.operators.add(*inputs)
            case Multiply():
                value = self.operators.multiply(*inputs)
            case GlobalPool():
                value = self.operators.reduce_mean(*inputs, [2, 3], True)
            case Linear():
                value = self.linear(layer, *inputs)
        self.values[layer.name] = value

    def convolution(self, layer: Convolution, value: Any) -> Any:
        before, after = layer.padding
        if before or after:
            kinds, zeros = self.operators, [[0, 0], [0, 0], [before, after], [before, after]]
            pads = kinds.const(np.array(zeros, np.int32), [4, 2], kinds.NCHW, kinds.int)
            value = kinds.pad(value, pads)
        return self.activations[layer.activation](self.convolve(layer, value))

    def convolve(self, layer: Convolution | Linear, value: Any) -> Any:
        """Adds a convolution without padding, between MNN's own arrangement of channels."""
        kinds, weight = self.operators, self.network.arrays[f"{layer.name}.weight"]
        bias = self.constant(self.network.arrays[f"{layer.name}.bias"])
        stride, groups = (layer.stride, layer.groups) if isinstance(layer, Convolution) else (1, 1)
        square = self.constant(weight.reshape(*weight.shape, *[1] * (4 - weight.ndim)))
        packed = kinds.convert(value, kinds.NC4HW4)
        made = kinds.conv2d(packed, square, bias, (stride, stride), (0, 0), (1, 1), groups)
        return kinds.convert(made, kinds.NCHW)

    def linear(self, layer: Linear, value: Any) -> Any:
        """Adds the 1×1 convolution of one pixel that a fully connected layer is."""
        return self.operators.reshape(self.convolve(layer, value), [1, layer.out_features])

    @property
    def activations(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "none": lambda value: value,
            "relu": self.operators.relu,
            "relu6": self.operators.relu6,
            "hard_sigmoid": self.hard_sigmoid,
            "hard_swish": lambda value: self.operators.multiply(value, self.hard_sigmoid(value)),
        }

    def hard_sigmoid(self, value: Any) -> Any:
        three, sixth = (self.constant(np.full((1, 1, 1, 1), number)) for number in (3, 1 / 6))
        raised = self.operators.relu6(self.operators.add(value, three))
        return self.operators.multiply(raised, sixth)
