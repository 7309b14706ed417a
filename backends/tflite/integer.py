"""Writes a Network as a TFLite model in 8-bit integers.

Values are int8, weights int8 with a step for each output channel, biases int32 in steps of input
times weight. Every activation but hard swish is what the range of int8 cuts off: a hard sigmoid is
x / 6 + 1/2 between 0 and 1, and so a convolution's own scale and bias. Hard swish, kernels beyond
5×5 and the classifier are computed in float32 between integers: there the engine has no fast or no
reliable integer kernels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tofa_edge.backends import (
    Activation,
    Convolution,
    FloatArray,
    Layer,
    Linear,
    Network,
    Range,
    affine,
    image_range,
    pixels_as_steps,
    stepped,
)
from tofa_edge.backends.labelling import Labelling
from tofa_edge.backends.tflite.float import TfLiteGraph
from tofa_edge.backends.tflite.kernels import Kernel, parts, stored_axes
from tofa_edge.backends.tflite.schema import INT8, QUANTISATION

LARGEST = 2**31 - 1
LOWEST = -128
FLOAT, STEPS = ".float", ".steps"

Integers = NDArray[np.int8] | NDArray[np.int32]


def write_tflite_quantised(
    network: Network, precision: str, labelling: Labelling | None = None
) -> bytes:
    """Returns a TFLite model with weights in 8 bits; inputs and outputs as in fp32.

    With the `precision` "int8" it computes in integers; with "dynamic" the engine rounds values as
    they come.

    Raises:
        ImportError: the package flatbuffers is not installed.
        ValueError: the network has no quantisation.
    """
    graph = {"int8": _IntegerGraph, "dynamic": _DynamicGraph}[precision]
    return graph(network).written(labelling)


class _SteppedGraph(TfLiteGraph):
    """Writes weights in steps."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        if network.quantisation is None:
            raise ValueError("TFLite: integers want a network with its quantisation")
        self.plan = network.quantisation

    def quantisation(self, scales: FloatArray, zero: int = 0, axis: int = 0) -> int:
        """Writes scales, one or one for each index of an axis, and as many zero points."""
        zeros = self.file.vector(np.full(len(scales), zero, np.int64))
        scale = self.file.vector(scales.astype(np.float32))
        return self.file.table(
            QUANTISATION, scale=scale, zero_point=zeros, quantized_dimension=axis
        )

    def integers(self, name: str, array: Integers, scales: FloatArray, axis: int = 0) -> int:
        """Stores integers that are steps of these scales."""
        return self.constant(name, array, quantization=self.quantisation(scales, axis=axis))

    def rounded(self, layer: Convolution, kernel: Kernel) -> Kernel:
        """Returns the weights that steps stand for, in float32; the biases go with these."""
        if layer.name in self.plan.kept:
            return kernel
        steps, scales = stepped(kernel.weight, self.plan.weight_levels)
        return kernel._replace(weight=steps * scales.reshape(-1, 1, 1, 1))

    def linear(self, layer: Linear, value: int) -> None:
        """Writes weights in steps, and a fully connected layer in float.

        They become floats when the model is loaded: with a step for each channel, engines of 2023
        computed rubbish here, and one step for all would lose accuracy.
        """
        name = layer.name
        if name in self.plan.kept:
            super().linear(layer, value)
            return
        steps, scales = stepped(self.arrays[f"{name}.weight"], self.plan.weight_levels)
        stored = self.integers(f"{name}.weight{STEPS}", steps, scales)
        weight = self.operator("DEQUANTIZE", [stored], f"{name}.weight")
        inputs = [value, weight, self.array(f"{name}.bias")]
        self.operator("FULLY_CONNECTED", inputs, name, (1, layer.out_features))


class _DynamicGraph(_SteppedGraph):
    """Depthwise weights, a few percent, stay in float32, for which there are fast kernels."""

    def convolution(self, layer: Convolution, value: int, kernel: Kernel, name: str) -> int:
        if layer.depthwise:
            kernel = self.rounded(layer, kernel)
        return super().convolution(layer, value, kernel, name)

    def parameters(self, layer: Convolution, kernel: Kernel, name: str) -> tuple[int, int]:
        """Stores weights in steps of each output channel, and biases in float32."""
        if layer.depthwise or layer.name in self.plan.kept:
            return super().parameters(layer, kernel, name)
        steps, scales = stepped(kernel.weight, self.plan.weight_levels)
        stored = self.integers(f"{name}.weight", steps.transpose(stored_axes(layer)), scales)
        return stored, self.constant(f"{name}.bias", kernel.bias)


