"""Augmentation of batches of images, on tensors, with an explicit generator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_CROP = 0.5  # of the area
TARGET_CROP = 0.75  # the same of views that targets are read from: they should show the object
CUTOUT = 0.5  # of the side, at most


def weak(
    images: Tensor,
    generator: torch.Generator,
    least_crop: float = LEAST_CROP,
    flips: bool = True,
) -> Tensor:
    """Flips half of the images and crops each to between a part and all of its area.

    Args:
        images: pixel values 0..255, uint8 or float, (N, 3, S, S).
        generator: source of randomness.
        least_crop: the least part, 0..1.
        flips: whether to flip, left to right, at all.

    Returns:
        float32, (N, 3, S, S).
    """
    count = len(images)
    side = (least_crop + (1 - least_crop) * torch.rand(count, generator=generator)).sqrt()
    flip = torch.where(torch.rand(count, generator=generator) < 0.5 * flips, -1.0, 1.0)
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]
    zeros = torch.zeros(count)
    rows = torch.stack([side * flip, zeros, shift[:, 0]], dim=1)
    columns = torch.stack([zeros, side, shift[:, 1]], dim=1)
    theta = torch.stack([rows, columns], dim=1).to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


def strong(images: Tensor, generator: torch.Generator, flips: bool = True) -> Tensor:
    """Augments weakly, then by RandAugment, then cuts a square out.

    Cutout (DeVries and Taylor, 2017) is up to half of the side, grey.

    Args:
        images: pixel values 0..255, uint8 or float, (N, 3, S, S).
        generator: source of randomness.
        flips: as for `weak`.

    Returns:
        float32, 0..255, (N, 3, S, S).
    """
    from tofa_edge.train.data.rand_augment import rand_augment  # kornia loads slowly

    views = weak(images, generator, flips=flips)
    views = rand_augment((views / 255).clamp(0, 1), generator) * 255
    count, size = len(views), views.shape[-1]
    side = CUTOUT * torch.rand(count, 1, generator=generator) * size
    centre = torch.rand(count, 2, generator=generator) * size
    places = torch.arange(size) + 0.5
    rows, columns = ((places - centre[:, axis : axis + 1]).abs() < side / 2 for axis in (0, 1))
    cut = (rows[:, :, None] & columns[:, None, :])[:, None].to(views.device)
    augmented: Tensor = views.masked_fill(cut, 127.0)
    return augmented


def resize(images: Tensor, size: int) -> Tensor:
    """Returns floats `images` (N, 3, S, S) as (N, 3, `size`, `size`), bilinear and antialiased."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
