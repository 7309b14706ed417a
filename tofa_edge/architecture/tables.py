"""Costs of many subnets at once: lookup tables over integer encodings, filled from `layers`.

A block's layers depend on few choices: the resolution, the width that comes in, its own width,
kernel size and expand ratio. So a table per stage, filled once, gives the costs of a hundred
thousand encodings in the time that `layers` needs for a hundred.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.architecture.cost import FLOAT_BYTES, elements_alive, macs, parameters
from tofa_edge.architecture.encodings import Encodings
from tofa_edge.architecture.layers import Layer, layers
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.work import Column, layer_costs, place_name
from tofa_edge.errors import SubnetError

FIRST, LATER = "first", "later"  # a stage's first block strides and changes the width
Segment = tuple[int, str]  # a place and which of its blocks


@dataclass(frozen=True, slots=True)
class Costs:
    """What N subnets cost, for one image."""

    macs: IndexArray  # multiply-accumulates, (N,)
    parameters: IndexArray  # numbers stored, (N,)
    peak_activation_bytes: IndexArray  # of float32 activations, (N,)
    features: DoubleArray  # what latency depends on, (N, D), by `Tables.columns`


@lru_cache(maxsize=8)
def tables(space: SearchSpace) -> Tables:
    """Returns the tables of a space, filled on the first call."""
    return Tables(space)


class Tables:
    """The lookup tables of one space; `columns` are those of the latency features, by place."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        parts = list(_parts(space))
        used = {(part.segment[0], column) for part in parts for column in part.features}
        ordered = sorted(used, key=lambda item: (item[0], str(item)))
        self.columns = tuple(column for _, column in ordered)
        places = [place for place, _ in ordered]
        self._spans = [
            slice(places.index(place), places.index(place) + places.count(place))
            for place in range(len(space.stages) + 2)
        ]
        self._rows = {key: self._empty(key) for key in {part.segment for part in parts}}
        self._peaks = {key: np.zeros(len(rows), np.int64) for key, rows in self._rows.items()}
        for part in parts:
            at = np.ravel_multi_index(part.choices, _sizes(space, part.segment))
            span = self.columns[self._spans[part.segment[0]]]
            costs = [part.macs, part.parameters, *(part.features.get(c, 0) for c in span)]
            self._rows[part.segment][at] = costs
            self._peaks[part.segment][at] = part.peak

    def costs(self, encodings: Encodings) -> Costs:
        """Returns the costs of encodings as `SearchSpace.encode` gives, integers (N, genes).

        Positions of dropped blocks are ignored, as in `SearchSpace.decode`.
        """
        genes = _checked(self._space, encodings)
        features = np.zeros((len(genes), len(self.columns)))
        totals = np.zeros((len(genes), 2))
        peak = np.zeros(len(genes), dtype=np.int64)
        for segment, choices, present in _lookups(self._space, genes):
            at = np.ravel_multi_index(choices, _sizes(self._space, segment))
            rows, peaks = self._rows[segment][at], self._peaks[segment][at]
            if present is not None:
                rows[~present] = 0
                peaks[~present] = 0
            totals += rows[:, :2]
            features[:, self._spans[segment[0]]] += rows[:, 2:]
            np.maximum(peak, peaks, out=peak)
        macs, parameters = totals.astype(np.int64).T  # exact: sums of integers below 2^53
        return Costs(macs, parameters, peak * FLOAT_BYTES, features)

    def _empty(self, segment: Segment) -> DoubleArray:
        span = self._spans[segment[0]]
        return np.zeros((math.prod(_sizes(self._space, segment)), 2 + span.stop - span.start))


@dataclass(frozen=True, slots=True)
class _Part:
    """What one block costs, or the stem, or the tail, under the choices that decide it."""

    segment: Segment
    choices: tuple[int, ...]
    macs: int
    parameters: int
    peak: int
    features: dict[Column, int]