class _IntegerGraph(_SteppedGraph):
    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.grids: dict[str, tuple[float, int]] = {}  # scale and zero point of int8 values

    def value(self, name: str, shape: tuple[int, ...]) -> int:
        """Writes a tensor in integers where the value has a grid."""
        if name not in self.grids:
            return super().value(name, shape)
        scale, zero = self.grids[name]
        grid = self.quantisation(np.array([scale]), zero)
        return self.tensor(name, shape, INT8, quantization=grid)

    def preprocess(self, output: str) -> None:
        """Takes pixels as the integers they are where that is exact; else normalises in float."""
        steps = pixels_as_steps(self.network)
        if steps is None:
            super().preprocess(f"{output}{FLOAT}")
            self.quantise(output, image_range(self.network))
            return
        scale, zero = steps
        images = self.images(quantization=self.quantisation(np.array([scale]), zero))
        self.grids[output] = (scale, zero + LOWEST)
        self.operator("QUANTIZE", [images], output)

    def quantise(self, name: str, bounds: Range) -> int:
        """Rounds the float value of that name plus ".float"."""
        self.grids[name] = affine(bounds, signed=True)
        return self.operator("QUANTIZE", [self.indices[f"{name}{FLOAT}"]], name)

    def floating(self, name: str) -> int:
        """Returns a value in float32."""
        if name in self.grids and f"{name}{FLOAT}" not in self.indices:
            self.operator("DEQUANTIZE", [self.indices[name]], f"{name}{FLOAT}")
        return self.indices[f"{name}{FLOAT}" if name in self.grids else name]

    def layer(self, layer: Layer) -> None:
        name = layer.name
        if isinstance(layer, Linear):
            self.linear(layer, self.floating(layer.input))
        elif isinstance(layer, Convolution) and self.in_float(layer):
            kernel = self.rounded(layer, self.kernel(layer))
            self.convolution(layer, self.floating(layer.input), kernel, f"{name}{FLOAT}")
            self.quantise(name, self.plan.ranges[name])
        else:
            self.grids[name] = affine(self.plan.ranges[name], signed=True)
            super().layer(layer)

    def in_float(self, layer: Convolution) -> bool:
        """Returns whether a layer is to be kept, or has a kernel that is faster in float parts."""
        return layer.name in self.plan.kept or len(parts(layer, self.kernel(layer))) > 1

    def convolution(self, layer: Convolution, value: int, kernel: Kernel, name: str) -> int:
        """Writes a convolution and its activation.

        A hard sigmoid is left to the range; a hard swish, of which the engine has no fast kernel in
        integers, is computed in float32 from integers.
        """
        if name not in self.grids:
            return super().convolution(layer, value, kernel, name)
        if layer.activation != "hard_swish":
            sigmoid = layer.activation == "hard_sigmoid"
            activation: Activation = "none" if sigmoid else layer.activation
            return self.convolve(layer, value, kernel, name, activation)
        del self.grids[name]
        plain, bounds = f"{name}.plain", self.plan.ranges[name]
        self.grids[plain] = affine((-3.0, before_hard_swish(bounds[1])), signed=True)
        self.convolve(layer, value, kernel, plain)
        self.operator("HARD_SWISH", [self.floating(plain)], f"{name}{FLOAT}")
        return self.quantise(name, bounds)

    def pad(self, value: int, pads: list[tuple[int, int]], name: str) -> int:
        """Writes zeros around rows and columns, in the input's own integers."""
        source = next(key for key, index in self.indices.items() if index == value)
        if source in self.grids:
            self.grids[name] = self.grids[source]
        return super().pad(value, pads, name)

    def parameters(self, layer: Convolution, kernel: Kernel, name: str) -> tuple[int, int]:
        """Stores weights in steps of each output channel, and biases in steps of the products."""
        if name not in self.grids:
            return super().parameters(layer, kernel, name)
        bias = kernel.bias
        steps, scales = stepped(kernel.weight, self.plan.weight_levels)
        if layer.activation == "hard_sigmoid":
            scales, bias = scales / np.float32(6), bias / np.float32(6) + np.float32(0.5)
        axis, stored = 3 if layer.depthwise else 0, steps.transpose(stored_axes(layer))
        index = self.integers(f"{name}.weight", stored, scales, axis)
        unit = (scales * np.float32(self.grids[layer.input][0])).astype(np.float32)
        whole = np.clip(np.rint(bias / unit.astype(np.float64)), -LARGEST, LARGEST)
        return index, self.integers(f"{name}.bias", whole.astype(np.int32), unit)


def before_hard_swish(value: float) -> float:
    """Returns the number whose hard swish is `value` ≥ 0."""
    return value if value >= 3 else (float(np.sqrt(9 + 24 * value)) - 3) / 2
