"""Writes a Network as a TFLite model."""

from __future__ import annotations

import numpy as np

from tofa_edge.backends import (
    IMAGE,
    LOGITS,
    Activation,
    Add,
    BatchStatistics,
    Convolution,
    GlobalPool,
    Layer,
    Linear,
    Multiply,
    Network,
)
from tofa_edge.backends.labelling import PROBABILITIES, Labelling
from tofa_edge.backends.tflite.kernels import Kernel, parts, same_padding, stored_axes
from tofa_edge.backends.tflite.metadata import HALF, NAME, REDUCED, metadata, with_labels
from tofa_edge.backends.tflite.model import INPUT, TfLiteModel
from tofa_edge.backends.tflite.schema import FLOAT32, SAME, UINT8, VALID, Field


def write_tflite(
    network: Network, labelling: Labelling | None = None, *, precision: str = "fp32"
) -> bytes:
    """Returns a TFLite model: input `images` uint8 (batch, S, S, 3), outputs as the network's.

    Its signature `serving_default` names input and outputs. Maps inside are N×H×W×C; the shapes
    written are those of one image, and the batch is free.

    Args:
        labelling: makes the only output `probabilities`, and adds labels and metadata.
        precision: "fp32", or "fp16": the same, and engines are told that they may compute in fp16.

    Raises:
        ImportError: the package flatbuffers is not installed.
    """
    graph = TfLiteGraph(network)
    if precision == "fp16":
        graph.metadata[REDUCED] = HALF
    return graph.written(labelling)