def _sizes(space: SearchSpace, segment: Segment) -> tuple[int, ...]:
    """How many choices each index of a segment's table has."""
    place, block = segment
    resolutions, stages = len(space.resolutions), space.stages
    if place == 0:
        return (resolutions,)
    last = len(stages[place - 2].widths) if place > 1 else 1
    if place == len(stages) + 1:
        return (resolutions, last)
    stage = stages[place - 1]
    own = (len(stage.widths), len(stage.kernels), len(stage.expands))
    return (resolutions, last, *own) if block == FIRST else (resolutions, *own)


def _lookups(
    space: SearchSpace, genes: Encodings
) -> Iterator[tuple[Segment, tuple[Any, ...], NDArray[np.bool_] | None]]:
    """Yields each segment that may occur, its choices (N,), and where it does (None: always)."""
    take = iter(genes.T)
    resolution = next(take)
    yield (0, FIRST), (resolution,), None
    before: Any = np.zeros_like(resolution)
    for place, stage in enumerate(space.stages, 1):
        width, depth = next(take), np.array(stage.depths)[next(take)]
        for number in range(stage.depths[-1]):
            kernel, expand = next(take), next(take)
            if number == 0:
                yield (place, FIRST), (resolution, before, width, kernel, expand), None
            else:
                present = None if number < stage.depths[0] else depth > number
                yield (place, LATER), (resolution, width, kernel, expand), present
        before = width
    yield (len(space.stages) + 1, FIRST), (resolution, before), None


def _parts(space: SearchSpace) -> Iterator[_Part]:
    """Yields each part once, under every combination of the choices that decide its cost."""
    done = set()
    for genes in _covering(space):
        network = layers(space, space.decode(genes))
        alive = elements_alive(network)
        pieces: dict[str, list[int]] = defaultdict(list)
        for index, layer in enumerate(network):
            pieces[_piece(layer)].append(index)
        for (segment, choices, _), piece in zip(
            _lookups(space, genes[np.newaxis]), pieces.values(), strict=True
        ):
            key = (segment, tuple(int(choice[0]) for choice in choices))
            if key not in done:
                done.add(key)
                yield _part(*key, [network[i] for i in piece], max(alive[i] for i in piece))


def _part(segment: Segment, choices: tuple[int, ...], part: Sequence[Layer], peak: int) -> _Part:
    features: dict[Column, int] = defaultdict(int)
    for layer in part:
        for column, amount in layer_costs(layer):
            features[column] += amount
    return _Part(segment, choices, macs(part), parameters(part), peak, dict(features))


def _piece(layer: Layer) -> str:
    place = place_name(layer)
    return place if not place.startswith("stage") else "_".join(layer.name.split("_")[:2])


def _covering(space: SearchSpace) -> Iterator[IndexArray]:
    """Yields deepest encodings that together contain every part under all its choices.

    Neighbouring stages take their widths from two different counters, so all pairs of widths meet.
    """
    stages = space.stages
    widths = range(max(len(stage.widths) for stage in stages))
    kernels = max(len(stage.kernels) for stage in stages)
    expands = max(len(stage.expands) for stage in stages)
    for resolution, even, odd, kernel, expand in product(
        range(len(space.resolutions)), widths, widths, range(kernels), range(expands)
    ):
        genes = [resolution]
        for index, stage in enumerate(stages):
            genes += [(odd if index % 2 else even) % len(stage.widths), len(stage.depths) - 1]
            block = [kernel % len(stage.kernels), expand % len(stage.expands)]
            genes += block * stage.depths[-1]
        yield np.array(genes, dtype=np.int64)


def _checked(space: SearchSpace, encodings: Encodings) -> Encodings:
    genes, sizes = np.asarray(encodings), np.array(space.cardinalities())
    if genes.ndim != 2 or genes.shape[1] != len(sizes) or genes.dtype.kind not in "iu":
        raise SubnetError(
            f"wanted integer encodings (N, {len(sizes)}), got {genes.dtype} {genes.shape}"
        )
    wrong = (genes < 0) | (genes >= sizes)
    if wrong.any():
        row, position = np.argwhere(wrong)[0]
        raise SubnetError(
            f"encoding {row}: choice {position} must be in 0..{sizes[position] - 1}, "
            f"got {genes[row, position]}"
        )
    return genes.astype(np.int64, copy=False)
