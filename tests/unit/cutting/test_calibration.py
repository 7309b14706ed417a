"""BatchNorm calibration: the moments of all images, from those of chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import Convolution, layers, parameter_shapes
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.zoo import efficientnet_lite0, tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.cutting import calibration
from tofa_edge.cutting.calibration import calibrate, chunk_size, cut_network, pooled_statistics
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import calibration_network, cut, fold

Supernets = Callable[[SearchSpace, int], dict[str, FloatArray]]


def reference() -> Engine:
    return Engine(backends.backend("reference"), Target())


def photos(count: int, size: int, seed: int = 0) -> ImageArray:
    """Noise whose brightness differs from image to image, so that chunks differ too."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0, 200, (count, 1, 1, 3))
    return (level + rng.uniform(0, 55, (count, size, size, 3))).astype(np.uint8)


def stem_moments(weight: FloatArray, images: ImageArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and variance of the first convolution's outputs over all images, in float64."""
    values = np.pad((images.astype(np.float64) - 127) / 128, ((0, 0), (0, 1), (0, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(values, (3, 3), axis=(1, 2))[:, ::2, ::2]
    made = np.einsum("nhwckl,ockl->nhwo", windows, weight.astype(np.float64))
    return made.mean(axis=(0, 1, 2)), made.var(axis=(0, 1, 2))


@pytest.mark.parametrize("count", [5, 8, 30])
def test_chunks_pool_to_the_moments_of_all(
    supernets: Supernets, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    space = tiny()
    network = layers(space, space.largest())
    arrays = cut(network, supernets(space, 0))
    images = photos(count, 32)
    chunks: list[int] = []

    def small(layers: Any, memory_bytes: int) -> int:
        chunks.append(4)
        return 4

    monkeypatch.setattr(calibration, "chunk_size", small)
    calibrated = calibrate(network, arrays, images, LITE_PREPROCESSING, reference())
    assert chunks, "the images were cut into chunks of four"
    mean, variance = stem_moments(arrays["stem.weight"], images)
    spread = np.sqrt(variance)
    assert (np.abs(calibrated["stem.mean"] - mean) / spread).max() < 1e-5
    assert (np.abs(calibrated["stem.variance"] - variance) / variance).max() < 1e-5


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 99))
def test_pooling_is_exact_for_any_number_of_images(count: int, seed: int) -> None:
    """A run that returns the moments of its chunk's pixels must pool to those of all pixels."""
    space = tiny()
    network = layers(space, space.smallest())
    arrays = {
        name: np.ones(shape, np.float32)
        for layer in network
        for name, shape in parameter_shapes(layer)
    }
    measuring = calibration_network(network, arrays, LITE_PREPROCESSING)
    images = photos(count, 16, seed)
    seen: list[int] = []

    def run(chunk: ImageArray) -> dict[str, FloatArray]:
        seen.append(len(chunk))
        pixels = chunk.astype(np.float64)
        moments = {"mean": pixels.mean(axis=(0, 1, 2)), "variance": pixels.var(axis=(0, 1, 2))}
        return {
            name: moments[name.rsplit(".", 1)[1]].astype(np.float32) for name in measuring.outputs
        }

    pooled = pooled_statistics(run, measuring, images, memory_bytes=1)  # chunks as small as can be
    assert sum(seen) == count
    assert max(seen) <= 4
    pixels = images.astype(np.float64)
    np.testing.assert_allclose(pooled["stem.mean"], pixels.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pooled["stem.variance"], pixels.var(axis=(0, 1, 2)), rtol=1e-4)


def test_chunk_size_keeps_its_bounds() -> None:
    space = efficientnet_lite0()
    network = layers(space, space.largest())
    sizes = [chunk_size(network, memory) for memory in (0, 2**20, 2**27, 2**28, 2**40)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (4, 64)
    assert 4 < sizes[2] < 64
    small = layers(tiny(), tiny().smallest())
    assert chunk_size(small, 2**27) == 64


def test_every_norm_is_calibrated(supernets: Supernets) -> None:
    space = tiny()
    network = layers(space, space.smallest())
    arrays = cut(network, supernets(space, 1))
    calibrated = calibrate(network, arrays, photos(16, 16), LITE_PREPROCESSING, reference())
    for layer in network:
        if isinstance(layer, Convolution):
            for role in ("mean", "variance"):
                name = f"{layer.name}.{role}"
                assert not np.allclose(calibrated[name], arrays[name])
            assert calibrated[f"{layer.name}.weight"] is arrays[f"{layer.name}.weight"]
    assert set(calibrated) == set(arrays)


def test_largest_keeps_its_statistics(supernets: Supernets) -> None:
    space = tiny()
    supernet = supernets(space, 1)
    network = layers(space, space.largest())
    stored = fold(network, cut(network, supernet), LITE_PREPROCESSING)
    none = np.zeros((0, 32, 32, 3), np.uint8)
    arguments = (supernet, LITE_PREPROCESSING)
    made = cut_network(space, space.largest(), *arguments, none, reference())
    assert made.digest == stored.digest


def test_other_subnets_are_calibrated(supernets: Supernets) -> None:
    space = tiny()
    supernet = supernets(space, 1)
    subnet = space.smallest()
    network = layers(space, subnet)
    stored = fold(network, cut(network, supernet), LITE_PREPROCESSING)
    images = photos(16, 16)
    made = cut_network(space, subnet, supernet, LITE_PREPROCESSING, images, reference())
    assert made.digest != stored.digest
    head = ReferenceSession(made).run(images)["logits"]
    assert np.isfinite(head).all()
