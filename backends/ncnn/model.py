"""Writes a Network as ncnn reads it: a text that lists the layers, and their weights in a row.

The text's numbers (`0=…`) are ncnn's parameters of each kind of layer, by their index. Values are
maps of one image; behind a pool they are rows, for which a 1×1 convolution is an inner product.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from tofa_edge.backends import (
    IMAGE,
    Activation,
    Add,
    BackendError,
    BatchStatistics,
    Convolution,
    FloatArray,
    GlobalPool,
    Layer,
    Linear,
    Multiply,
    Network,
)

Names = tuple[str, ...]
Pieces = list[bytes | memoryview]
Weighted = Convolution | Linear
MAGIC = 7767517  # the first line of every ncnn text
PIXELS = "pixels"
PLAIN_FLOATS = bytes(4)  # before weights that could be stored in other ways
HARD_SIGMOID = "0=0.16666667 1=0.5"
ACTIVATIONS: dict[Activation, str] = {  # fused: a kind, and its numbers as array 10
    "none": "9=0",
    "relu": "9=1",
    "relu6": "9=3 -23310=2,0.0,6.0",
    "hard_swish": "9=6 -23310=2,0.16666667,0.5",
    "hard_sigmoid": "9=0",  # a layer of its own
}


def write_ncnn(network: Network) -> tuple[str, Pieces]:
    """Returns the text and, in pieces, the weights of a network in float32.

    Raises:
        BackendError: the network measures BatchNorm statistics, which ncnn cannot express.
    """
    return Graph(network).written()


class Graph:
    """A text and weights in the making.

    Args:
        network: to write; its layers are `written` in their order.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.readers = Counter(name for layer in network.layers for name in layer.inputs)
        self.taken: Counter[str] = Counter()
        self.lines: list[str] = []
        self.weights: Pieces = []
        self.values = 0
        self.flat: set[str] = set()  # names of values that are rows

    def written(self) -> tuple[str, Pieces]:
        """Returns the text and the weights, which are the network's own arrays where they can be.

        Raises:
            BackendError: the network measures BatchNorm statistics.
        """
        self.preprocess()
        for layer in self.network.layers:
            self.layer(layer)
        text = f"{MAGIC}\n{len(self.lines)} {self.values}\n" + "\n".join(self.lines) + "\n"
        return text, self.weights

    def line(self, kind: str, inputs: Names, outputs: Names, options: str) -> None:
        """Adds a layer as it stands."""
        counts = f"{len(inputs)} {len(outputs)}"
        self.lines.append(" ".join((kind, outputs[0], counts, *inputs, *outputs, options)))
        self.values += len(outputs)

    def make(self, kind: str, inputs: Names, output: str, options: str = "") -> None:
        """Adds a layer; where several read its value, each gets a copy of its own."""
        self.line(kind, inputs, (output,), options)
        copies = tuple(f"{output}.{number}" for number in range(self.readers[output]))
        if len(copies) > 1:
            self.line("Split", (output,), copies, "")

    def read(self, name: str) -> str:
        """Returns the name under which the next reader finds a value."""
        self.taken[name] += 1
        return f"{name}.{self.taken[name] - 1}" if self.readers[name] > 1 else name

    def store(self, *arrays: FloatArray) -> None:
        """Appends arrays in float32 to the weights."""
        self.weights += [np.ascontiguousarray(array, "<f4").data.cast("B") for array in arrays]

    def preprocess(self) -> None:
        """Normalises before any padding: pixel / std - mean / std."""
        size, pre = self.network.input_size, self.network.preprocessing
        mean, std = np.array(pre.mean), np.array(pre.std)
        self.line("Input", (), (PIXELS,), f"0={size} 1={size} 2=3")
        self.make("Scale", (PIXELS,), IMAGE, "0=3 1=1")
        self.store((1 / std).astype(np.float32), (-mean / std).astype(np.float32))

    def layer(self, layer: Layer) -> None:
        """Adds a layer of the network."""
        inputs = tuple(self.read(name) for name in layer.inputs)
        match layer:
            case Convolution():
                self.convolution(layer, inputs)
            case Add():
                self.make("BinaryOp", inputs, layer.name, "0=0")
            case Multiply():
                self.make("BinaryOp", inputs, layer.name, "0=2")
            case GlobalPool():
                self.make("Pooling", inputs, layer.name, "0=1 4=1")
                self.flat.add(layer.name)
            case Linear():
                options = f"0={layer.out_features} 1=1 2={layer.out_features * layer.in_features}"
                self.weighted(layer, "InnerProduct", inputs, options)
            case BatchStatistics():
                raise BackendError("ncnn runs folded networks alone: calibrate with another engine")

    def convolution(self, layer: Convolution, inputs: Names) -> None:
        """Adds a convolution; on a row, the inner product that it is there."""
        size = math.prod(layer.weight_shape)
        if layer.input in self.flat:
            self.flat.add(layer.name)
            kind, options = "InnerProduct", f"0={layer.out_channels} 1=1 2={size}"
        else:
            kind = "ConvolutionDepthWise" if layer.depthwise else "Convolution"
            before, after = layer.padding
            options = (
                f"0={layer.out_channels} 1={layer.kernel} 3={layer.stride} 4={before} 14={before} "
                f"15={after} 16={after} 5=1 6={size}" + f" 7={layer.groups}" * layer.depthwise
            )
        self.weighted(layer, kind, inputs, options)

    def weighted(self, layer: Weighted, kind: str, inputs: Names, options: str) -> None:
        """Adds a layer with weights, its activation fused."""
        options, name = f"{options} {self.activation(layer)}", layer.name
        if isinstance(layer, Convolution) and layer.activation == "hard_sigmoid":
            self.line(kind, inputs, (f"{name}.plain",), options)
            self.make("HardSigmoid", (f"{name}.plain",), name, HARD_SIGMOID)
        else:
            self.make(kind, inputs, name, options)
        self.parameters(layer)

    def activation(self, layer: Weighted) -> str:
        """Returns the options that say which activation is fused."""
        return ACTIVATIONS[layer.activation if isinstance(layer, Convolution) else "none"]

    def parameters(self, layer: Weighted) -> None:
        """Appends weights and biases in float32."""
        self.weights.append(PLAIN_FLOATS)
        arrays = self.network.arrays
        self.store(arrays[f"{layer.name}.weight"], arrays[f"{layer.name}.bias"])
