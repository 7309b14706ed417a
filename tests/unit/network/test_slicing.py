"""From the supernet's arrays to one subnet's: sliced, transformed, folded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from tofa_edge.architecture.arrays import DoubleArray, FloatArray
from tofa_edge.architecture.layers import (
    LOGITS,
    BatchStatistics,
    Convolution,
    layers,
    parameter_shapes,
    supernet_shapes,
)
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import mobilenet_v3, tiny
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.network.slicing import calibration_network, cut, fold

Supernets = Callable[[SearchSpace, int], dict[str, FloatArray]]
Double = DoubleArray


def with_kernels(space: SearchSpace, index: int) -> Subnet:
    """The largest subnet, with the `index`-th kernel choice wherever there is one."""
    largest = space.largest()
    stages = tuple(
        dataclasses.replace(
            stage,
            blocks=tuple(
                dataclasses.replace(b, kernel=choices.kernels[min(index, len(choices.kernels) - 1)])
                for b in stage.blocks
            ),
        )
        for stage, choices in zip(largest.stages, space.stages, strict=True)
    )
    return dataclasses.replace(largest, stages=stages)


def naive(layer: Convolution, value: Double, weight: Double) -> Double:
    """A convolution by its definition: value (C, H, W), weight (out, in / groups, k, k)."""
    value = np.pad(value, ((0, 0), layer.padding, layer.padding))
    made = np.zeros((layer.out_channels, layer.out_size, layer.out_size))
    for out in range(layer.out_channels):
        group = slice(out, out + 1) if layer.depthwise else slice(None)
        for row, column in np.ndindex(layer.out_size, layer.out_size):
            top, left = row * layer.stride, column * layer.stride
            patch = value[group, top : top + layer.kernel, left : left + layer.kernel]
            made[out, row, column] = (patch * weight[out]).sum()
    return made


@pytest.mark.parametrize("index", [0, 1, 4])
def test_folded_convolution_equals_convolution_and_norm(supernets: Supernets, index: int) -> None:
    space, rng = tiny(), np.random.default_rng(index)
    network = layers(space, with_kernels(space, 1))
    arrays = cut(network, supernets(space, 1))
    layer = [it for it in network if isinstance(it, Convolution)][index]
    folded = fold(network, arrays, LITE_PREPROCESSING)
    value = rng.standard_normal((layer.in_channels, layer.in_size, layer.in_size))
    double = {
        role: arrays[f"{layer.name}.{role}"].astype(np.float64)[:, None, None]
        for role in ("scale", "shift", "mean", "variance")
    }
    plain = naive(layer, value, arrays[f"{layer.name}.weight"].astype(np.float64))
    normed = (plain - double["mean"]) / np.sqrt(double["variance"] + layer.epsilon)
    wanted = normed * double["scale"] + double["shift"]
    got = naive(layer, value, folded.arrays[f"{layer.name}.weight"].astype(np.float64))
    got += folded.arrays[f"{layer.name}.bias"][:, None, None]
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_fold_leaves_no_norm_behind(supernets: Supernets) -> None:
    for space in (tiny(), mobilenet_v3()):
        network = layers(space, space.smallest())
        folded = fold(network, cut(network, supernets(space, 0)), LITE_PREPROCESSING)
        for layer in folded.layers:
            assert not (isinstance(layer, Convolution) and (layer.normalised or layer.kernel_path))
        needed = {name for layer in folded.layers for name, _ in parameter_shapes(layer)}
        assert set(folded.arrays) == needed
        assert all(a.flags.c_contiguous for a in folded.arrays.values())
        assert {a.dtype for a in folded.arrays.values()} == {np.dtype(np.float32)}


def test_fold_keeps_plain_biases(supernets: Supernets) -> None:
    space = mobilenet_v3()
    network = layers(space, space.largest())
    arrays = cut(network, supernets(space, 0))
    folded = fold(network, arrays, LITE_PREPROCESSING)
    for name in ("stage2_block0_reduce", "features", LOGITS):
        for role in ("weight", "bias"):
            assert np.array_equal(folded.arrays[f"{name}.{role}"], arrays[f"{name}.{role}"])


def test_cut_takes_first_channels_and_the_centre(supernets: Supernets) -> None:
    space = tiny()
    stored = supernets(space, 2)
    assert stored["stage1_block0_depthwise.weight"].shape == (24, 1, 5, 5)
    arrays = cut(layers(space, space.smallest()), stored)
    kernel = arrays["stage1_block0_depthwise.weight"]
    assert np.array_equal(kernel, stored["stage1_block0_depthwise.weight"][:16, :, 1:4, 1:4])
    project = arrays["stage2_block0_project.weight"]
    assert np.array_equal(project, stored["stage2_block0_project.weight"][:16, :16])
    mean = arrays["stage2_block0_expand.mean"]
    assert np.array_equal(mean, stored["stage2_block0_expand.mean"][:16])
    head = arrays["head.weight"]
    assert np.array_equal(head, stored["head.weight"][:, :16])
    assert np.shares_memory(kernel, stored["stage1_block0_depthwise.weight"])


def test_largest_cut_is_everything(supernets: Supernets) -> None:
    space = mobilenet_v3()
    stored = supernets(space, 0)
    arrays = cut(layers(space, space.largest()), stored)
    plain = {name for name in supernet_shapes(space) if ".transform_" not in name}
    assert set(arrays) == plain
    assert all(np.array_equal(arrays[name], stored[name]) for name in plain)


def test_kernels_pass_their_matrices_one_after_the_other(supernets: Supernets) -> None:
    space = mobilenet_v3()
    stored = supernets(space, 3)
    name = "stage1_block0_depthwise"
    large = stored[f"{name}.weight"].astype(np.float64)
    five, three = np.zeros((96, 1, 5, 5)), np.zeros((96, 1, 3, 3))
    for channel in range(96):
        centre = large[channel, 0, 1:6, 1:6].ravel()
        five[channel, 0] = (stored[f"{name}.transform_7to5"] @ centre).reshape(5, 5)
        centre = five[channel, 0, 1:4, 1:4].ravel()
        three[channel, 0] = (stored[f"{name}.transform_5to3"] @ centre).reshape(3, 3)
    for index, wanted in ((0, three), (1, five), (2, large)):
        got = cut(layers(space, with_kernels(space, index)), stored)[f"{name}.weight"]
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert np.abs(three - large[:, :, 2:5, 2:5]).max() > 0.01, "the matrices do something"


@pytest.mark.parametrize("space", [tiny(), mobilenet_v3()], ids=lambda space: space.name)
def test_calibration_network_gives_every_statistic(
    supernets: Supernets, space: SearchSpace
) -> None:
    network = layers(space, space.sample(np.random.default_rng(0)))
    measuring = calibration_network(network, cut(network, supernets(space, 0)), LITE_PREPROCESSING)
    normalised = [it for it in network if isinstance(it, Convolution) and it.normalised]
    wanted = [f"{it.name}.{role}" for it in normalised for role in ("mean", "variance")]
    assert list(measuring.outputs) == wanted
    assert isinstance(measuring.layers[-1], BatchStatistics), "nothing runs after the last"
    assert not any(name.startswith((LOGITS, "features")) for name in measuring.arrays)


def test_calibration_network_keeps_the_function(supernets: Supernets) -> None:
    """Folded with the statistics of a batch, the network computes what the measuring one did."""
    space, rng = tiny(), np.random.default_rng(5)
    network = layers(space, space.largest())
    arrays = cut(network, supernets(space, 5))
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    measuring = calibration_network(network, arrays, LITE_PREPROCESSING)
    seen = Network(
        measuring.layers, measuring.arrays, LITE_PREPROCESSING, (*measuring.outputs, "head")
    )
    measured = ReferenceSession(seen).run(images)
    head = measured.pop("head")
    folded = fold(network, {**arrays, **measured}, LITE_PREPROCESSING)
    deployed = Network(folded.layers, folded.arrays, LITE_PREPROCESSING, ("head",))
    np.testing.assert_allclose(ReferenceSession(deployed).run(images)["head"], head, atol=2e-4)
