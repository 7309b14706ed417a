"""The one description of a network: (space, subnet) → a tuple of layers.

The torch supernet interprets these layers, the numpy cutter slices by them, the engine formats
translate them, and cost counts them. How a subnet is wired is written here and nowhere else.

A network is a list of layers in execution order; each reads values by name and makes one value of
its own name. The input is called `IMAGE`: float, normalised, N×3×S×S. The output is `LOGITS`.
Maps are square; sizes are in pixels. A layer's parameters are arrays named `<layer>.<role>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from tofa_edge.architecture.space import (
    Activation,
    Block,
    Padding,
    SearchSpace,
    Stage,
    StageSpace,
    Subnet,
    round_to_eight,
)

IMAGE = "image"
LOGITS = "logits"
POOLED = "pooled"
NORMALISED_ROLES = ("scale", "shift", "mean", "variance")


@dataclass(frozen=True, slots=True)
class _OneInput:
    """A layer's name, which is that of the value it makes, and the name of the value it reads."""

    name: str
    input: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the values it reads."""
        return (self.input,)


@dataclass(frozen=True, slots=True)
class _TwoMaps:
    """The same for a layer that reads two values of `channels`, the first of `size` pixels."""

    name: str
    inputs: tuple[str, str]
    channels: int
    size: int


@dataclass(frozen=True, slots=True)
class Convolution(_OneInput):
    """A convolution with what follows it: BatchNorm or bias, then an activation.

    Parameters: `weight` (out_channels, in_channels / groups, kernel, kernel), then, each
    (out_channels,), `scale`, `shift`, `mean` and `variance` if `normalised`, otherwise `bias`.

    Attributes:
        in_channels, out_channels: of input and output.
        in_size, out_size: of input and output, in pixels.
        kernel, stride: in pixels.
        epsilon: of the BatchNorm.
        groups: 1, or in_channels for a depthwise convolution.
        padding: zeros before and after, the same for rows and columns.
        kernel_path: the sizes a stored kernel is cropped through with a learned matrix at each
            step, `transform_7to5` (25, 25) and so on; empty where kernels are cropped plainly.
    """

    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    padding: tuple[int, int] = (0, 0)
    normalised: bool = True
    epsilon: float = 0.0
    activation: Activation = "none"
    kernel_path: tuple[int, ...] = ()

    @property
    def depthwise(self) -> bool:
        """Whether every channel has a filter of its own."""
        return self.groups > 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """The shape of `weight`: out, in / groups, kernel, kernel."""
        return (self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel)

    @property
    def transforms(self) -> tuple[tuple[int, int], ...]:
        """The (larger, smaller) kernel sizes of its learned crops, in order."""
        return tuple(zip(self.kernel_path, self.kernel_path[1:], strict=False))


@dataclass(frozen=True, slots=True)
class BatchStatistics(_OneInput):
    """BatchNorm on the statistics of the batch at hand, then an `activation`; for calibration only.

    It reads and makes (N, `channels`, `size`, size), and also makes `<name>.mean` and
    `<name>.variance` (of the population), each (channels,). It divides by the root of variance and
    `epsilon`. Parameters: `scale` and `shift`, (channels,).
    """

    channels: int
    size: int
    epsilon: float
    activation: Activation

    @property
    def statistics(self) -> tuple[str, str]:
        """The names of the mean and the variance that it also makes."""
        return (f"{self.name}.mean", f"{self.name}.variance")


@dataclass(frozen=True, slots=True)
class Add(_TwoMaps):
    """The sum of two maps of one shape: a residual connection."""


@dataclass(frozen=True, slots=True)
class Multiply(_TwoMaps):
    """A map (N, C, size, size) times a gate (N, C, 1, 1): squeeze-and-excitation."""


@dataclass(frozen=True, slots=True)
class GlobalPool(_OneInput):
    """The mean over all positions: (N, `channels`, `size`, size) → (N, channels, 1, 1)."""

    channels: int
    size: int


@dataclass(frozen=True, slots=True)
class Linear(_OneInput):
    """A fully connected layer on a pooled map: (N, `in_features`, 1, 1) → (N, `out_features`).

    Parameters: `weight` (out_features, in_features) and `bias` (out_features,).
    """

    in_features: int
    out_features: int


Layer: TypeAlias = Convolution | BatchStatistics | Add | Multiply | GlobalPool | Linear


@lru_cache(maxsize=4096)
def layers(space: SearchSpace, subnet: Subnet) -> tuple[Layer, ...]:
    """Returns the layers of a subnet in execution order.

    Raises:
        SubnetError: the space does not contain the subnet.
    """
    space.validate(subnet)
    writer = _Writer(space.padding, space.epsilon, subnet.resolution)
    writer.convolve("stem", space.stem_width, space.stem_activation, kernel=3, stride=2)
    for index, (choices, stage) in enumerate(zip(space.stages, subnet.stages, strict=True)):
        for number, block in enumerate(stage.blocks):
            _block(writer, f"stage{index}_block{number}", choices, block, stage.width, number == 0)
    writer.convolve("head", space.head_width, space.head_activation)
    writer.pool(POOLED)
    if space.feature_width:
        writer.convolve("features", space.feature_width, space.head_activation, normalised=False)
    writer.add(Linear(LOGITS, writer.value, writer.channels, space.classes))
    return tuple(writer.layers)


def _block(
    writer: _Writer, name: str, choices: StageSpace, block: Block, width: int, first: bool
) -> None:
    """An inverted residual (Sandler et al., CVPR 2018), optionally with squeeze-and-excitation."""
    entry, activation = writer.value, choices.activation
    path = tuple(size for size in reversed(choices.kernels) if size >= block.kernel)
    if block.expand != 1:
        writer.convolve(f"{name}_expand", writer.channels * block.expand, activation)
    writer.convolve(
        f"{name}_depthwise",
        writer.channels,
        activation,
        kernel=block.kernel,
        stride=choices.stride if first else 1,
        depthwise=True,
        kernel_path=path if choices.kernel_transforms else (),
    )
    if choices.squeeze_excitation:
        writer.squeeze_excite(name)
    writer.convolve(f"{name}_project", width, "none")
    if not first or choices.shortcut:
        writer.add(Add(f"{name}_add", (entry, writer.value), width, writer.size))


class _Writer:
    """Appends layers and remembers the value, channels and size at the end."""

    def __init__(self, padding: Padding, epsilon: float, resolution: int) -> None:
        self.padding, self.epsilon = padding, epsilon
        self.value, self.channels, self.size = IMAGE, 3, resolution
        self.layers: list[Layer] = []

    def add(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.value = layer.name

    def convolve(
        self,
        name: str,
        out_channels: int,
        activation: Activation,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        normalised: bool = True,
        kernel_path: tuple[int, ...] = (),
    ) -> None:
        padding = _pads(self.padding, self.size, kernel, stride)
        out_size = (self.size + sum(padding) - kernel) // stride + 1
        convolution = Convolution(
            name=name,
            input=self.value,
            in_channels=self.channels,
            out_channels=out_channels,
            in_size=self.size,
            out_size=out_size,
            kernel=kernel,
            stride=stride,
            groups=self.channels if depthwise else 1,
            padding=padding,
            normalised=normalised,
            epsilon=self.epsilon if normalised else 0.0,
            activation=activation,
            kernel_path=kernel_path,
        )
        self.add(convolution)
        self.channels, self.size = out_channels, out_size

    def pool(self, name: str) -> None:
        self.add(GlobalPool(name, self.value, self.channels, self.size))
        self.size = 1

    def squeeze_excite(self, name: str) -> None:
        """A gate per channel from the pooled map (Hu et al., CVPR 2018); hidden width a quarter."""
        value, channels, size = self.value, self.channels, self.size
        self.pool(f"{name}_squeeze")
        reduced = round_to_eight(channels // 4)
        self.convolve(f"{name}_reduce", reduced, "relu", normalised=False)
        self.convolve(f"{name}_excite", channels, "hard_sigmoid", normalised=False)
        self.add(Multiply(f"{name}_gate", (value, self.value), channels, size))
        self.size = size


def _pads(padding: Padding, size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after: TensorFlow's SAME follows the real input size, so it may differ."""
    if padding == "symmetric":
        return (kernel // 2, kernel // 2)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return (total // 2, total - total // 2)


def parameter_shapes(layer: Layer) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the name and shape of each array that a layer needs, learned kernel matrices too."""
    if isinstance(layer, Convolution):
        yield f"{layer.name}.weight", layer.weight_shape
        for role in NORMALISED_ROLES if layer.normalised else ("bias",):
            yield f"{layer.name}.{role}", (layer.out_channels,)
        for larger, smaller in layer.transforms:
            yield transform_name(layer, larger, smaller), (smaller**2, smaller**2)
    elif isinstance(layer, Linear):
        yield f"{layer.name}.weight", (layer.out_features, layer.in_features)
        yield f"{layer.name}.bias", (layer.out_features,)
    elif isinstance(layer, BatchStatistics):
        for role in ("scale", "shift"):
            yield f"{layer.name}.{role}", (layer.channels,)


def supernet_shapes(space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Returns the name and shape of every array of the supernet of a space."""
    largest, smallest = space.largest(), space.smallest()
    stages = tuple(
        Stage(large.width, tuple(Block(small.blocks[0].kernel, b.expand) for b in large.blocks))
        for large, small in zip(largest.stages, smallest.stages, strict=True)
    )  # the largest subnet with the smallest kernels needs every learned kernel matrix
    subnets = (Subnet(largest.resolution, stages), largest)
    used = (layer for subnet in subnets for layer in layers(space, subnet))
    return dict(pair for layer in used for pair in parameter_shapes(layer))


def transform_name(layer: Convolution, larger: int, smaller: int) -> str:
    """Returns the name of the matrix that crops a `layer`'s kernel from `larger` to `smaller`."""
    return f"{layer.name}.transform_{larger}to{smaller}"
