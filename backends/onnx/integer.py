"""Writes a Network as an ONNX model in 8-bit integers, in QDQ form.

Each value is followed by QuantizeLinear and DequantizeLinear; engines fuse these with the operators
between them into integer ones. An activation is left out where the integers' range cuts off the
same: what is below 0 or above 6 has no integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.layers import Convolution, Layer, Linear
from tofa_edge.architecture.space import Activation
from tofa_edge.backends.labelling import Labelling
from tofa_edge.backends.onnx.float import written
from tofa_edge.backends.onnx.graph import INPUT, OPERATORS, OnnxGraph
from tofa_edge.network.integers import affine, image_range, pixels_as_steps, stepped
from tofa_edge.network.network import Network, Quantisation

STEPS = ".steps"
LARGEST = 2**31 - 1
KINDS = {"u1": 2, "i1": 3, "i4": 6}  # TensorProto.UINT8, INT8, INT32


@dataclass(frozen=True, slots=True)
class Scheme:
    """What an engine wants of 8-bit values.

    Attributes:
        signed: whether values are int8 instead of uint8; weights are int8 always.
        symmetric: whether their zero points are 0.
        integer_bias: whether biases are int32 in steps of input times weight.
    """

    signed: bool = False
    symmetric: bool = False
    integer_bias: bool = True


TENSORRT = Scheme(signed=True, symmetric=True, integer_bias=False)


def write_onnx_int8(network: Network, scheme: Scheme, labelling: Labelling | None = None) -> bytes:
    """Returns an ONNX model that engines compute in integers; inputs and outputs as in fp32.

    Raises:
        ImportError: the package onnx is not installed.
        ValueError: the network has no quantisation.
    """
    if network.quantisation is None:
        raise ValueError("ONNX: int8 wants a network with its quantisation")
    return written(_QuantisedGraph(network, network.quantisation, scheme), labelling)


class _QuantisedGraph(OnnxGraph):
    def __init__(self, network: Network, plan: Quantisation, scheme: Scheme) -> None:
        super().__init__(network, training_mode=False, half=False)
        self.plan, self.scheme = plan, scheme
        self.grids: dict[str, tuple[float, int]] = {}  # of each value: scale and zero point

    def preprocess(self, output: str) -> None:
        """Takes pixels as the integers they are where that is exact; else normalises in float."""
        steps = pixels_as_steps(self.network)
        if steps is None or self.scheme.symmetric:
            super().preprocess(f"{output}.plain")
            self.quantise(output, f"{output}.plain", self.grid(image_range(self.network)))
            return
        self.node("Transpose", [INPUT], f"{output}{STEPS}", perm=[0, 3, 1, 2])
        self.dequantise(output, steps, "u1")

    def layer(self, layer: Layer) -> None:
        """Appends a layer; its value is rounded to its grid, but for the logits."""
        name = layer.name
        self.parameters(layer)
        if isinstance(layer, Linear):
            flat = f"{name}.flat{STEPS}"
            self.node("Flatten", [f"{layer.input}{STEPS}"], flat)
            self.dequantise(f"{name}.flat", self.grids[layer.input], self.kind)
            self.linear(layer, f"{name}.flat", name)
            return
        raw, grid = f"{name}.float", self.grid(self.plan.ranges[name])
        if isinstance(layer, Convolution):
            self.convolution(layer, raw, self.needed_activation(layer, grid))
        else:
            self.node(OPERATORS[type(layer)], layer.inputs, raw)
        self.quantise(name, raw, grid)

    def parameters(self, layer: Layer) -> None:
        """Writes weights in steps of each output channel, and biases in steps of the products."""
        if not isinstance(layer, Convolution | Linear) or layer.name in self.plan.kept:
            super().parameters(layer)
            return
        weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
        arrays = self.network.arrays
        steps, scales = stepped(arrays[weight], self.plan.weight_levels)
        names = [
            self.integers(f"{weight}{STEPS}", steps, "i1"),
            self.constant(f"{weight}.scale", scales),
            self.integers(f"{weight}.zero", np.zeros(len(scales), np.int8), "i1"),
        ]
        self.node("DequantizeLinear", names, weight, axis=0)
        if not self.scheme.integer_bias:
            self.constant(bias, arrays[bias])
            return
        unit = (scales * np.float32(self.grids[layer.input][0])).astype(np.float32)
        whole = np.clip(np.rint(arrays[bias] / unit.astype(np.float64)), -LARGEST, LARGEST)
        stored = self.integers(f"{bias}{STEPS}", whole.astype(np.int32), "i4")
        self.node("DequantizeLinear", [stored, self.constant(f"{bias}.scale", unit)], bias, axis=0)

    def integers(self, name: str, array: NDArray[Any], kind: str) -> str:
        if name not in self.constants:
            self.constants.add(name)
            self.store(name, KINDS[kind], array.astype(f"<{kind}", copy=False))
        return name

    @property
    def kind(self) -> str:
        return "i1" if self.scheme.signed else "u1"

    def grid(self, bounds: tuple[float, float]) -> tuple[float, int]:
        if self.scheme.symmetric:
            return float(np.float32(max(-bounds[0], bounds[1]) / 127)), 0
        return affine(bounds, self.scheme.signed)

    def quantise(self, name: str, raw: str, grid: tuple[float, int]) -> None:
        self.node("QuantizeLinear", [raw, *self.grid_names(grid, self.kind)], f"{name}{STEPS}")
        self.dequantise(name, grid, self.kind)

    def dequantise(self, name: str, grid: tuple[float, int], kind: str) -> None:
        self.grids[name] = grid
        self.node("DequantizeLinear", [f"{name}{STEPS}", *self.grid_names(grid, kind)], name)

    def grid_names(self, grid: tuple[float, int], kind: str) -> tuple[str, str]:
        scale, zero = grid
        return (
            self.constant(f"scale_{scale!r}", np.array(scale, np.float32)),
            self.integers(f"zero_{kind}_{zero}", np.array(zero), kind),
        )

    def needed_activation(self, layer: Convolution, grid: tuple[float, int]) -> Activation:
        """Returns the activation, or none where the integers cut off the same."""
        lowest = -128 if self.scheme.signed else 0
        if layer.activation in ("relu", "relu6") and grid[1] == lowest:
            return "none"
        return layer.activation
