"""What deploying a bundle costs at most, counted from its manifest before anything is paid.

A manifest of a few kilobytes may ask for terabytes: a wide space at a high resolution, thousands of
photos, a predictor of thousands of rows. All is counted in Python's integers, and no array is read.
Each count is an upper bound that a bundle of EfficientNet-Lite4 keeps by a wide margin.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from tofa_edge.architecture.cost import (
    FLOAT_BYTES,
    elements_alive,
    macs,
    parameters,
    peak_activation_bytes,
    value_elements,
)
from tofa_edge.architecture.layers import Layer, layers, supernet_shapes
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.bundle.manifest import FINALISTS, GOLDEN, GOLDEN_IMAGES, PREDICTORS
from tofa_edge.errors import BundleError

GIGA = 10**9
MEGA = 10**6
MOST_BYTES = 2 * GIGA  # of any one cost
CASES, ACTIVATIONS = "the golden cases", "the activations of the largest network"
LESS_BYTES = {CASES: 310 * MEGA, ACTIVATIONS: 600 * MEGA}  # engines take more than is counted
MOST_GOLDEN_WEIGHTS = GIGA  # bytes: each engine builds each golden case
MOST_MACS = 16 * GIGA  # six times EfficientNet-Lite4's
MOST_GOLDEN_MACS = 128 * GIGA  # numpy computes one to ten billion a second
MOST_PHOTO_MACS = 8000 * GIGA
MOST_PHOTOS = 4096
MOST_TABLE_LAYERS = 500_000  # described one by one, 20 µs each; EfficientNet-Lite2's tables: 56,000
MOST_PREDICTOR_ROWS = 2500
CALIBRATING = 256  # of the unlabelled photos, that are used
CHUNK = 4  # images that calibrate at once, where memory is short
WORKSPACE = 1.5  # of engines, over the values that are alive
TABLE_ROW_BYTES = 2000  # an entry with its parts
PREDICTED = 8192  # encodings at once
PREDICTING = 3  # matrices of encodings and rows alive
SMALLER = "train a smaller space"
FEWER = "train a smaller space, with fewer photos and tested subnets in the bundle"


class Described(Protocol):
    """What an opened bundle says of itself."""

    @property
    def path(self) -> Path:
        """Of its file."""
        ...

    @property
    def space(self) -> SearchSpace:
        """All its subnets."""
        ...

    @property
    def golden_subnets(self) -> tuple[Subnet, ...]:
        """Those of its golden cases."""
        ...

    @property
    def member_sizes(self) -> Mapping[str, int]:
        """Bytes by name."""
        ...

    @property
    def calibration_count(self) -> int:
        """How many unlabelled photos."""
        ...

    @property
    def check_count(self) -> int:
        """How many labelled photos."""
        ...


@dataclass(frozen=True, slots=True)
class BundleCosts:
    """Upper bounds of what deploying a bundle takes.

    Attributes:
        macs: of the largest network, for one image.
        table_layers: how many layers are described to fill the tables of costs.
        table_bytes: of these tables.
        parameter_bytes: the supernet and one network cut from it, in float32.
        activation_bytes: of the largest network as it calibrates, four images at once.
        golden_bytes: images, and activations of the golden cases.
        golden_macs: to compute all golden cases.
        golden_weight_bytes: of the networks of all golden cases.
        predictor_rows: subnets that the accuracy predictor learned from.
        predictor_bytes: the predictor, and one prediction of 8,192 subnets.
        photos: that it carries.
        photo_bytes: decoded at the highest resolution, twice as batches are put together.
        photo_macs: to classify them.
        finalist_bytes: what is ready-made for finalists, as it is stored and as it is used.
    """

    macs: int
    table_layers: int
    table_bytes: int
    parameter_bytes: int
    activation_bytes: int
    golden_bytes: int
    golden_macs: int
    golden_weight_bytes: int
    predictor_rows: int
    predictor_bytes: int
    photos: int
    photo_bytes: int
    photo_macs: int
    finalist_bytes: int

    @property
    def parts(self) -> dict[str, dict[str, int]]:
        """Bytes beside the weights, by what takes them, at each time of a deployment."""
        return {
            "testing": {CASES: self.golden_bytes},
            "calibrating": {
                "the photos": self.photo_bytes,
                ACTIVATIONS: self.activation_bytes,
                "the finalists": self.finalist_bytes,
            },
            "searching": {
                "the accuracy predictor": self.predictor_bytes,
                "the tables of costs": self.table_bytes,
            },
        }

    @property
    def peak_bytes(self) -> int:
        """The most memory that is needed at one time."""
        return self.parameter_bytes + max(sum(part.values()) for part in self.parts.values())


def costs(
    space: SearchSpace,
    golden: Sequence[Subnet],
    sizes: Mapping[str, int],
    calibration: int,
    check: int,
) -> BundleCosts:
    """Returns what deploying a bundle costs at most.

    Args:
        space: all its subnets.
        golden: the subnets of its golden cases.
        sizes: of its members, in bytes, by name.
        calibration: how many unlabelled photos it carries.
        check: how many labelled ones.
    """
    largest = layers(space, space.largest())
    of_one, size = macs(largest), space.resolutions[-1]
    used = min(calibration, CALIBRATING) + check
    weights = sum(math.prod(shape) for shape in supernet_shapes(space).values())
    golden_macs, golden_bytes, golden_weights = _golden(
        space, golden, sizes[GOLDEN] + sizes.get(GOLDEN_IMAGES, 0)
    )
    rows = math.isqrt(sizes.get(PREDICTORS, 0) // FLOAT_BYTES)
    return BundleCosts(
        macs=of_one,
        table_layers=_combinations(space) * len(largest),
        table_bytes=_table_rows(space) * TABLE_ROW_BYTES,
        parameter_bytes=2 * FLOAT_BYTES * weights,
        activation_bytes=CHUNK * _calibrating_bytes(largest),
        golden_bytes=golden_bytes,
        golden_macs=golden_macs,
        golden_weight_bytes=golden_weights,
        predictor_rows=rows,
        predictor_bytes=3 * FLOAT_BYTES * rows**2 + PREDICTING * 8 * PREDICTED * rows,
        photos=calibration + check,
        photo_bytes=2 * 3 * used * size**2,
        photo_macs=used * of_one,
        finalist_bytes=4 * sizes.get(FINALISTS, 0),
    )


def bearable(bundle: Described, memory_bytes: int | None) -> None:
    """Checks that a bundle can be deployed, before anything of it is read.

    Takes milliseconds, whatever the manifest says.

    Args:
        bundle: a `Bundle`.
        memory_bytes: that the device can still give; None where that is unknown.

    Raises:
        BundleError: one of its costs is beyond all reason, or its memory is more than there is; the
            message names the cost, its size, and what would be bearable.
    """
    counts = bundle.calibration_count, bundle.check_count
    counted = costs(bundle.space, bundle.golden_subnets, bundle.member_sizes, *counts)
    check_bounds(bundle.path, counted)
    if memory_bytes is not None and counted.peak_bytes > memory_bytes:
        dearest = max(counted.parts.values(), key=lambda part: sum(part.values()))
        named = {**dearest, "the weights": counted.parameter_bytes}
        what = max(named, key=lambda name: named[name])
        raise BundleError(
            f"{bundle.path}: deploying it takes up to {_megabytes(counted.peak_bytes)} of memory, "
            f"{_megabytes(named[what])} of it for {what}, and {_megabytes(memory_bytes)} are "
            f"available; stop other programs, deploy it on a larger machine, or {SMALLER}"
        )


def check_bounds(path: Path, counted: BundleCosts) -> None:
    """Checks that no cost of the bundle at a `path` is beyond what any device is asked for.

    Raises:
        BundleError: one is; the message names it, its size and its bound.
    """
    for what, amount, most, (scale, unit), remedy in _bounds(counted):
        if amount > most:
            raise BundleError(
                f"{path}: {what} take {-(-amount // scale):,} {unit}, and a bundle may ask for "
                f"{most // scale:,}; {remedy}"
            )


def _bounds(counted: BundleCosts) -> Iterator[tuple[str, int, int, tuple[int, str], str]]:
    """Yields each cost: what it is, size and bound, scale and name of the unit, and a remedy."""
    gmacs, megabytes = (GIGA, "billion multiply-accumulates"), (MEGA, "MB")
    described = (1, "descriptions of layers")
    yield "the tables of costs", counted.table_layers, MOST_TABLE_LAYERS, described, SMALLER
    yield "its weights", counted.parameter_bytes, MOST_BYTES, megabytes, SMALLER
    yield "images in its largest network", counted.macs, MOST_MACS, gmacs, SMALLER
    for part in counted.parts.values():
        for what, amount in part.items():
            yield what, amount, LESS_BYTES.get(what, MOST_BYTES), megabytes, FEWER
    weights = counted.golden_weight_bytes
    yield "the weights of its golden cases", weights, MOST_GOLDEN_WEIGHTS, megabytes, FEWER
    yield "its golden cases", counted.golden_macs, MOST_GOLDEN_MACS, gmacs, FEWER
    yield "its photos", counted.photos, MOST_PHOTOS, (1, "files"), FEWER
    yield "all its photos together", counted.photo_macs, MOST_PHOTO_MACS, gmacs, FEWER
    yield "its predictor's subnets", counted.predictor_rows, MOST_PREDICTOR_ROWS, (1, "rows"), FEWER


def _megabytes(count: int) -> str:
    return f"{count / MEGA:,.0f} MB"


def _combinations(space: SearchSpace) -> int:
    """Returns how many networks `architecture.tables` describes to meet every choice."""
    stages = space.stages
    widths = max(len(stage.widths) for stage in stages)
    kernels = max(len(stage.kernels) for stage in stages)
    expands = max(len(stage.expands) for stage in stages)
    return len(space.resolutions) * widths**2 * kernels * expands


def _table_rows(space: SearchSpace) -> int:
    """Returns how many entries its tables have."""
    widths = [1, *(len(stage.widths) for stage in space.stages)]
    entries = 2 + widths[-1]
    for (before, own), stage in zip(pairwise(widths), space.stages, strict=True):
        entries += (before + 1) * own * len(stage.kernels) * len(stage.expands)
    return len(space.resolutions) * entries


def _calibrating_bytes(network: Sequence[Layer]) -> int:
    """Returns the bytes alive for one image where each map is normalised by its own statistics."""
    alive = elements_alive(network)
    most = max(n + value_elements(layer) for n, layer in zip(alive, network, strict=True))
    return int(WORKSPACE * FLOAT_BYTES * most)


def _golden(space: SearchSpace, subnets: Sequence[Subnet], size: int) -> tuple[int, int, int]:
    """Returns the MACs of all golden cases, their bytes, and those of their networks' weights.

    As if all images were of the dearest: how many each case has stands in the arrays alone; but all
    share `size` bytes.
    """
    most_macs = most_bytes = weights = 0
    for subnet, count in Counter(subnets).items():
        network, stored = layers(space, subnet), 3 * subnet.resolution**2 + 4 * space.classes
        weights += count * FLOAT_BYTES * parameters(network)
        images = -(-size // stored)
        most_macs = max(most_macs, images * macs(network))
        most_bytes = max(most_bytes, images * peak_activation_bytes(network))
    return most_macs, 2 * size + most_bytes, weights
