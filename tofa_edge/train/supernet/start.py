"""What training starts from: a pretrained network, a bundle, or nothing."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.zoo import named
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.device.known_holes import known_holes
from tofa_edge.errors import TrainingError
from tofa_edge.network.network import LITE_PREPROCESSING, Preprocessing
from tofa_edge.train.config import PRETRAINED, TrainingConfig
from tofa_edge.train.supernet.efficientnet_lite import load_lite, new_classifier
from tofa_edge.train.supernet.once_for_all import load_once_for_all
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Start:
    """What training starts from.

    Attributes:
        space: with the classes of the weights.
        preprocessing: of every subnet.
        arrays: the weights; None draws them.
    """

    space: SearchSpace
    preprocessing: Preprocessing
    arrays: dict[str, FloatArray] | None


def read_weights(config: TrainingConfig) -> Start:
    """Reads what training starts from, with all resolutions.

    Raises:
        TrainingError: the weights are not installed.
        BundleError: the bundle cannot be used.
    """
    if config.pretrained is not None:
        space, arrays, preprocessing = load_once_for_all(Path(config.pretrained))
        return Start(space, preprocessing, arrays)
    if config.start.endswith(".tofa"):
        bundle = Bundle.open(config.start)
        return Start(bundle.space, replace(bundle.preprocessing, crop=1.0), bundle.supernet())
    if config.start in PRETRAINED:
        space, arrays = load_lite(config.start)
        return Start(space, LITE_PREPROCESSING, arrays)
    return Start(named(config.start), LITE_PREPROCESSING, None)


def read_start(config: TrainingConfig) -> Start:
    """Reads what training starts from, without resolutions above the configured one.

    Raises:
        TrainingError: the weights are not installed, or the resolution is below the space's.
    """
    for hole in known_holes():
        log.warning(f"{hole.what}: {hole.cost}; {hole.fix}")
    start = read_weights(config)
    resolutions = tuple(size for size in start.space.resolutions if size <= config.resolution)
    if not resolutions:
        least = start.space.resolutions[0]
        raise TrainingError(f"wanted a resolution of {least} px or more, got {config.resolution}")
    return replace(start, space=replace(start.space, resolutions=resolutions))


def new_supernet(start: Start, config: TrainingConfig, classes: int | None = None) -> Supernet:
    """Returns the supernet that training starts from, on the device to train on.

    Args:
        start: its space and weights.
        config: the device, and the seed of new weights.
        classes: of the new classifier; None keeps that of the weights.

    Raises:
        TrainingError: the device asked for is not there.
    """
    space = replace(start.space, classes=classes or start.space.classes)
    generator = torch.Generator().manual_seed(config.seed)
    supernet = Supernet(space, start.preprocessing, generator)
    if start.arrays is not None:
        arrays = start.arrays
        if classes is not None:
            arrays = new_classifier(arrays, classes, np.random.default_rng(config.seed))
        supernet.load_arrays(arrays)
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
