"""What training starts from: a pretrained network, a bundle, or nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tofa_edge.bundle import Bundle
from tofa_edge.errors import TrainingError
from tofa_edge.network import LITE_PREPROCESSING, FloatArray
from tofa_edge.space import SearchSpace, Subnet
from tofa_edge.spaces import named
from tofa_edge.train.config import PRETRAINED, TrainingConfig
from tofa_edge.train.once_for_all import load_once_for_all
from tofa_edge.train.pretrained import load_lite, new_classifier
from tofa_edge.train.supernet import Supernet

TEACHER_RESOLUTION = 128  # at least: a pretrained network sees little in smaller images


def new_supernet(config: TrainingConfig, classes: int | None) -> Supernet:
    """Returns the supernet that training starts from, with its resolutions up to the wanted one.

    Args:
        config: `start` is "lite0", "lite1", "lite2", the path of a bundle (*.tofa) or "tiny";
            `pretrained` a once-for-all checkpoint.
        classes: of the new classifier; None keeps the one that comes with the weights.

    Raises:
        TrainingError: the weights are not installed, or the resolution is below the space's.
        BundleError: the bundle cannot be used.
    """
    preprocessing, arrays = LITE_PREPROCESSING, None
    space: SearchSpace
    if config.pretrained is not None:
        space, arrays, preprocessing = load_once_for_all(Path(config.pretrained))
    elif config.start.endswith(".tofa"):
        bundle = Bundle.open(config.start)
        space, arrays = bundle.space, bundle.supernet()
        preprocessing = replace(bundle.preprocessing, crop=1.0)
    elif config.start in PRETRAINED:
        space, arrays = load_lite(config.start)
    else:
        space = named(config.start)
    resolutions = tuple(size for size in space.resolutions if size <= config.resolution)
    if not resolutions:
        least = space.resolutions[0]
        raise TrainingError(f"wanted a resolution of {least} px or more, got {config.resolution}")
    space = replace(space, classes=classes or space.classes, resolutions=resolutions)
    supernet = Supernet(space, preprocessing, torch.Generator().manual_seed(config.seed))
    if arrays is not None:
        supernet.load_arrays(_fitting(arrays, classes, config.seed))
    device = used_device(config)
    supernet.mixed = device.type == "cuda"  # on a CPU, training in bfloat16 was slower
    return supernet.to(device)


def used_device(config: TrainingConfig) -> torch.device:
    """Returns the device to train on.

    Raises:
        TrainingError: cuda was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise TrainingError("wanted --device cuda, torch finds none; use --device cpu")
    name = config.device if config.device != "auto" else ("cuda" if available else "cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device(name, local) if name == "cuda" else torch.device(name)


def _fitting(
    arrays: dict[str, FloatArray], classes: int | None, seed: int
) -> dict[str, FloatArray]:
    if classes is None:
        return arrays
    return new_classifier(arrays, classes, np.random.default_rng(seed))


def plain_teacher(name: str, resolution: int) -> tuple[Supernet, Subnet]:
    """Returns a pretrained network, frozen, and its largest subnet at 128 px or more.

    Args:
        name: "lite0", "lite1" or "lite2".
        resolution: of the largest student.
    """
    space, arrays = load_lite(name)
    teacher = Supernet(space, LITE_PREPROCESSING).requires_grad_(False)
    teacher.load_arrays(arrays)
    size = max(resolution, TEACHER_RESOLUTION)
    return teacher, replace(space.largest(), resolution=size)
