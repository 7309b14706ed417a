"""Features of images: whole in memory where they are few, else in files, read block by block.

Features of 100,000 images by three teachers are 1.5 GB in float32, and fitting a probe would copy
them several times. Those of more than 256 MB are kept in float16, in files that are mapped
and vanish with them, and are computed with a block at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.train.data.files.mapped import array_for

WHOLE_BYTES = 256 * 10**6  # as float32; beyond, features are read block by block
BLOCK_BYTES = 128 * 10**6
MEMORY_SHARE = 0.05  # of what is free, that one array of float16 may take; others go to disk


@dataclass(frozen=True, eq=False)
class Features:
    """Features of images, those of several networks side by side.

    Attributes:
        parts: of each network, float32 or float16, (N, channels).
        device: where they are computed with.
        chosen: which of the images, in this order, int64, (M,); None for all.
        standard: mean and divisor of each channel, float32, (channels,) each; None for raw ones.
    """

    parts: tuple[Tensor, ...]
    device: torch.device
    chosen: Tensor | None = None
    standard: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls, features: Tensor | Features | Sequence[Tensor], like: Tensor | None = None
    ) -> Features:
        """Returns features, float32 or float16, (N, channels), or those of several networks.

        Args:
            features: of all images.
            like: a tensor of the device to compute on; None for that of the features.
        """
        if isinstance(features, Features):
            return features
        parts = (features,) if isinstance(features, Tensor) else tuple(features)
        device = (parts[0] if like is None else like).device
        found = cls(parts, device)
        return cls((found.rows(slice(None)),), device) if found.fits else found

    @property
    def channels(self) -> int:
        """How many there are of an image."""
        return sum(part.shape[1] for part in self.parts)

    @property
    def fits(self) -> bool:
        """Whether they are few enough to be copied whole."""
        return 4 * len(self) * self.channels <= WHOLE_BYTES

    def rows(self, places: slice | Tensor) -> Tensor:
        """Returns those of the images at `places`, float32, (n, channels); perhaps a view."""
        if self.chosen is not None:
            places = self.chosen[places]
        parts = [part[places].to(self.device, torch.float32) for part in self.parts]
        found = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if self.standard is None:
            return found
        mean, divisor = self.standard
        return (found - mean).div_(divisor)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yields places of images and their features, as `rows`: all at once where they fit."""
        count = len(self) if self.fits else max(1, BLOCK_BYTES // (4 * self.channels))
        for start in range(0, len(self), max(1, count)):
            places = slice(start, start + count)
            yield places, self.rows(places)

    def take(self, places: Tensor) -> Features:
        """Returns those of the images at `places`, int64, (M,)."""
        places = places.to(self.parts[0].device)
        chosen = places if self.chosen is None else self.chosen[places]
        found = Features(self.parts, self.device, chosen, self.standard)
        return Features((found.rows(slice(None)),), self.device) if found.fits else found

    def standardised(self, mean: Tensor, divisor: Tensor) -> Features:
        """Returns raw ones less a `mean`, by a `divisor`, float32, (channels,) each."""
        found = Features(self.parts, self.device, self.chosen, (mean, divisor))
        return Features((found.rows(slice(None)),), self.device) if self.fits else found

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Returns features @ weight.T + bias, float32, (N, outputs).

        Args:
            weight: float32, (outputs, channels).
            bias: float32, (outputs,); None for none.
        """
        return torch.cat([F.linear(block, weight, bias) for _, block in self.blocks()])

    def __len__(self) -> int:
        return len(self.parts[0] if self.chosen is None else self.chosen)


def room_for_rows(count: int, channels: int, purpose: str, place: Path | None = None) -> Tensor:
    """Returns a tensor for features, (count, channels); it holds anything so far.

    Of up to 256 MB it is float32 and in memory, else float16 and, unless memory abounds,
    a file.

    Args:
        count: of images.
        channels: of each.
        purpose: what it is for, in messages.
        place: folder for the file; None for that of temporary files.

    Raises:
        DataError: neither memory nor disk has room.
    """
    if 4 * count * channels <= WHOLE_BYTES:
        return torch.empty(count, channels)
    return torch.from_numpy(array_for((count, channels), "float16", purpose, place, MEMORY_SHARE))


def centre_and_typical(features: Features) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of each channel, float32, (channels,) each.

    Args:
        features: of two images or more where they are many.
    """
    if features.fits:
        whole = features.rows(slice(None))
        return whole.mean(dim=0), whole.std(dim=0, correction=min(1, len(whole) - 1))
    total = torch.zeros(features.channels, dtype=torch.float64, device=features.device)
    for _, block in features.blocks():
        total += block.sum(dim=0, dtype=torch.float64)
    mean, squares = (total / len(features)).float(), torch.zeros_like(total)
    for _, block in features.blocks():
        squares += (block - mean).square_().sum(dim=0, dtype=torch.float64)
    return mean, (squares / (len(features) - 1)).sqrt().float()


def split(features: Features, most: int) -> Iterator[slice]:
    """Yields places of images in equal parts of up to `most`, in order."""
    parts = torch.arange(len(features)).tensor_split(math.ceil(len(features) / most))
    yield from (slice(int(part[0]), int(part[-1]) + 1) for part in parts)
