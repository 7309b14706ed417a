"""Kernels as TFLite runs them fast: large ones in parts, and padding by the format's own rule."""

from __future__ import annotations

from typing import NamedTuple

from tofa_edge.backends import Convolution, FloatArray

FAST_KERNEL = 5  # the largest square depthwise kernel with a fast path: it ends at 25 taps


class Part(NamedTuple):
    """Taps of a convolution kernel on a grid of their own.

    Attributes:
        weight: (out, in / groups, rows, columns).
        dilation: the distance of neighbouring rows, and of columns.
        inset: rows and columns of the whole kernel outside of the part, on each side.
    """

    weight: FloatArray
    dilation: tuple[int, int] = (1, 1)
    inset: tuple[int, int] = (0, 0)

    @property
    def spans(self) -> list[int]:
        """How many rows, and how many columns, the part reaches over."""
        taps = self.weight.shape[2:]
        return [(n - 1) * step + 1 for n, step in zip(taps, self.dilation, strict=True)]


def parts(layer: Convolution, weight: FloatArray) -> list[Part]:
    """Splits a large depthwise kernel into parts that sum to it: its centre, then ring by ring.

    Each ring is its first and last row and what is left of its first and last column. Beyond 25
    taps the engine leaves its fast path: a 7×7 kernel as three parts is 6 to 8 times faster.

    Args:
        weight: float32, (channels, 1, rows, columns).
    """
    size, rings = layer.kernel, (layer.kernel - FAST_KERNEL) // 2
    if not layer.depthwise or rings < 1 or min(layer.padding) < rings:
        return [Part(weight)]
    inner = slice(rings, size - rings)
    found = [Part(weight[:, :, inner, inner], inset=(rings, rings))]
    for inset in range(rings):
        span = size - 1 - 2 * inset
        ring = weight[:, :, inset : size - inset, inset : size - inset]
        found.append(Part(ring[:, :, ::span], (span, 1), (inset, inset)))
        found.append(Part(ring[:, :, 1:-1, ::span], (1, span), (inset + 1, inset)))
    return found


def same_padding(layer: Convolution, span: int) -> tuple[int, int] | None:
    """Returns what the format's SAME pads for such a span, None if its output has another size."""
    out_size = -(-layer.in_size // layer.stride)
    total = max((out_size - 1) * layer.stride + span - layer.in_size, 0)
    return (total // 2, total - total // 2) if out_size == layer.out_size else None


def stored_axes(layer: Convolution) -> tuple[int, int, int, int]:
    """Returns what brings weights to the format's order: 1×H×W×out, or out×H×W×in."""
    return (1, 2, 3, 0) if layer.depthwise else (0, 2, 3, 1)
