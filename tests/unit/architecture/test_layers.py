"""The one description of a network: wiring, sizes, costs, shapes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tofa_edge.architecture.cost import macs, parameters, peak_activation_bytes
from tofa_edge.architecture.layers import (
    IMAGE,
    LOGITS,
    Add,
    Convolution,
    GlobalPool,
    Layer,
    Linear,
    Multiply,
    layers,
    parameter_shapes,
    supernet_shapes,
)
from tofa_edge.architecture.space import Padding, SearchSpace, StageSpace, round_to_eight
from tofa_edge.architecture.zoo import SPACES, efficientnet_lite0, mobilenet_v3, named, tiny
from tofa_edge.errors import SubnetError

NAMED = [named(name) for name in SPACES]
seeds = st.integers(0, 2**32 - 1)


def extent(layer: Layer) -> tuple[int, int]:
    """Channels and size of a layer's value."""
    if isinstance(layer, Convolution):
        return layer.out_channels, layer.out_size
    if isinstance(layer, Linear):
        return layer.out_features, 1
    return layer.channels, 1 if isinstance(layer, GlobalPool) else layer.size


def single(size: int, kernel: int, stride: int, padding: Padding) -> Convolution:
    """The depthwise convolution of a space with one block, its input `size` pixels wide."""
    stage = StageSpace((8,), (1,), (kernel,), (1,), stride, "relu")
    space = dataclasses.replace(
        tiny(), resolutions=(2 * size,), stem_width=8, stages=(stage,), padding=padding
    )
    (layer,) = (it for it in layers(space, space.largest()) if it.name.endswith("_depthwise"))
    assert isinstance(layer, Convolution)
    return layer


def convolutions(space: SearchSpace, seed: int = 0) -> dict[str, Convolution]:
    subnet = space.sample(np.random.default_rng(seed)) if seed else space.largest()
    return {it.name: it for it in layers(space, subnet) if isinstance(it, Convolution)}


def test_largest_lite0_costs_as_published() -> None:
    network = layers(efficientnet_lite0(), efficientnet_lite0().largest())
    assert macs(network) == pytest.approx(385.2e6, rel=1e-3)
    assert parameters(network) == pytest.approx(4.63e6, rel=2e-3)


def test_largest_mobilenet_costs_as_counted_by_hand() -> None:
    network = layers(mobilenet_v3(), mobilenet_v3().largest())
    assert macs(network) == pytest.approx(566.2e6, rel=1e-3)
    assert parameters(network) == pytest.approx(7.645e6, rel=1e-3)


def test_costs_of_a_space_counted_by_hand() -> None:
    stage = StageSpace((8,), (1,), (3,), (1,), 1, "relu")
    space = dataclasses.replace(tiny(), resolutions=(16,), stages=(stage,), head_width=4)
    network = layers(space, space.largest())
    by_layer = [8 * 3 * 9 * 64, 8 * 9 * 64, 8 * 8 * 64, 4 * 8 * 64, 10 * 4]
    assert macs(network) == sum(by_layer)
    assert parameters(network) == (8 * 27 + 8) + (8 * 9 + 8) + (64 + 8) + (32 + 4) + (40 + 10)
    assert peak_activation_bytes(network) == 4 * (3 * 16**2 + 8 * 8**2)
    assert peak_activation_bytes(network, 3) == 3 * peak_activation_bytes(network)


@given(st.sampled_from(NAMED), seeds)
def test_wiring_is_consistent(space: SearchSpace, seed: int) -> None:
    subnet = space.sample(np.random.default_rng(seed))
    network = layers(space, subnet)
    made = {IMAGE: (3, subnet.resolution)}
    for layer in network:
        sources = [made[name] for name in layer.inputs]  # KeyError: read before it is made
        match layer:
            case Convolution():
                assert sources == [(layer.in_channels, layer.in_size)]
                assert layer.groups in (1, layer.in_channels)
                padded = layer.in_size + sum(layer.padding)
                assert layer.out_size == (padded - layer.kernel) // layer.stride + 1
            case Add():
                assert sources == [extent(layer)] * 2
            case Multiply():
                assert sources == [extent(layer), (layer.channels, 1)]
            case GlobalPool():
                assert sources == [(layer.channels, layer.size)]
            case Linear():
                assert sources == [(layer.in_features, 1)]
        assert layer.name not in made, "names are unique"
        made[layer.name] = extent(layer)
    assert network[-1].name == LOGITS
    assert made[LOGITS] == (space.classes, 1)


