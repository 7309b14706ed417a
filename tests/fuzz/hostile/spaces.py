"""Hostile search spaces: at the limits of what is allowed, and beyond them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from tests.fuzz.crafted import pick
from tests.fuzz.hostile.draft import Draft, Mutation
from tofa_edge.architecture.space import Activation, Padding, StageSpace
from tofa_edge.architecture.space_rules import (
    ACTIVATIONS,
    MAX_BLOCKS,
    MAX_CHANNELS,
    MAX_CLASSES,
    MAX_DEPTH,
    MAX_RESOLUTION,
    MAX_STAGES,
)

CHOICES = 64  # that one list may hold


def _stage(
    widths: Sequence[int], stride: int = 1, depths: Sequence[int] = (1,), **fields: Any
) -> StageSpace:
    words = {"kernels": (3,), "expands": (1,), "activation": "relu6", **fields}
    return StageSpace(widths=tuple(widths), depths=tuple(depths), stride=stride, **words)


def many_stages(draft: Draft, rng: np.random.Generator) -> str:
    """As many stages as are allowed, with or without strides."""
    strides = [int(stride) for stride in rng.integers(1, 3, MAX_STAGES)]
    stages = [_stage((8, 16), stride, (1, 2), expands=(2, 3)) for stride in strides]
    draft.space = replace(draft.space, stages=tuple(stages))
    return f"{MAX_STAGES} stages of strides {strides}"


def deep(draft: Draft, rng: np.random.Generator) -> str:
    """As many blocks as are allowed, in few stages or in many."""
    count, deepest = pick(
        rng, ((MAX_BLOCKS // MAX_DEPTH, MAX_DEPTH), (MAX_STAGES, MAX_BLOCKS // MAX_STAGES))
    )
    depths = pick(rng, ((deepest,), tuple(range(1, deepest + 1))))
    expands = pick(rng, ((1,), (2,)))
    stages = [_stage((8,), 1, depths, expands=expands) for _ in range(count)]
    draft.space = replace(draft.space, stages=tuple(stages))
    return f"{count} stages of {depths[0]}..{depths[-1]} blocks"


def many_choices(draft: Draft, rng: np.random.Generator) -> str:
    """Lists as long as is allowed: resolutions, widths, depths, kernels and expand ratios."""
    resolutions = tuple(range(8, 8 + CHOICES * pick(rng, (1, 4)), 1))[:CHOICES]
    wide = _stage(range(8, 8 * CHOICES + 8, 8), 2, (1, 2), kernels=(1, 3, 5, 7, 9))
    narrow = _stage((8,), 2, (1, 2, 3), kernels=(1, 3, 5, 7, 9), expands=tuple(range(2, 17)))
    stages = (wide, narrow) * pick(rng, (1, 2, 4))
    draft.space = replace(draft.space, resolutions=resolutions, stages=stages)
    return f"{CHOICES} resolutions and widths, {len(stages)} stages"


def high_resolution(draft: Draft, rng: np.random.Generator) -> str:
    """Photos and values as large as is allowed."""
    sizes = pick(rng, ((MAX_RESOLUTION,), (8, MAX_RESOLUTION), (512, 768, MAX_RESOLUTION)))
    draft.space = replace(draft.space, resolutions=sizes)
    return f"resolutions {sizes}"


def wide_values(draft: Draft, rng: np.random.Generator) -> str:
    """Few weights, and values of many channels at a high resolution."""
    width, size = pick(rng, (512, 2048, MAX_CHANNELS)), pick(rng, (64, 256, MAX_RESOLUTION))
    sizes = pick(rng, ((size,), (16, size)))
    stages = (_stage((8,)), *draft.space.stages[1:])
    draft.space = replace(draft.space, stem_width=width, resolutions=sizes, stages=stages)
    return f"stem of {width} channels, resolutions {sizes}"


def wide_hidden(draft: Draft, rng: np.random.Generator) -> str:
    """Hidden channels as many as are allowed."""
    width, size = pick(rng, (64, 256, 512)), pick(rng, (32, 256, 512))
    first = _stage((8, width), 1)
    hidden = _stage((width,), 1, (1, 2), expands=pick(rng, ((16,), (2, 16))))
    draft.space = replace(draft.space, stages=(first, hidden), resolutions=(16, size))
    return f"16 × {width} hidden channels at {size} px"


def classes(draft: Draft, rng: np.random.Generator) -> str:
    """One class, or thousands."""
    count = pick(rng, (1, 2, 1000, 5000, 20_000, MAX_CLASSES))
    draft.space = replace(draft.space, classes=count, head_width=8)
    return f"{count} classes"


def no_choice(draft: Draft, rng: np.random.Generator) -> str:
    """One subnet alone."""
    stages = (_stage((8,)),) * pick(rng, (1, 3))
    draft.space = replace(draft.space, resolutions=(pick(rng, (8, 32)),), stages=stages)
    return "a single subnet"


def tiny_maps(draft: Draft, rng: np.random.Generator) -> str:
    """Kernels far larger than what they run over."""
    stages = [_stage((8,), 2, (1, 2), kernels=(1, 9), expands=(2, 3)) for _ in range(8)]
    paddings: tuple[Padding, ...] = ("same", "symmetric")
    padding = pick(rng, paddings)
    draft.space = replace(
        draft.space, resolutions=(8, 9, 15), stages=tuple(stages), padding=padding
    )
    return f"maps of one pixel under kernels of 9, padding {padding!r}"


def other_layers(draft: Draft, rng: np.random.Generator) -> str:
    """Gates, learned kernels, and activations that nobody would combine."""

    def activation() -> Activation:
        return cast("Activation", pick(rng, ACTIVATIONS))

    flags = {"squeeze_excitation": bool(rng.integers(2)), "kernel_transforms": True}
    choices: dict[str, Any] = {"kernels": (1, 3, 7), "expands": (2, 4), **flags}
    stages = [_stage((8, 16), 2, (1, 2), activation=activation(), **choices) for _ in range(3)]
    draft.space = replace(
        draft.space, stages=tuple(stages), stem_activation=activation(),
        head_activation=activation(), feature_width=pick(rng, (0, 8, 1024)),
        epsilon=pick(rng, (1e-8, 1e-3, 1.0)),
    )  # fmt: skip
    return f"{[stage.activation for stage in stages]}, epsilon {draft.space.epsilon}, {flags}"


def wide_head(draft: Draft, rng: np.random.Generator) -> str:
    """Weights after the pooling, more than all others."""
    head, feature = pick(rng, ((MAX_CHANNELS, 0), (4096, 4096), (8, MAX_CHANNELS)))
    draft.space = replace(draft.space, head_width=head, feature_width=feature)
    return f"head of {head}, features of {feature} channels"


def beyond(draft: Draft, rng: np.random.Generator) -> str:
    """A number beyond its limit, in the manifest alone."""
    fields = dataclasses.asdict(draft.space)
    name, value = pick(
        rng,
        (
            ("resolutions", [MAX_RESOLUTION + 1]), ("resolutions", [4]), ("classes", 0),
            ("classes", MAX_CLASSES + 1), ("stem_width", MAX_CHANNELS + 1), ("head_width", 2**31),
            ("epsilon", 0.0), ("epsilon", 1e300), ("stages", []), ("feature_width", -1),
            ("stages", [{**fields["stages"][0], "depths": [MAX_DEPTH]}] * 5),
            ("stages", fields["stages"] * 6), ("resolutions", list(range(8, 8 + CHOICES + 1))),
        ),
    )  # fmt: skip
    draft.fields["space"] = {**fields, name: value}
    return f"space with {name} {str(value)[:40]}"


SPACES: dict[str, Mutation] = {
    f"space_{mutation.__name__}": mutation
    for mutation in (
        many_stages, deep, many_choices, high_resolution, wide_values, wide_hidden, classes,
        no_choice, tiny_maps, other_layers, wide_head, beyond,
    )
}  # fmt: skip
