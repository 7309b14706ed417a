"""Features standardised by channel, so that no weight rests on a channel without variance."""

from __future__ import annotations

import torch
from torch import Tensor

from tofa_edge.train.objective.features import Features, centre_and_typical

FLOOR = 0.05  # of the typical deviation: what the deviation of a channel counts as, at least


def centre_and_deviation(features: Tensor | Features) -> tuple[Tensor, Tensor]:
    """Returns the mean of each channel and the deviation to divide by, float32, (channels,) each.

    On narrow data many channels hardly ever fire. Divided by their own deviation, noise would
    count as much as a feature, and a classifier's weights, folded back, would be enormous where
    one step of an 8-bit integer then decides everything. So a deviation is never less than a share
    of the typical one, the root of the mean square over channels.

    Args:
        features: float32, (N, channels).
    """
    mean, deviation = centre_and_typical(Features.of(features))
    typical = deviation.square().mean().sqrt()
    return mean, torch.clamp(deviation, min=max(FLOOR * float(typical), 1e-6))
