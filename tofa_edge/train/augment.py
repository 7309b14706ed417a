"""Augmentation of batches of images, on tensors, with an explicit generator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_CROP = 0.5  # of the area


def weak(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flips half of the images and crops each to between half and all of its area.

    Args:
        images: pixel values 0..255, uint8 or float, (N, 3, S, S).
        generator: source of randomness.

    Returns:
        float32, (N, 3, S, S).
    """
    count = len(images)
    side = (LEAST_CROP + (1 - LEAST_CROP) * torch.rand(count, generator=generator)).sqrt()
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]
    zeros = torch.zeros(count)
    rows = torch.stack([side * flip, zeros, shift[:, 0]], dim=1)
    columns = torch.stack([zeros, side, shift[:, 1]], dim=1)
    theta = torch.stack([rows, columns], dim=1).to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


def resize(images: Tensor, size: int) -> Tensor:
    """Returns images (N, 3, S, S) as (N, 3, size, size), bilinear and antialiased."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