class TfLiteGraph(TfLiteModel):
    """Writes a network's layers as operators."""

    def __init__(self, network: Network) -> None:
        super().__init__(sum(array.nbytes for array in network.arrays.values()))
        self.network, self.arrays = network, network.arrays

    def written(self, labelling: Labelling | None) -> bytes:
        """Writes all layers, and returns the model."""
        self.preprocess(IMAGE)
        for layer in self.network.layers:
            self.layer(layer)
        if labelling is None:
            return self.finish(self.network.outputs)
        self.probabilities(labelling.temperature)
        self.metadata[NAME] = metadata(labelling, INPUT, self.network.input_size)
        return with_labels(self.finish((PROBABILITIES,)), labelling)

    def images(self, **fields: Field) -> int:
        """Writes the input."""
        _, *shape = image = (1, self.network.input_size, self.network.input_size, 3)
        return self.tensor(INPUT, image, UINT8, shape_signature=(-1, *shape), **fields)

    def preprocess(self, output: str) -> None:
        """Normalises before any padding.

        The constants are repeated for a row of pixels, (3,) → (size, 3): the engine then has one
        long inner loop, instead of one of length three for each pixel.
        """
        pre, rows = self.network.preprocessing, (self.network.input_size, 1)
        mean = self.constant(f"{IMAGE}.mean", np.tile(np.array(pre.mean, np.float32), rows))
        scale = self.constant(f"{IMAGE}.scale", 1 / np.tile(np.array(pre.std, np.float32), rows))
        types = {"in_data_type": UINT8, "out_data_type": FLOAT32}
        pixels = self.operator("CAST", [self.images()], f"{IMAGE}.pixels", options=types)
        centred = self.operator("SUB", [pixels, mean], f"{IMAGE}.centred")
        self.operator("MUL", [centred, scale], output)

    def layer(self, layer: Layer) -> None:
        """Appends a layer, whose value gets its name."""
        inputs, name = [self.indices[name] for name in layer.inputs], layer.name
        match layer:
            case Convolution():
                self.convolution(layer, inputs[0], self.kernel(layer), name)
            case BatchStatistics():
                self._batch_statistics(layer, inputs[0])
            case Add():
                self.operator("ADD", inputs, name)
            case Multiply():
                self.operator("MUL", inputs, name)
            case GlobalPool():
                self._pool(inputs[0], name)
            case Linear():
                self.linear(layer, inputs[0])

    def kernel(self, layer: Convolution) -> Kernel:
        """Returns the whole kernel of a convolution."""
        return Kernel(self.arrays[f"{layer.name}.weight"], self.arrays[f"{layer.name}.bias"])

    def array(self, name: str) -> int:
        """Stores one of the network's arrays as it is."""
        return self.constant(name, self.arrays[name])

    def linear(self, layer: Linear, value: int) -> None:
        """Writes a fully connected layer."""
        inputs = [value, self.array(f"{layer.name}.weight"), self.array(f"{layer.name}.bias")]
        self.operator("FULLY_CONNECTED", inputs, layer.name, (1, layer.out_features))

    def convolution(self, layer: Convolution, value: int, kernel: Kernel, name: str) -> int:
        """Writes a convolution, a large depthwise one in parts, and its activation."""
        first, *rest = parts(layer, kernel)
        if not rest:
            return self.convolve(layer, value, first, name, layer.activation)
        total = self.convolve(layer, value, first, f"{name}.part0")
        for number, part in enumerate(rest, 1):
            term = self.convolve(layer, value, part, f"{name}.part{number}")
            if number < len(rest):
                total = self.operator("ADD", [total, term], f"{name}.sum{number}")
        return self.operator("ADD", [total, term], name, activation=layer.activation)

    def parameters(self, layer: Convolution, kernel: Kernel, name: str) -> tuple[int, int]:
        """Stores a kernel's weights, as the format has them, and its biases."""
        stored = self.constant(f"{name}.weight", kernel.weight.transpose(stored_axes(layer)))
        return stored, self.constant(f"{name}.bias", kernel.bias)

    def convolve(
        self,
        layer: Convolution,
        value: int,
        kernel: Kernel,
        name: str,
        activation: Activation = "none",
    ) -> int:
        """Writes a convolution with a kernel or a part of one, and what pads its input."""
        before, after = layer.padding
        pads = [(before - inset, after - inset) for inset in kernel.inset]  # of rows, of columns
        padding = VALID
        if any(map(any, pads)):
            if pads == [same_padding(layer, span) for span in kernel.spans]:
                padding = SAME
            else:
                value = self.pad(value, pads, f"{name}.padded")
        options = {"padding": padding, "stride_w": layer.stride, "stride_h": layer.stride}
        if layer.depthwise:
            rows, columns = kernel.dilation
            options |= {"dilation_h_factor": rows, "dilation_w_factor": columns}
            options["depth_multiplier"] = 1
        return self.operator(
            "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D",
            [value, *self.parameters(layer, kernel, name)],
            name,
            (1, layer.out_size, layer.out_size, layer.out_channels),
            activation,
            options,
        )

    def pad(self, value: int, pads: list[tuple[int, int]], name: str) -> int:
        """Writes zeros around rows and columns."""
        amounts = self.constant(f"pads_{pads}", np.array([(0, 0), *pads, (0, 0)], np.int32))
        _, height, width, channels = self.shapes[value]
        shape = (1, height + sum(pads[0]), width + sum(pads[1]), channels)
        return self.operator("PAD", [value, amounts], name, shape)

    def _pool(self, value: int, name: str) -> int:
        axes = self.constant("axes_1_2", np.array([1, 2], np.int32))
        shape = (1, 1, 1, self.shapes[value][-1])
        return self.operator("MEAN", [value, axes], name, shape, options={"keep_dims": 1})

    def _batch_statistics(self, layer: BatchStatistics, value: int) -> None:
        """BatchNorm in training mode, which the format lacks, in elementary operators."""
        name, (mean_name, variance_name) = layer.name, layer.statistics
        scale, shift = self.array(f"{name}.scale"), self.array(f"{name}.shift")
        mean = self._batch_mean(value, mean_name)
        squares = self.operator("SQUARED_DIFFERENCE", [value, mean], f"{name}.squares")
        variance = self._batch_mean(squares, variance_name)
        raised = self.operator("ADD", [variance, self.number(layer.epsilon)], f"{name}.raised")
        inverse = self.operator("RSQRT", [raised], f"{name}.inverse")
        gain = self.operator("MUL", [inverse, scale], f"{name}.gain")
        moved = self.operator("MUL", [mean, gain], f"{name}.moved")
        offset = self.operator("SUB", [shift, moved], f"{name}.offset")
        scaled = self.operator("MUL", [value, gain], f"{name}.scaled")
        self.operator("ADD", [scaled, offset], name, activation=layer.activation)

    def _batch_mean(self, value: int, name: str) -> int:
        """Averages positions, then images: short sums round less, and the engine has a kernel."""
        axes = self.constant("axes_0_1_2", np.array([0, 1, 2], np.int32))
        shape = self.shapes[value][-1:]
        return self.operator("MEAN", [self._pool(value, f"{name}.each"), axes], name, shape)

    def probabilities(self, temperature: float) -> None:
        """Divides by the temperature first: many engines know a softmax of beta 1 alone."""
        logits, inverse = self.indices[LOGITS], self.number(1 / temperature)
        cooled = self.operator("MUL", [logits, inverse], f"{LOGITS}.cooled")
        self.operator("SOFTMAX", [cooled], PROBABILITIES, options={"beta": 1})
