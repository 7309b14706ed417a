"""The supernet: one set of parameters, and a forward pass for any subnet.

It interprets `layers(space, subnet)` and slices parameters by `weights.take`, so that there is no
wiring here, and no "active subnet": the subnet is an argument.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import (
    IMAGE,
    LOGITS,
    NORMALISED_ROLES,
    Add,
    Convolution,
    GlobalPool,
    Layer,
    Linear,
    Multiply,
    layers,
    supernet_shapes,
)
from tofa_edge.architecture.space import Activation, SearchSpace, Subnet
from tofa_edge.network.network import Preprocessing
from tofa_edge.network.slicing import take
from tofa_edge.train.supernet.fake_quantisation import rounded_values, rounded_weight

Statistics = Literal["stored", "batch"]
BUFFERS = ("mean", "variance")
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "relu6": F.relu6, "hard_swish": F.hardswish, "hard_sigmoid": F.hardsigmoid,
}  # fmt: skip


class Supernet(nn.Module):
    """Holds the arrays of `supernet_shapes(space)` as parameters and BatchNorm buffers.

    Args:
        space: whose subnets it computes.
        preprocessing: applied to uint8 pixel values before the first layer.
        generator: draws the initial weights (He et al., ICCV 2015); the global one if None.

    Attributes:
        momentum: of stored BatchNorm statistics when they are updated.
        across: averages a value over the processes of a distributed run: batch statistics are then
            those of the whole batch; None for one process.
        mixed: whether to compute in bfloat16 where that is safe (autocast).
        rounded: whether weights and values are rounded as 8-bit integers would round them.
    """

    def __init__(
        self,
        space: SearchSpace,
        preprocessing: Preprocessing,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.space, self.preprocessing = space, preprocessing
        self.momentum = 0.1
        self.across: Callable[[Tensor], Tensor] | None = None
        self.mixed = False
        self.rounded = False
        self._units = nn.ModuleDict()
        for name, shape in supernet_shapes(space).items():
            layer, role = name.split(".")
            if layer not in self._units:
                self._units[layer] = nn.Module()
            value = _initial(role, shape, generator)
            if role in BUFFERS:
                self._units[layer].register_buffer(role, value)
            else:
                self._units[layer].register_parameter(role, nn.Parameter(value))

    def forward(
        self,
        images: Tensor,
        subnet: Subnet,
        statistics: Statistics = "batch",
        update: bool = False,
        outputs: tuple[str, ...] = (LOGITS,),
    ) -> tuple[Tensor, ...]:
        """Computes values of one subnet.

        Args:
            images: pixel values 0..255, float, (N, 3, S, S), S = `subnet.resolution`.
            subnet: one of the space's.
            statistics: whether BatchNorm uses the batch's statistics or the stored ones, which
                belong to the largest subnet.
            update: whether batch statistics move the stored ones by `momentum`.
            outputs: names of the values to return, in order: `LOGITS` (N, classes), `POOLED`.
        """
        arrays = self.arrays()
        results: dict[str, Tensor] = {}
        values = {IMAGE: self._normalise(images)}
        kind = images.device.type
        with torch.autocast(kind, torch.bfloat16) if self.mixed else contextlib.nullcontext():
            for layer in layers(self.space, subnet):
                inputs = [values[name] for name in layer.inputs]
                value = self._run(layer, inputs, arrays, statistics, update)
                if self.rounded and layer.name != LOGITS:
                    value = rounded_values(value)
                values[layer.name] = value
                if layer.name in outputs:
                    results[layer.name] = value.float() if self.mixed else value
        return tuple(results[name] for name in outputs)

    def arrays(self) -> dict[str, Tensor]:
        """Returns every parameter and buffer under its supernet name."""
        named = dict(self.named_parameters()) | dict(self.named_buffers())
        return {name.removeprefix("_units."): value for name, value in named.items()}

    def to_arrays(self) -> dict[str, FloatArray]:
        """Returns copies of every array as numpy float32, by supernet name."""
        return {
            name: value.detach().cpu().contiguous().float().numpy().copy()
            for name, value in self.arrays().items()
        }

    def load_arrays(self, arrays: Mapping[str, FloatArray]) -> None:
        """Copies `arrays` into the supernet.

        Raises:
            KeyError, RuntimeError: an array is missing or has another shape.
        """
        with torch.no_grad():
            for name, value in self.arrays().items():
                value.copy_(torch.from_numpy(np.ascontiguousarray(arrays[name])))

    def _normalise(self, images: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(numbers, device=images.device).reshape(1, 3, 1, 1)
            for numbers in (self.preprocessing.mean, self.preprocessing.std)
        )
        return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)

    def _run(
        self,
        layer: Layer,
        inputs: list[Tensor],
        arrays: Mapping[str, Tensor],
        statistics: Statistics,
        update: bool,
    ) -> Tensor:
        match layer:
            case Convolution():
                value = _convolve(layer, inputs[0], self._weight(layer, arrays), arrays)
                if layer.normalised:
                    value = self._batch_norm(layer, value, arrays, statistics, update)
                return activate(value, layer.activation)
            case Add():
                return inputs[0] + inputs[1]
            case Multiply():
                return inputs[0] * inputs[1]
            case GlobalPool():
                return inputs[0].mean(dim=(2, 3), keepdim=True)
            case Linear():
                bias = take(layer, f"{layer.name}.bias", arrays)
                return F.linear(inputs[0].flatten(1), self._weight(layer, arrays), bias)
        raise TypeError(f"a supernet has no layer like {layer}")

    def _weight(self, layer: Convolution | Linear, arrays: Mapping[str, Tensor]) -> Tensor:
        weight: Tensor = take(layer, f"{layer.name}.weight", arrays)
        return rounded_weight(weight) if self.rounded else weight

    def _batch_norm(
        self,
        layer: Convolution,
        value: Tensor,
        arrays: Mapping[str, Tensor],
        statistics: Statistics,
        update: bool,
    ) -> Tensor:
        names = (f"{layer.name}.{role}" for role in NORMALISED_ROLES)
        scale, shift, mean, variance = (take(layer, name, arrays) for name in names)
        training = statistics == "batch"
        if training and not update:
            mean = variance = None
        if training and self.across is not None:
            return self._shared_batch_norm(layer, value, (scale, shift, mean, variance))
        momentum, epsilon = self.momentum, layer.epsilon
        return F.batch_norm(value, mean, variance, scale, shift, training, momentum, epsilon)

    def _shared_batch_norm(
        self, layer: Convolution, value: Tensor, arrays: Sequence[Tensor | None]
    ) -> Tensor:
        """BatchNorm with the moments of the batches of all processes."""
        assert self.across is not None
        scale, shift, stored_mean, stored_variance = arrays
        assert scale is not None
        assert shift is not None
        value = value.float()
        shape = (1, -1, 1, 1)
        mean = self.across(value.mean(dim=(0, 2, 3)))
        centred = value - mean.reshape(shape)
        variance = self.across(centred.square().mean(dim=(0, 2, 3)))
        if stored_mean is not None and stored_variance is not None:
            with torch.no_grad():  # as torch does; the unbiased correction is below 1e-3 here
                stored_mean.lerp_(mean, self.momentum)
                stored_variance.lerp_(variance, self.momentum)
        factor = scale * torch.rsqrt(variance + layer.epsilon)
        return centred * factor.reshape(shape) + shift.reshape(shape)


def _convolve(
    layer: Convolution, value: Tensor, weight: Tensor, arrays: Mapping[str, Tensor]
) -> Tensor:
    bias = None if layer.normalised else take(layer, f"{layer.name}.bias", arrays)
    before, after = layer.padding
    if before != after:
        value, before = F.pad(value, (before, after, before, after)), 0
    return F.conv2d(value, weight, bias, layer.stride, before, groups=layer.groups)


def activate(value: Tensor, activation: Activation) -> Tensor:
    """Returns the activation of a value, of the same shape."""
    if activation == "none":
        return value
    activated: Tensor = ACTIVATIONS[activation](value)
    return activated


def _initial(role: str, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    if role in ("scale", "variance"):
        return torch.ones(shape)
    if role.startswith("transform_"):
        return torch.eye(shape[0])
    if role != "weight":
        return torch.zeros(shape)
    fan_in = int(np.prod(shape[1:]))
    weight: Tensor = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    if len(shape) == 2:
        return weight * 0.1  # a classifier that starts undecided
    return weight.contiguous(memory_format=torch.channels_last)
