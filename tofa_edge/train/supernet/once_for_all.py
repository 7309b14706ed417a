"""Reads a checkpoint of the once-for-all MobileNetV3 supernet (Cai et al., ICLR 2020)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS, supernet_shapes
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.zoo import mobilenet_v3
from tofa_edge.errors import TrainingError
from tofa_edge.network.network import Preprocessing
from tofa_edge.train.supernet.efficientnet_lite import TORCH_ROLES, blocks

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
DOUBLED = re.compile(r"\.(conv|bn|linear)\.\1\.")
PARTS = {"expand": "inverted_bottleneck", "depthwise": "depth_conv", "project": "point_linear"}
EXCITATION = {"reduce": "depth_conv.se.fc.reduce", "excite": "depth_conv.se.fc.expand"}
ENDS = {"stem": "first_conv", "head": "final_expand_layer", "features": "feature_mix_layer"}
WIDTHS = {16: 1.0, 24: 1.2}  # of the first convolution, by width multiplier
STEM = "first_conv.conv.weight"


def load_once_for_all(path: Path) -> tuple[SearchSpace, dict[str, FloatArray], Preprocessing]:
    """Returns the space, the supernet arrays and the pre-processing of a checkpoint.

    Every subnet computes what the same subnet of the `ofa` package computes: depths, expand ratios
    and kernel sizes mean the same, kernel matrices included.

    Args:
        path: of a torch file with the state of an `OFAMobileNetV3` of width 1.0 or 1.2, read as
            weights only. Names of older releases are understood.

    Raises:
        TrainingError: it is a bundle or cannot be read, or an array is missing or has another
            shape; it is named.
    """
    state = _state(path)
    stem = state.get(STEM)
    if stem is None or stem.ndim != 4 or len(stem) not in WIDTHS:
        held = _keys(state) if stem is None else f"{STEM} of shape {tuple(stem.shape)}"
        wanted = f"a once-for-all MobileNetV3 of width 1.0 or 1.2, with its {STEM}"
        raise TrainingError(f"{path}: wanted {wanted}; found {held}")
    classes = state.get("classifier.linear.weight")
    space = mobilenet_v3(WIDTHS[len(stem)])
    if classes is None or classes.ndim != 2 or len(classes) != space.classes:
        held = "none" if classes is None else f"one of shape {tuple(classes.shape)}"
        raise TrainingError(f"{path}: wanted a classifier of {space.classes} classes, got {held}")
    return space, _arrays(path, state, space), IMAGENET


def _arrays(path: Path, state: Mapping[str, Tensor], space: SearchSpace) -> dict[str, FloatArray]:
    sources = _sources(space)
    arrays: dict[str, FloatArray] = {}
    for name, shape in supernet_shapes(space).items():
        layer, role = name.split(".")
        if name == "features.bias":  # a convolution without one
            arrays[name] = torch.zeros(shape).numpy()
            continue
        source = _source(sources[layer], role)
        tensor = state.get(source)
        if tensor is None:
            raise TrainingError(f"{path}: {source} is missing")
        got = tuple(tensor.shape)
        if [size for size in got if size != 1] != [size for size in shape if size != 1]:
            raise TrainingError(f"{path}: {source}: wanted shape {shape}, got {got}")
        arrays[name] = tensor.float().reshape(shape).numpy()
    return arrays


def _state(path: Path) -> dict[str, Tensor]:
    if path.name.endswith(".tofa"):
        raise TrainingError(f"{path} is a bundle: use --from {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader of weights raises many kinds for damaged files
        if isinstance(error, OSError) and error.strerror:
            raise TrainingError(f"{path}: cannot be read: {error.strerror}") from error
        raise TrainingError(
            f"{path}: wanted a PyTorch checkpoint of arrays (a state dict) of a once-for-all "
            "MobileNetV3, cannot be read as one: save the network's state_dict()"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise TrainingError(f"{path}: wanted a dictionary of named tensors, found a {kind}")
    if not all(isinstance(name, str) and _is_array(value) for name, value in content.items()):
        raise TrainingError(
            f"{path}: wanted a dictionary of named tensors (a state dict), found {_keys(content)}"
        )
    state = {}
    for name, value in content.items():
        name = name.replace(".mobile_inverted_conv.", ".conv.")
        state[DOUBLED.sub(r".\1.", name)] = value
    return state


def _is_array(value: object) -> bool:
    """Whether numpy can hold it: neither sparse nor quantised, and with its numbers."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and value.device.type == "cpu"
    )


def _keys(content: Mapping[object, object] | Mapping[str, Tensor]) -> str:
    """Returns what a dictionary holds, in words: its first keys, escaped and of bounded length."""
    if not content:
        return "an empty dictionary"
    first = ", ".join(" ".join(repr(name).split())[:60] for name in [*content][:2])
    return f"the keys {first}, …" if len(content) > 2 else f"the keys {first}"


def _sources(space: SearchSpace) -> dict[str, str]:
    """Returns the checkpoint's name of each layer."""
    sources = {**ENDS, LOGITS: "classifier.linear"}
    for number, block in enumerate(blocks(space)):
        for part, source in {**PARTS, **EXCITATION}.items():
            sources[f"{block}_{part}"] = f"blocks.{number}.conv.{source}"
    return sources


def _source(layer: str, role: str) -> str:
    if role.startswith("transform_"):
        return f"{layer}.conv.{role.removeprefix('transform_')}_matrix"
    if role in TORCH_ROLES:
        return f"{layer}.bn.{TORCH_ROLES[role]}"
    plain = layer == "classifier.linear" or ".se." in layer
    return f"{layer}.{role}" if plain else f"{layer}.conv.{role}"
