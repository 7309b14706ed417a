"""Which subnets a step trains, and on which of its images.

The sandwich rule (Yu and Huang, "Universally Slimmable Networks", ICCV 2019) trains the largest
subnet, the smallest and two random ones on all images of every step, and the largest takes half of
the time. Here each step trains one subnet of the smaller half of sizes and one of the larger, each
on its own half of the images, and every fourth the largest besides, on all: targets are kept from
step to step (`objectives.py`), so the others need not wait for its predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tofa_edge.architecture.encodings import decoded
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.train.data.steps import Step

RANDOM_SUBNETS = 2  # a step
LARGEST_EVERY = 4  # steps
SMALLEST_EVERY = 8  # steps, instead of a random one
LEAST_IMAGES = 4  # of each subnet
HIGHEST_FROM = 2 / 3  # of a phase is trained without the highest resolution
LEAST_RESOLUTIONS = 3  # of a space of which the highest is left out at first


def space_at(space: SearchSpace, step: Step) -> SearchSpace:
    """Returns the space without the highest resolution until two thirds of a phase are done.

    What is learned at the others holds there, too, and costs half (progressive resizing).
    """
    sizes = space.resolutions
    if len(sizes) < LEAST_RESOLUTIONS or step.progress >= HIGHEST_FROM:
        return space
    return replace(space, resolutions=sizes[:-1])


def stratified(space: SearchSpace, step: Step) -> list[Subnet]:
    """Returns the subnets of a step: a smaller one, a larger, in every fourth the largest."""
    space = space_at(space, step)
    subnets = decoded(space, sample(space, step.rng("subnets"), RANDOM_SUBNETS))
    if step.number % SMALLEST_EVERY == SMALLEST_EVERY // 2:
        subnets[0] = space.smallest()
    if step.number % LARGEST_EVERY == 0:
        subnets.append(space.largest())
    return subnets


def part(subnets: Sequence[Subnet], index: int, largest: Subnet, images: int) -> slice:
    """Returns which of so many `images` of a step the subnet at an `index` learns from.

    The largest, all; the others share them, unless they are too few for BatchNorm.
    """
    others = [number for number, subnet in enumerate(subnets) if subnet != largest]
    if subnets[index] == largest or images < LEAST_IMAGES * len(others):
        return slice(None)
    return slice(others.index(index), None, len(others))
