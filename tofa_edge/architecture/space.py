"""Architecture as a value: search spaces, and the subnets they contain.

Nothing here holds state or global randomness. A `SearchSpace` says which choices exist, a `Subnet`
is one set of choices; both are frozen, hashable and comparable, and both turn into JSON and back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.space_rules import rules
from tofa_edge.errors import SpaceError, SubnetError
from tofa_edge.storage.plain import from_plain

Activation = Literal["none", "relu", "relu6", "hard_swish", "hard_sigmoid"]
Padding = Literal["same", "symmetric"]


@dataclass(frozen=True, slots=True)
class Block:
    """The choices of one inverted-residual block.

    Attributes:
        kernel: size of the depthwise convolution, in pixels.
        expand: hidden over input channels.
    """

    kernel: int
    expand: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The choices of one stage: its output channels, `width`, and `blocks`; the first strides."""

    width: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Subnet:
    """One architecture of a search space: its stages, and its input `resolution`, square pixels."""

    resolution: int
    stages: tuple[Stage, ...]

    def __str__(self) -> str:
        stages = (
            f"{stage.width}:" + ",".join(f"k{b.kernel}e{b.expand}" for b in stage.blocks)
            for stage in self.stages
        )
        return f"{self.resolution}px " + " ".join(stages)

    def to_json(self) -> str:
        """Returns compact JSON, readable by `from_json` and stable enough to compare as text."""
        stages = [[s.width, [[b.kernel, b.expand] for b in s.blocks]] for s in self.stages]
        return json.dumps({"resolution": self.resolution, "stages": stages}, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Subnet:
        """Reads the `text` that `to_json` wrote.

        Raises:
            SubnetError: the text is not such JSON. `SearchSpace.validate` checks the subnet.
        """
        try:
            value = json.loads(text)
            stages = tuple(
                Stage(_integer(width), tuple(Block(_integer(k), _integer(e)) for k, e in blocks))
                for width, blocks in value["stages"]
            )
            return Subnet(_integer(value["resolution"]), stages)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            wanted = '{"resolution":96,"stages":[[16,[[3,1]]],…]}'
            message = f"not a subnet: wanted JSON like {wanted}, got {text[:80]!r}"
            raise SubnetError(message) from error


@dataclass(frozen=True, slots=True)
class StageSpace:
    """The choices that one stage offers, each ascending; the last of each is the pretrained one.

    Attributes:
        widths: output channels, multiples of 8.
        depths: numbers of blocks; a smaller depth drops the last blocks.
        kernels: odd depthwise kernel sizes; a smaller kernel is the centre of a larger one.
        expands: ratios of hidden to input channels; 1 means no expansion convolution.
        stride: of the first block's depthwise convolution.
        activation: after the expansion and the depthwise convolution.
        squeeze_excitation: whether each block gates its hidden channels.
        shortcut: whether the first block adds its input, as all others do.
        kernel_transforms: whether a cropped kernel passes a learned matrix (Cai et al., ICLR 2020,
            section 3.2, "elastic kernel size").
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expands: tuple[int, ...]
    stride: int
    activation: Activation
    squeeze_excitation: bool = False
    shortcut: bool = False
    kernel_transforms: bool = False


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All subnets of one supernet.

    Attributes:
        name: for people, and part of file names: letters, digits, `-`, `_` and `.`.
        classes: outputs of the classifier.
        resolutions: square input sizes in pixels, ascending.
        stem_width: output channels of the first convolution (3×3, stride 2).
        stem_activation: its activation.
        stages: what each stage offers.
        head_width: channels of the 1×1 convolution before the global pooling.
        head_activation: its activation.
        feature_width: channels of a 1×1 convolution after the pooling; 0 where there is none.
        padding: "same" pads as TensorFlow does, "symmetric" by half the kernel on all sides.
        epsilon: of every BatchNorm.

    Raises:
        SpaceError: on construction, when the choices break one of `space_rules.rules`.
    """

    name: str
    classes: int
    resolutions: tuple[int, ...]
    stem_width: int
    stem_activation: Activation
    stages: tuple[StageSpace, ...]
    head_width: int
    head_activation: Activation
    feature_width: int
    padding: Padding
    epsilon: float

    def __post_init__(self) -> None:
        for what, held in rules(self):
            if not held:
                raise SpaceError(f"search space {str(self.name)[:40]!r}: {what}")

    def count(self) -> int:
        """Returns how many different subnets the space contains."""
        total = len(self.resolutions)
        for stage in self.stages:
            per_block = len(stage.kernels) * len(stage.expands)
            total *= len(stage.widths) * sum(per_block**depth for depth in stage.depths)
        return total

    def largest(self) -> Subnet:
        """Returns the subnet with the last of every choice: the pretrained architecture."""
        return self.decode(np.array(self.cardinalities()) - 1)

    def smallest(self) -> Subnet:
        """Returns the subnet with the first of every choice."""
        return self.decode(np.zeros(len(self.cardinalities()), dtype=np.int64))

    def middle(self) -> Subnet:
        """Returns the subnet with the middle of every choice."""
        return self.decode(np.array(self.cardinalities()) // 2)

    def sample(self, rng: np.random.Generator) -> Subnet:
        """Returns a subnet with every choice drawn uniformly from `rng`."""
        return self.decode(rng.integers(0, self.cardinalities()))

    def mutate(self, subnet: Subnet, rng: np.random.Generator, probability: float = 0.1) -> Subnet:
        """Returns a different subnet: each choice of `subnet` drawn anew with `probability`.

        Raises:
            SubnetError: the space does not contain `subnet`, or contains nothing else.
        """
        if self.count() == 1:
            raise SubnetError(f"cannot mutate: {self.name!r} contains one subnet only")
        vector = self.encode(subnet)
        while True:
            drawn = rng.integers(0, self.cardinalities())
            child = self.decode(np.where(rng.random(len(vector)) < probability, drawn, vector))
            if child != subnet:
                return child
            probability = min(1.0, probability * 1.5)

    def cardinalities(self) -> tuple[int, ...]:
        """Returns how many choices each position of an integer vector has.

        The vector holds the resolution, then for each stage: width, depth, and kernel and expand
        for as many blocks as the deepest choice has.
        """
        sizes = [len(self.resolutions)]
        for stage in self.stages:
            sizes += [len(stage.widths), len(stage.depths)]
            sizes += [len(stage.kernels), len(stage.expands)] * stage.depths[-1]
        return tuple(sizes)

    def encode(self, subnet: Subnet) -> IndexArray:
        """Returns the subnet as choice indices, int64, (genes,); unused ones are 0.

        Raises:
            SubnetError: the space does not contain the subnet.
        """
        self.validate(subnet)
        vector = [self.resolutions.index(subnet.resolution)]
        for space, stage in zip(self.stages, subnet.stages, strict=True):
            vector += [space.widths.index(stage.width), space.depths.index(len(stage.blocks))]
            for block in stage.blocks:
                vector += [space.kernels.index(block.kernel), space.expands.index(block.expand)]
            vector += [0, 0] * (space.depths[-1] - len(stage.blocks))
        return np.array(vector, dtype=np.int64)

    def decode(self, vector: Sequence[int] | NDArray[np.integer[Any]]) -> Subnet:
        """Returns the subnet of a `vector` as `encode` returns; dropped blocks' are ignored.

        Raises:
            SubnetError: wrong length, or an index outside `cardinalities()`.
        """
        sizes = self.cardinalities()
        indices = [int(value) for value in vector]
        if len(indices) != len(sizes):
            raise SubnetError(f"wanted {len(sizes)} choice indices, got {len(indices)}")
        for position, (index, size) in enumerate(zip(indices, sizes, strict=True)):
            if not 0 <= index < size:
                raise SubnetError(f"choice {position} must be in 0..{size - 1}, got {index}")
        take = iter(indices)
        resolution = self.resolutions[next(take)]
        return Subnet(resolution, tuple(_decode_stage(stage, take) for stage in self.stages))

    def validate(self, subnet: Subnet) -> None:
        """Checks that the space contains the subnet.

        Raises:
            SubnetError: it does not; the message names the first choice that is not offered.
        """
        if len(subnet.stages) != len(self.stages):
            raise SubnetError(f"wanted {len(self.stages)} stages, got {len(subnet.stages)}")
        _offered("resolution", subnet.resolution, self.resolutions)
        for index, (space, stage) in enumerate(zip(self.stages, subnet.stages, strict=True)):
            _offered(f"stage {index}: width", stage.width, space.widths)
            _offered(f"stage {index}: depth", len(stage.blocks), space.depths)
            for number, block in enumerate(stage.blocks):
                _offered(f"stage {index}, block {number}: kernel", block.kernel, space.kernels)
                _offered(f"stage {index}, block {number}: expand", block.expand, space.expands)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON types, readable by `from_dict`."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(value: dict[str, Any]) -> SearchSpace:
        """Reads the `value` that `to_dict` returned, after any trip through JSON.

        Raises:
            SpaceError: a field is missing, unknown, of another type, or out of bounds.
        """
        try:
            return from_plain(SearchSpace, value)
        except SpaceError:
            raise
        except ValueError as error:
            raise SpaceError(f"not a search space: {error}") from error


def round_to_eight(channels: float) -> int:
    """Returns the multiple of 8 nearest to `channels`, at most a tenth below: MobileNet's rule."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _decode_stage(stage: StageSpace, take: Iterator[int]) -> Stage:
    width, depth = stage.widths[next(take)], stage.depths[next(take)]
    blocks = [
        Block(stage.kernels[next(take)], stage.expands[next(take)]) for _ in range(stage.depths[-1])
    ]
    return Stage(width, tuple(blocks[:depth]))


def _offered(what: str, value: int, choices: tuple[int, ...]) -> None:
    if value not in choices:
        raise SubnetError(f"{what} must be one of {', '.join(map(str, choices))}; got {value}")


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"wanted an integer, got {value!r}")
    return value
