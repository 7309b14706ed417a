"""RandAugment: random operations of a pool, of random magnitude, on batches of images.

Cubuk et al., "RandAugment", NeurIPS 2020, with the pool, the two operations an image and the random
magnitudes of FixMatch (Sohn et al., NeurIPS 2020, appendix D); factors of tone go both ways, as in
the former. Kornia's RandAugment draws one pair of operations for a whole batch, has no identity,
inverts, and takes the magnitude of shears for half turns: 18° where the paper has 5.7°.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import kornia.enhance
import torch
from torch import Tensor
from torch.nn import functional as F

OPERATIONS = 2  # an image
DEGREES, SHEAR, SHIFT = 30.0, 0.3, 0.3  # at most, either way; a shift as a part of the side
FACTORS = (0.1, 1.9)  # of brightness, colour, contrast and sharpness
BITS = (4, 8)  # that a posterised channel keeps
GREY = 0.5  # where a moved image shows nothing

# Change values: functions of images, 0..1, (N, 3, S, S), and of magnitudes, 0..1, (N,).
Tone = Callable[[Tensor, Tensor], Tensor]
TONES: Mapping[str, Tone] = {
    "autocontrast": lambda images, _: kornia.enhance.normalize_min_max(images),
    "equalize": lambda images, _: kornia.enhance.equalize(images),
    "solarize": lambda images, magnitudes: kornia.enhance.solarize(images, magnitudes),
    "posterize": lambda images, magnitudes: kornia.enhance.posterize(images, _bits(magnitudes)),
    "color": lambda images, magnitudes: kornia.enhance.adjust_saturation_with_gray_subtraction(
        images, _factors(magnitudes)
    ),
    "contrast": lambda images, magnitudes: kornia.enhance.adjust_contrast_with_mean_subtraction(
        images, _factors(magnitudes)
    ),
    "brightness": lambda images, magnitudes: kornia.enhance.adjust_brightness_accumulative(
        images, _factors(magnitudes)
    ),
    "sharpness": lambda images, magnitudes: kornia.enhance.sharpness(images, _factors(magnitudes)),
}
MOVES = ("rotate", "shear x", "shear y", "translate x", "translate y")
POOL = ("identity", *TONES, *MOVES)


def rand_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Returns `images` after two operations each, drawn for each image from the pool of 14.

    Args:
        images: float32, 0..1, (N, 3, S, S).
        generator: source of randomness, of the CPU.

    Returns:
        float32, 0..1, (N, 3, S, S).
    """
    chosen = torch.randint(len(POOL), (OPERATIONS, len(images)), generator=generator)
    magnitudes = torch.rand(OPERATIONS, len(images), generator=generator)
    for names, values in zip(chosen, magnitudes, strict=True):
        images = apply(images, names, values)
    return images


def apply(images: Tensor, chosen: Tensor, magnitudes: Tensor) -> Tensor:
    """Returns images after one operation each, computed together where it is the same.

    Args:
        images: float32, 0..1, (N, 3, S, S).
        chosen: places in `POOL`, int64, (N,).
        magnitudes: 0..1, (N,), from one end of an operation's range to the other.

    Returns:
        float32, 0..1, (N, 3, S, S).
    """
    order = chosen.argsort(stable=True)
    chosen, magnitudes = chosen[order], magnitudes[order]
    there = order.to(images.device)
    changed = images[there]
    first = torch.searchsorted(chosen, torch.arange(len(POOL) + 1)).tolist()
    for place, name in enumerate(POOL):
        rows = slice(first[place], first[place + 1])
        if name in TONES and rows.start < rows.stop:
            made = TONES[name](changed[rows], magnitudes[rows].to(images.device))
            changed[rows] = made.clamp(0, 1)
    rows = slice(first[POOL.index(MOVES[0])], len(chosen))
    if rows.start < rows.stop:
        changed[rows] = _moved(changed[rows], _positions(chosen[rows], magnitudes[rows]))
    return changed[there.argsort()]


def _positions(chosen: Tensor, magnitudes: Tensor) -> Tensor:
    """Returns the matrices by which moved images find their pixels, (N, 2, 3).

    Coordinates run from −1 to 1, so that a shift by the whole side is 2.
    """
    signed = 2 * magnitudes - 1
    rotate, shear_x, shear_y, shift_x, shift_y = (
        torch.where(chosen == POOL.index(name), signed, 0.0) for name in MOVES
    )
    angle = torch.deg2rad(DEGREES * rotate)
    across = torch.stack([angle.cos(), SHEAR * shear_x - angle.sin(), 2 * SHIFT * shift_x], dim=1)
    down = torch.stack([SHEAR * shear_y + angle.sin(), angle.cos(), 2 * SHIFT * shift_y], dim=1)
    return torch.stack([across, down], dim=1)


def _moved(images: Tensor, positions: Tensor) -> Tensor:
    grid = F.affine_grid(positions.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images - GREY, grid, align_corners=False) + GREY


def _factors(magnitudes: Tensor) -> Tensor:
    least, most = FACTORS
    return least + (most - least) * magnitudes


def _bits(magnitudes: Tensor) -> Tensor:
    least, most = BITS
    return (least + (most + 1 - least) * magnitudes).int().clamp(max=most)
