"""Layers as nodes of an ONNX graph, and weights as its initialisers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import (
    IMAGE,
    LOGITS,
    Add,
    BatchStatistics,
    Convolution,
    GlobalPool,
    Layer,
    Linear,
    Multiply,
    parameter_shapes,
)
from tofa_edge.architecture.space import Activation
from tofa_edge.backends.labelling import PROBABILITIES
from tofa_edge.network.network import Network

INPUT = "images"
PREPARATION = ("values", "pixels", "centred", IMAGE)  # the nodes before the first layer
OPERATORS = {Add: "Add", Multiply: "Mul", GlobalPool: "GlobalAveragePool"}
HALF_LOGITS = f"{LOGITS}.half"
FLOAT, HALF = 1, 10  # TensorProto.FLOAT and FLOAT16
GRAPH, INITIALISER, RAW_DATA = b"\x3a", b"\x2a", b"\x4a"  # fields 7, 5 and 9: number × 8 + 2


class OnnxGraph:
    """A graph that a network's layers are written into.

    In `training_mode`, `BatchStatistics` is one BatchNormalization; `half` weights are float16.
    """

    def __init__(self, network: Network, training_mode: bool, half: bool) -> None:
        from onnx import GraphProto

        self.proto, self.network = GraphProto(), network
        self.training_mode, self.half = training_mode, half
        self.constants: set[str] = set()
        self.arrays: list[tuple[str, int, tuple[int, ...], NDArray[np.generic]]] = []

    def constant(self, name: str, array: FloatArray, half: bool = False) -> str:
        """Stores an array once, in float32 or 16, and returns its name."""
        if name not in self.constants:
            self.constants.add(name)
            kind, form = (HALF, "<f2") if half else (FLOAT, "<f4")
            with np.errstate(over="ignore"):
                stored = array.astype(form, copy=False)
            if half and not np.isfinite(stored).all():
                raise ValueError(f"ONNX: {name} goes up to {np.abs(array).max():g}, fp16 to 65504")
            self.store(name, kind, stored)
        return name

    def store(self, name: str, kind: int, array: NDArray[np.generic]) -> None:
        """Stores an array as it is."""
        flat = np.ascontiguousarray(array).reshape(-1)
        self.arrays.append((name, kind, array.shape, flat))

    def serialised(self) -> bytes:
        """Returns the graph as the field of a model's message that holds it.

        Messages hold lengths and contents, so the arrays can be put between them: as fields of a
        message they would be copied three times, which took most of the time of writing.
        """
        from onnx import TensorProto

        parts: list[Any] = [self.proto.SerializeToString()]
        for name, kind, shape, flat in self.arrays:
            head = TensorProto(name=name, dims=shape, data_type=kind).SerializeToString()
            raw = RAW_DATA + _varint(flat.nbytes)
            size = _varint(len(head) + len(raw) + flat.nbytes)
            parts += [INITIALISER + size + head + raw, flat]
        length = sum(part.nbytes if isinstance(part, np.ndarray) else len(part) for part in parts)
        return b"".join([GRAPH, _varint(length), *parts])

    def node(
        self, kind: str, inputs: Sequence[str], output: str | list[str], **attributes: object
    ) -> str:
        """Appends an operator; returns the name of its first output."""
        from onnx import helper

        names = [output] if isinstance(output, str) else output
        node = self.proto.node.add(op_type=kind, input=inputs, output=names, name=names[0])
        node.attribute.extend(helper.make_attribute(key, item) for key, item in attributes.items())
        return names[0]

    def preprocess(self, output: str) -> None:
        """Normalises before any padding: uint8 N×S×S×3 → float N×3×S×S.

        The cast comes first: it is the one operator that TensorRT lets read uint8.
        """
        pre, (values, pixels, centred, _) = self.network.preprocessing, PREPARATION
        self.node("Cast", [INPUT], values, to=FLOAT)
        self.node("Transpose", [values], pixels, perm=[0, 3, 1, 2])
        means, stds = (
            np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (pre.mean, pre.std)
        )
        mean = self.constant("mean", means)
        scale = self.constant("scale", np.reciprocal(stds))
        self.node("Sub", [pixels, mean], centred)
        normalised = self.node("Mul", [centred, scale], f"{output}.float" if self.half else output)
        if self.half:
            self.node("Cast", [normalised], output, to=HALF)

    def probabilities(self, temperature: float) -> None:
        """Appends softmax(logits / temperature)."""
        inverse = self.constant("inverse_temperature", np.array(1 / temperature, np.float32))
        self.node("Mul", [LOGITS, inverse], f"{LOGITS}.cooled")
        self.node("Softmax", [f"{LOGITS}.cooled"], PROBABILITIES, axis=1)

    def layer(self, layer: Layer) -> None:
        """Appends a layer, whose value gets its name."""
        self.parameters(layer)
        match layer:
            case Convolution():
                self.convolution(layer, layer.name, layer.activation)
            case BatchStatistics():
                self._batch_statistics(layer)
            case Linear():
                flat = self.node("Flatten", layer.inputs, f"{layer.name}.flat")
                self.linear(layer, flat, HALF_LOGITS if self.half else layer.name)
            case _:
                self.node(OPERATORS[type(layer)], layer.inputs, layer.name)

    def parameters(self, layer: Layer) -> None:
        """Writes what a layer needs, each array under its name."""
        for name, _ in parameter_shapes(layer):
            self.constant(name, self.network.arrays[name], self.half)

    def linear(self, layer: Linear, flat: str, output: str) -> None:
        """Writes a fully connected layer from a flat value to `output`, both by name."""
        arrays = [f"{layer.name}.weight", f"{layer.name}.bias"]
        self.node("Gemm", [flat, *arrays], output, transB=1)

    def convolution(self, layer: Convolution, output: str, activation: Activation) -> None:
        """Writes a convolution and an activation, perhaps another than its own."""
        before, after = layer.padding
        plain = output if activation == "none" else f"{layer.name}.plain"
        self.node(
            "Conv",
            [layer.input, f"{layer.name}.weight", f"{layer.name}.bias"],
            plain,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            group=layer.groups,
            pads=[before, before, after, after],
        )
        self._activation(plain, output, activation)

    def _batch_statistics(self, layer: BatchStatistics) -> None:
        plain = layer.name if layer.activation == "none" else f"{layer.name}.plain"
        inputs = [layer.input, f"{layer.name}.scale", f"{layer.name}.shift"]
        if self.training_mode:
            inputs += 2 * [self.constant(f"{layer.name}.0", np.zeros(layer.channels, np.float32))]
            outputs = [plain, *layer.statistics]
            attributes = {"momentum": 0.0, "training_mode": 1}  # 0: this very batch's statistics
            self.node("BatchNormalization", inputs, outputs, epsilon=layer.epsilon, **attributes)
        else:
            self._statistics(layer)
            inputs += layer.statistics
            self.node("BatchNormalization", inputs, plain, epsilon=layer.epsilon)
        self._activation(plain, layer.name, layer.activation)

    def _statistics(self, layer: BatchStatistics) -> None:
        """The mean, and the mean squared difference from it, with elementary operators."""
        mean, variance = layer.statistics
        kept = self.node("ReduceMean", [layer.input], f"{mean}.kept", axes=[0, 2, 3], keepdims=1)
        self.node("ReduceMean", [kept], mean, axes=[0, 2, 3], keepdims=0)
        centred = self.node("Sub", [layer.input, kept], f"{layer.name}.centred")
        squares = self.node("Mul", [centred, centred], f"{layer.name}.squares")
        self.node("ReduceMean", [squares], variance, axes=[0, 2, 3], keepdims=0)

    def _activation(self, source: str, output: str, activation: Activation) -> None:
        if activation in ("relu", "hard_swish"):
            self.node("Relu" if activation == "relu" else "HardSwish", [source], output)
        elif activation == "relu6":
            bounds = [
                self.constant(f"bound_{n}", np.array(n, np.float32), self.half) for n in (0, 6)
            ]
            self.node("Clip", [source, *bounds], output)
        elif activation == "hard_sigmoid":
            self.node("HardSigmoid", [source], output, alpha=1 / 6, beta=0.5)


def _varint(value: int) -> bytes:
    """Returns a length as protocol buffers write it: seven bits a byte, the lowest first."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    return bytes([*content, value])
