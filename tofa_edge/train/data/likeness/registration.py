"""Registration: moving and scaling one thumbnail until it lies over another.

A crop or the next photo of a burst shows the same a few pixels off. The shift and the scale that
undo it are found by least squares on the thumbnails (Lucas and Kanade, IJCAI 1981), with gain and
offset of the brightness free.
"""

from __future__ import annotations

import numpy as np

from tofa_edge.architecture.arrays import FloatArray

MOST = np.array([0.35, 0.25, 0.25], np.float32)  # logarithm of the scale; shares of the side
LEAST_GAIN = 0.1
CONTRAST = 64.0  # grey levels that thumbnails of length 1 get, so that gain and offset are alike
DAMPING = np.array([1e-4, 1e-3, 1e-3, 0.0, 0.0], np.float32)

Placement = FloatArray  # (N, 3): logarithm of the scale, then shifts right and down, in sides


def placed(small: FloatArray, placement: Placement) -> tuple[FloatArray, FloatArray]:
    """Returns thumbnails moved and scaled, and where they have pixels.

    Args:
        small: float32, (N, side, side).
        placement: of each, (N, 3): a pixel at x from the centre is read at exp(scale) · x + shift.

    Returns:
        float32, (N, side, side), and 1 inside, 0 outside, of the same shape.
    """
    side = small.shape[1]
    offsets = np.arange(side, dtype=np.float32) - (side - 1) / 2
    scaled = np.exp(placement[:, :1]) * offsets + (side - 1) / 2
    across, inside_across = interpolation(scaled + side * placement[:, 1:2])
    down, inside_down = interpolation(scaled + side * placement[:, 2:3])
    moved = down @ small @ across.transpose(0, 2, 1)
    return moved, inside_down[:, :, None] * inside_across[:, None, :]


def interpolation(places: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns matrices that read a line of pixels at places, (N, side), and which are inside."""
    count, side = places.shape
    before = np.clip(np.floor(places), 0, side - 2).astype(np.int64)
    part = np.clip(places - before, 0, 1).astype(np.float32)
    matrices = np.zeros((count, side, side), np.float32)
    rows, columns = np.arange(count)[:, None], np.arange(side)
    matrices[rows, columns, before] = 1 - part
    matrices[rows, columns, before + 1] = part
    return matrices, ((places >= -0.5) & (places <= side - 0.5)).astype(np.float32)


def inverse(placement: Placement) -> Placement:
    """Returns the placements that undo others, (N, 3)."""
    shifts = -placement[:, 1:] * np.exp(-placement[:, :1])
    return np.concatenate([-placement[:, :1], shifts], axis=1).astype(np.float32)


def register(fixed: FloatArray, moving: FloatArray, start: Placement, rounds: int) -> Placement:
    """Returns the placements, (N, 3), that lay moving thumbnails over fixed ones.

    Args:
        fixed: normalised, float32, (N, side, side).
        moving: the same.
        start: where to begin, (N, 3).
        rounds: of correction, each of a pixel and of a pixel at the edge at most.
    """
    fixed, moving = fixed * CONTRAST, moving * CONTRAST
    placement: Placement = start.astype(np.float32)
    side = fixed.shape[1]
    for _ in range(rounds):
        step = _step(fixed, *placed(moving, placement))
        step[:, 1:] /= side
        limited: Placement = np.clip(step, -1 / side, 1 / side).astype(np.float32)
        placement = placement + limited
        placement = np.minimum(np.maximum(placement, -MOST), MOST)
    return placement


def _step(fixed: FloatArray, moved: FloatArray, inside: FloatArray) -> FloatArray:
    """Returns the change of scale and shifts, (N, 3), the latter in pixels."""
    count, side, _ = fixed.shape
    offsets = np.arange(side, dtype=np.float32) - (side - 1) / 2
    down, across = np.gradient(moved, axis=(1, 2))
    scale = across * offsets + down * offsets[:, None]
    columns = np.stack([scale, across, down, moved, np.ones_like(moved)], axis=-1)
    columns = columns.reshape(count, -1, 5)
    weights = inside / np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    weighted = (columns * weights.reshape(count, -1, 1)).transpose(0, 2, 1)
    normal = weighted @ columns
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None] / 5
    normal += np.diag(DAMPING) * trace + np.eye(5, dtype=np.float32) * 1e-6
    solved = np.linalg.solve(normal, weighted @ fixed.reshape(count, -1, 1))[..., 0]
    gain = np.where(np.abs(solved[:, 3:4]) < LEAST_GAIN, LEAST_GAIN, solved[:, 3:4])
    result: FloatArray = (solved[:, :3] / gain).astype(np.float32)
    return result
