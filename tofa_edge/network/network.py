"""Network: the finished thing a backend is given. It knows nothing of supernets or BatchNorm."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import safetensors.numpy

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import (
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
from tofa_edge.storage.plain import from_plain


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a photo becomes the input of the first layer: cropped, resized, (pixel - mean) / std.

    Attributes:
        mean: subtracted, per channel R, G, B, in pixel units 0..255.
        std: divided by, per channel, in pixel units.
        crop: side of the central square that the network sees, over the shorter side of the photo.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float = 1.0

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not np.isfinite(numbers).all():
            raise ValueError(f"pre-processing wants 3 means and 3 stds, got {self}")
        if not 0.1 <= self.crop <= 1:
            raise ValueError(f"pre-processing wants a crop in 0.1..1, got {self.crop}")
        if min(self.std) < 1e-3:
            raise ValueError(f"pre-processing wants stds of at least 0.001, got {self.std}")


LITE_PREPROCESSING = Preprocessing((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))

Range = tuple[float, float]


@dataclass(frozen=True, eq=False, slots=True)
class Quantisation:
    """How a network is computed in 8 bits; `tofa_edge.network.integers` makes it, backends obey it.

    Attributes:
        ranges: the lowest and the highest that each value reaches, by its name, low ≤ 0 ≤ high.
            What is beyond is cut off, so that a range from 0 also stands for the activation.
        kept: names of layers that are computed in float32.
        weight_levels: of a weight on each side of 0: 127, or less where 8-bit products saturate.
    """

    ranges: Mapping[str, Range]
    kept: tuple[str, ...] = ()
    weight_levels: int = 127


@dataclass(frozen=True, eq=False)
class Network:
    """Layers and their arrays, ready to be built by a backend.

    Its input is a batch of images, uint8, N×S×S×3 (RGB), S = `input_size`. Pre-processing belongs
    to the network: a backend normalises first and pads then, so that the border stays zero.

    Attributes:
        layers: in execution order; no convolution is `normalised` (BatchNorm is folded).
        arrays: float32, contiguous, named and shaped as `parameter_shapes` says.
        outputs: the names of the values to return: `LOGITS` (N, classes), and for calibration the
            means and variances of its `BatchStatistics` layers, each (channels,).
        preprocessing: applied to the uint8 input.
        quantisation: how to compute it in 8 bits; None where only float is wanted.
    """

    layers: tuple[Layer, ...]
    arrays: Mapping[str, FloatArray]
    preprocessing: Preprocessing
    outputs: tuple[str, ...] = (LOGITS,)
    quantisation: Quantisation | None = None

    def __post_init__(self) -> None:
        for layer in self.layers:
            if isinstance(layer, Convolution) and (layer.normalised or layer.kernel_path):
                raise ValueError(f"layer {layer.name}: fold its BatchNorm to build a Network")
            for name, shape in parameter_shapes(layer):
                if name not in self.arrays or self.arrays[name].shape != shape:
                    got = self.arrays[name].shape if name in self.arrays else "nothing"
                    raise ValueError(f"array {name}: wanted shape {shape}, got {got}")

    @property
    def input_size(self) -> int:
        """Height and width of the input in pixels."""
        first = self.layers[0]
        assert isinstance(first, Convolution)
        return first.in_size

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides what the network computes, in hexadecimal."""
        digest = hashlib.sha256(json.dumps(_describe(self), sort_keys=True).encode())
        for name in sorted(self.arrays):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.arrays[name]).data)
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """Returns the network as one safetensors file, its layers as JSON in the metadata."""
        return safetensors.numpy.save(dict(self.arrays), {"network": json.dumps(_describe(self))})

    @staticmethod
    def from_bytes(content: bytes) -> Network:
        """Reads the `content` that `to_bytes` returned.

        Raises:
            ValueError: the content is something else.
        """
        length = int.from_bytes(content[:8], "little")
        try:
            value = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["network"])
            plan = value["quantisation"]
            return Network(
                tuple(from_plain(LAYER_KINDS[kind], fields) for kind, fields in value["layers"]),
                safetensors.numpy.load(content),
                from_plain(Preprocessing, value["preprocessing"]),
                tuple(value["outputs"]),
                None if plan is None else from_plain(Quantisation, plan),
            )
        except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise ValueError(f"not a network: {error}") from error


LAYER_KINDS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (Convolution, BatchStatistics, Add, Multiply, GlobalPool, Linear)
}


def _describe(network: Network) -> dict[str, Any]:
    return {
        "layers": [[type(layer).__name__, dataclasses.asdict(layer)] for layer in network.layers],
        "preprocessing": dataclasses.asdict(network.preprocessing),
        "outputs": network.outputs,
        "quantisation": network.quantisation and dataclasses.asdict(network.quantisation),
    }
