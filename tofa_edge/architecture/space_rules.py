"""The rules of search spaces: what comes from a file must not ask for too much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tofa_edge.storage.files import MOST_NAME, safe_name

ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "hard_sigmoid")
MAX_RESOLUTION = 1024
MAX_STAGES = 16
MAX_DEPTH = 16
MAX_BLOCKS = 56  # of the deepest network; EfficientNet-B7 has 55
MAX_CHANNELS = 8192
MAX_CLASSES = 100_000


def rules(space: Any) -> Iterator[tuple[str, bool]]:
    """Yields each rule of a `space` and whether it holds; a later one may need those before.

    Its fields may still be of any type: it is checked as it is made.
    """
    named = isinstance(space.name, str) and safe_name(space.name) == space.name
    letters = f"1 to {MOST_NAME} letters, digits, '-', '_' and '.', without a dot in front"
    yield f"the name becomes part of file names: it must be {letters}", named
    for what, value, low, high in (
        ("classes", space.classes, 1, MAX_CLASSES),
        ("stem_width", space.stem_width, 1, MAX_CHANNELS),
        ("head_width", space.head_width, 1, MAX_CHANNELS),
        ("feature_width", space.feature_width, 0, MAX_CHANNELS),
    ):
        yield f"{what} must be in {low}..{high}", type(value) is int and low <= value <= high
    sizes = f"resolutions must be ascending and in 8..{MAX_RESOLUTION}"
    yield sizes, _ascending(space.resolutions, 8, MAX_RESOLUTION)
    activations = space.stem_activation in ACTIVATIONS and space.head_activation in ACTIVATIONS
    yield f"activations must be among {', '.join(ACTIVATIONS)}", activations
    yield "padding must be 'same' or 'symmetric'", space.padding in ("same", "symmetric")
    yield "epsilon must be in 1e-8..1", type(space.epsilon) is float and 1e-8 <= space.epsilon <= 1
    yield f"there must be 1..{MAX_STAGES} stages", 1 <= len(space.stages) <= MAX_STAGES
    width = space.stem_width
    for index, stage in enumerate(space.stages):
        for what, held in _stage_rules(stage, width):
            yield f"stage {index}: {what}", held
        width = stage.widths[-1]
    blocks = sum(stage.depths[-1] for stage in space.stages)
    yield f"the deepest network must have at most {MAX_BLOCKS} blocks", blocks <= MAX_BLOCKS


def _stage_rules(stage: Any, input_width: int) -> Iterator[tuple[str, bool]]:
    yield "widths must be ascending multiples of 8", _ascending(stage.widths, 8, MAX_CHANNELS, 8)
    yield f"depths must be ascending in 1..{MAX_DEPTH}", _ascending(stage.depths, 1, MAX_DEPTH)
    odd = _ascending(stage.kernels, 1, 9) and all(kernel % 2 for kernel in stage.kernels)
    yield "kernels must be ascending, odd and at most 9", odd
    yield "expand ratios must be ascending in 1..16", _ascending(stage.expands, 1, 16)
    fixed = stage.expands == (1,) or 1 not in stage.expands
    yield "expand ratio 1 (no expansion) cannot be mixed with others", fixed
    yield "stride must be 1 or 2", type(stage.stride) is int and stage.stride in (1, 2)
    yield f"activation must be among {', '.join(ACTIVATIONS)}", stage.activation in ACTIVATIONS
    flags = (stage.squeeze_excitation, stage.shortcut, stage.kernel_transforms)
    yield "flags must be true or false", all(type(flag) is bool for flag in flags)
    hidden = math.prod((max(input_width, stage.widths[-1]), stage.expands[-1]))
    yield f"hidden channels must be at most {MAX_CHANNELS}", hidden <= MAX_CHANNELS
    addable = not stage.shortcut or (stage.stride == 1 and stage.widths == (input_width,))
    yield "a shortcut over the first block needs stride 1 and equal widths", addable


def _ascending(values: Any, low: int, high: int, step: int = 1) -> bool:
    if not isinstance(values, tuple) or not 1 <= len(values) <= 64:
        return False
    if any(type(value) is not int for value in values):
        return False
    bounded = low <= values[0] and values[-1] <= high
    return bounded and sorted(set(values)) == list(values) and not any(n % step for n in values)