@given(st.integers(4, 300), st.sampled_from([1, 3, 5, 7, 9]), st.sampled_from([1, 2]))
def test_same_padding_follows_tensorflow(size: int, kernel: int, stride: int) -> None:
    layer = single(size, kernel, stride, "same")
    assert layer.in_size == size
    assert layer.out_size == math.ceil(size / stride)
    # https://www.tensorflow.org/api_docs/python/tf/nn: "Notes on padding"
    remainder = size % stride
    total = max(kernel - stride if remainder == 0 else kernel - remainder, 0)
    assert layer.padding == (total // 2, total - total // 2)


@given(st.integers(4, 300), st.sampled_from([1, 3, 5, 7, 9]), st.sampled_from([1, 2]))
def test_symmetric_padding_is_half_the_kernel(size: int, kernel: int, stride: int) -> None:
    layer = single(size, kernel, stride, "symmetric")
    assert layer.padding == (kernel // 2, kernel // 2)
    assert layer.out_size == math.ceil(size / stride)


@pytest.mark.parametrize("space", NAMED, ids=lambda space: space.name)
def test_all_blocks_but_the_first_add_their_input(space: SearchSpace) -> None:
    largest = space.largest()
    added = {it.name for it in layers(space, largest) if isinstance(it, Add)}
    assert added == {
        f"stage{index}_block{number}_add"
        for index, stage in enumerate(largest.stages)
        for number in range(len(stage.blocks))
        if number > 0 or space.stages[index].shortcut
    }


@given(seeds)
def test_gate_is_a_quarter_of_the_sliced_width(seed: int) -> None:
    space = mobilenet_v3()
    subnet = space.sample(np.random.default_rng(seed))
    made = {it.name: it for it in layers(space, subnet)}
    entry = 16
    for index, stage in enumerate(subnet.stages):
        for number, block in enumerate(stage.blocks):
            name, hidden = f"stage{index}_block{number}", entry * block.expand
            entry = stage.width
            assert (f"{name}_gate" in made) == space.stages[index].squeeze_excitation
            if f"{name}_gate" in made:
                reduce, excite = made[f"{name}_reduce"], made[f"{name}_excite"]
                assert isinstance(reduce, Convolution)
                assert isinstance(excite, Convolution)
                assert (reduce.in_channels, excite.out_channels) == (hidden, hidden)
                assert reduce.out_channels == round_to_eight(hidden // 4)
                assert (reduce.activation, excite.activation) == ("relu", "hard_sigmoid")
                assert not reduce.normalised
                assert not excite.normalised


@pytest.mark.parametrize(("kernel", "path"), [(7, (7,)), (5, (7, 5)), (3, (7, 5, 3))])
def test_learned_kernels_are_cropped_step_by_step(kernel: int, path: tuple[int, ...]) -> None:
    space = mobilenet_v3()
    vector = space.encode(space.largest())
    position = 1 + 4 + 2  # resolution, the first stage, width and depth of the second
    vector[position] = space.stages[1].kernels.index(kernel)
    network = {it.name: it for it in layers(space, space.decode(vector))}
    layer = network["stage1_block0_depthwise"]
    assert isinstance(layer, Convolution)
    assert (layer.kernel, layer.kernel_path) == (kernel, path)
    assert layer.transforms == {7: (), 5: ((7, 5),), 3: ((7, 5), (5, 3))}[kernel]


def test_plain_kernels_have_no_path() -> None:
    assert all(
        not it.kernel_path for seed in range(9) for it in convolutions(tiny(), seed).values()
    )


def test_supernet_holds_every_kernel_matrix() -> None:
    shapes = supernet_shapes(mobilenet_v3())
    matrices = {name: shape for name, shape in shapes.items() if ".transform_" in name}
    wanted: dict[str, tuple[int, int]] = {}
    for index, number in ((i, n) for i in range(1, 6) for n in range(4)):
        name = f"stage{index}_block{number}_depthwise.transform"
        wanted |= {f"{name}_7to5": (25, 25), f"{name}_5to3": (9, 9)}
    assert matrices == wanted
    assert shapes["stage1_block0_depthwise.weight"] == (96, 1, 7, 7)
    assert not any(".transform_" in name for name in supernet_shapes(tiny()))


@given(st.sampled_from(NAMED), seeds)
def test_subnet_needs_no_more_than_the_supernet_holds(space: SearchSpace, seed: int) -> None:
    stored = supernet_shapes(space)
    subnet = space.sample(np.random.default_rng(seed))
    for layer in layers(space, subnet):
        for name, shape in parameter_shapes(layer):
            assert len(shape) == len(stored[name])
            assert all(n <= most for n, most in zip(shape, stored[name], strict=True)), name


def test_supernet_holds_exactly_the_largest_subnet() -> None:
    space = efficientnet_lite0()
    needed = {
        name: shape
        for layer in layers(space, space.largest())
        for name, shape in parameter_shapes(layer)
    }
    assert supernet_shapes(space) == needed


def test_foreign_subnet_has_no_layers() -> None:
    with pytest.raises(SubnetError):
        layers(tiny(), efficientnet_lite0().largest())
