"""The BatchNorm statistics that a supernet stores: those of its largest subnet."""

from __future__ import annotations

import math

import torch

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.train.data.augment import resize
from tofa_edge.train.supernet.supernet import Supernet


def set_statistics(supernet: Supernet, images: ImageArray) -> None:
    """Gives a supernet the statistics of its largest subnet for images that are not augmented.

    Those of training are of augmented images, and in the first two thirds of a phase of a lower
    resolution. Every process computes them for itself, from the same images.

    Args:
        supernet: whose statistics are replaced.
        images: to calibrate with, uint8, (N, S, S, 3), in mixed order, of which 1,024 are used.
    """
    device, largest = next(supernet.parameters()).device, supernet.space.largest()
    pixels = torch.from_numpy(images[: 4 * CALIBRATION_IMAGES]).permute(0, 3, 1, 2)
    parts = torch.tensor_split(pixels, math.ceil(len(pixels) / CALIBRATION_IMAGES))  # weigh alike
    shared, supernet.across = supernet.across, None
    momentum = supernet.momentum
    with torch.no_grad():
        for number, part in enumerate(parts):
            supernet.momentum = 1 / (number + 1)
            views = resize(part.to(device).float(), largest.resolution)
            supernet(views, largest, update=True)
    supernet.across, supernet.momentum = shared, momentum
