"""Kernels as TFLite runs them fast: large ones in parts, and padding by the format's own rule."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tofa_edge.backends import Convolution, FloatArray

FAST_KERNEL = 5  # the largest square depthwise kernel with a fast path: it ends at 25 taps


class Kernel(NamedTuple):
    """A convolution's kernel, or a part of one: taps on a grid of their own."""

    weight: FloatArray  # (out, in / groups, rows, columns)
    bias: FloatArray  # (out,)
    dilation: tuple[int, int] = (1, 1)  # the distance of neighbouring rows, and of columns
    inset: tuple[int, int] = (0, 0)  # rows and columns of the whole outside, on each side

    @property
    def spans(self) -> list[int]:
        """How many rows, and how many columns, it reaches over."""
        taps = self.weight.shape[2:]
        return [(n - 1) * step + 1 for n, step in zip(taps, self.dilation, strict=True)]


def parts(layer: Convolution, kernel: Kernel) -> list[Kernel]:
    """Splits a large depthwise kernel into parts that sum to it: its centre, then ring by ring.

    Each ring is its first and last row and what is left of its first and last column. Beyond 25
    taps the engine leaves its fast path: a 7×7 kernel as three parts is 6 to 8 times faster.
    """
    size, rings = layer.kernel, (layer.kernel - FAST_KERNEL) // 2
    if not layer.depthwise or rings < 1 or min(layer.padding) < rings:
        return [kernel]
    inner, zeros = slice(rings, size - rings), np.zeros_like(kernel.bias)
    split = [Kernel(kernel.weight[:, :, inner, inner], kernel.bias, inset=(rings, rings))]
    for inset in range(rings):
        span = size - 1 - 2 * inset
        ring = kernel.weight[:, :, inset : size - inset, inset : size - inset]
        split.append(Kernel(ring[:, :, ::span], zeros, (span, 1), (inset, inset)))
        split.append(Kernel(ring[:, :, 1:-1, ::span], zeros, (1, span), (inset + 1, inset)))
    return split


def same_padding(layer: Convolution, span: int) -> tuple[int, int] | None:
    """Returns what the format's SAME pads for such a span, None if its output has another size."""
    out_size = -(-layer.in_size // layer.stride)
    total = max((out_size - 1) * layer.stride + span - layer.in_size, 0)
    return (total // 2, total - total // 2) if out_size == layer.out_size else None


def stored_axes(layer: Convolution) -> tuple[int, int, int, int]:
    """Returns what brings weights to the format's order: 1×H×W×out, or out×H×W×in."""
    return (1, 2, 3, 0) if layer.depthwise else (0, 2, 3, 1)
