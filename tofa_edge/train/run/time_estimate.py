"""How long training will take, before it starts: the cost of one MAC, measured, times MACs."""

from __future__ import annotations

import time

import numpy as np
import torch

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.train.run.loop import RANDOM_SUBNETS
from tofa_edge.train.supernet.supernet import Supernet

IMAGES, REPEATS = 32, 4
SAMPLES = 16
WITHOUT_GRADIENTS = 0.28  # the cost of a pass without gradients over one with, measured
TEACHER = 0.17  # the same in bfloat16
ROUNDED = 1.25  # a step with rounded weights and values over one without, measured


def estimated_seconds(
    space: SearchSpace,
    seconds_per_mac: float,
    images_per_step: int,
    steps: int,
    watched: int,
) -> float:
    """Returns how long a phase will take, in seconds; right within about a third."""
    largest = _macs(space)
    rng = np.random.default_rng(0)
    random = np.mean([macs(layers(space, space.sample(rng))) for _ in range(SAMPLES)])
    sandwich = largest + macs(layers(space, space.smallest())) + RANDOM_SUBNETS * random
    work = images_per_step * sandwich + watched * WITHOUT_GRADIENTS * largest
    return float(steps * work * seconds_per_mac)


def teacher_macs(space: SearchSpace, resolution: int) -> int:
    """Returns the MACs of a space's largest subnet at another resolution, by area."""
    return round(_macs(space) * (resolution / space.resolutions[-1]) ** 2)


def _macs(space: SearchSpace) -> int:
    return macs(layers(space, space.largest()))


def seconds_per_mac(supernet: Supernet) -> float:
    """Returns the time of one MAC of one image, forward and backward, measured."""
    space = supernet.space
    size = space.resolutions[-1]
    device = next(supernet.parameters()).device
    images = torch.zeros(IMAGES, 3, size, size, device=device)
    images += torch.arange(size, device=device)  # all alike would make denormals
    parameters = list(supernet.parameters())
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        (logits,) = supernet(images, space.largest())
        torch.autograd.grad(logits.square().mean(), parameters, allow_unused=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # it returns before it is done
        best = min(best, time.perf_counter() - begun)
    return best / IMAGES / _macs(space)
