"""Rounding as 8-bit integers do it, for training: values change, gradients hardly notice.

What a step function computes, and the gradient of none at all: the straight-through estimator
(Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons", 2013; for
integers: Jacob et al., CVPR 2018, section 3). The grids are those of `tofa_edge.network.integers`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tofa_edge.network.integers import MOST_LEVELS, QUANTILE


def rounded_weight(weight: Tensor, levels: int = MOST_LEVELS) -> Tensor:
    """Returns weights (out, …) on the grid of their output channel; gradients pass as they are.

    BatchNorm, once folded, multiplies an output channel and its step alike, so that the grid is
    the same before and after.
    """
    with torch.no_grad():
        most = weight.flatten(1).abs().amax(dim=1)
        scales = torch.where(most > 1e-8, most, torch.ones_like(most)) / levels
        scales = scales.reshape(-1, *[1] * (weight.dim() - 1))
        moved = (weight / scales).round_().mul_(scales).sub_(weight)
    return weight + moved


def rounded_values(values: Tensor) -> Tensor:
    """Returns values (N, …) on the 256 steps of their batch's range, float32.

    The range is what a device would take from these images: a quantile of their lowest and of
    their highest values, with 0 inside. Gradients pass within it and stop outside.
    """
    values = values.float()
    with torch.no_grad():
        low, high, scale = _grid(values)
    inside = values.clamp(low, high)
    with torch.no_grad():
        moved = (inside / scale).round_().mul_(scale).sub_(inside)
    return inside + moved


def _grid(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the lowest and the highest step of the grid, and how far steps are apart."""
    each = tuple(range(1, values.dim()))
    low = values.amin(dim=each).quantile(1 - QUANTILE)
    high = values.amax(dim=each).quantile(QUANTILE)
    low, high = low.clamp(max=0.0), torch.maximum(high.clamp(min=0.0), low + 1e-6)
    scale = (high - low).clamp(min=1e-8) / 255
    zero = (-low / scale).round().clamp(0, 255)
    return -zero * scale, (255 - zero) * scale, scale
