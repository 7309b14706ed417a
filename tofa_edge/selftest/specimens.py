"""Specimens: networks and photos made from a seed alone, to test engines with.

With random weights alone, activations explode or die on the way. So the BatchNorm statistics of
every subnet here are those of a few random photos, as after training.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import layers, supernet_shapes
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0, mobilenet_v3, tiny
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.network.slicing import calibration_network, cut, fold

CALIBRATION_PHOTOS = 8


def specimen(seed: int = 0) -> Network:
    """Returns one small network, 32 px and 10 classes; `seed` decides its weights."""
    space = tiny()
    return calibrated(space, space.largest(), random_supernet(space, seed), seed)


def measuring_specimen(seed: int = 0) -> Network:
    """Returns the network that measures the BatchNorm statistics of a small one."""
    network = layers(tiny(), tiny().smallest())
    arrays = cut(network, random_supernet(tiny(), seed))
    return calibration_network(network, arrays, LITE_PREPROCESSING)


def spaces() -> dict[str, SearchSpace]:
    """Returns search spaces by name, with small and odd resolutions: quick to run, hard to pad."""
    return {
        "tiny": tiny(),
        "mobilenet_v3": replace(mobilenet_v3(), resolutions=(64, 65)),
        "lite0": replace(efficientnet_lite0(), resolutions=(48, 49, 75, 96, 97)),
    }


def varied_subnet(space: SearchSpace, seed: int) -> Subnet:
    """Returns the smallest for `seed` 0, the largest for 1, then random ones of all resolutions."""
    if seed < 2:
        return (space.smallest(), space.largest())[seed]
    subnet = space.sample(np.random.default_rng(seed))
    return replace(subnet, resolution=space.resolutions[seed % len(space.resolutions)])


def calibrated(
    space: SearchSpace, subnet: Subnet, supernet: dict[str, FloatArray], seed: int = 0
) -> Network:
    """Returns a finished network whose BatchNorm statistics are those of `photos(8, …, seed)`.

    Args:
        supernet: arrays, by name.
        seed: of the photos.
    """
    network = layers(space, subnet)
    arrays = cut(network, supernet)
    measuring = calibration_network(network, arrays, LITE_PREPROCESSING)
    images = photos(CALIBRATION_PHOTOS, subnet.resolution, seed)
    statistics = ReferenceSession(measuring).run(images)
    return fold(network, {**arrays, **statistics}, LITE_PREPROCESSING)


def photos(count: int, size: int, seed: int = 0) -> ImageArray:
    """Returns `count` images of coloured noise of a `size` by `seed`, (count, size, size, 3)."""
    rng, factor = np.random.default_rng(seed), -(-size // 4)
    coarse = rng.integers(0, 200, (count, 4, 4, 3)).repeat(factor, 1).repeat(factor, 2)
    grain = rng.integers(0, 56, (count, size, size, 3))
    return (coarse[:, :size, :size] + grain).astype(np.uint8)


def random_supernet(space: SearchSpace, seed: int) -> dict[str, FloatArray]:
    """Returns random arrays of a space by `seed`; kernel matrices are the identity, perturbed."""
    rng = np.random.default_rng(seed)
    arrays = random_arrays(space, rng)
    for name, array in arrays.items():
        if ".transform_" in name:
            noise = 0.3 * rng.standard_normal(array.shape) / np.sqrt(len(array))
            arrays[name] = (np.eye(len(array)) + noise).astype(np.float32)
    return arrays


def random_arrays(space: SearchSpace, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Returns float32 arrays for every name in `supernet_shapes`, of usual magnitudes."""
    arrays: dict[str, FloatArray] = {}
    for name, shape in supernet_shapes(space).items():
        noise = rng.standard_normal(shape).astype(np.float32)
        if name.endswith((".scale", ".variance")):
            noise = 1 + np.float32(0.2) * np.abs(noise)
        elif name.endswith(".weight"):
            noise *= np.float32(np.sqrt(2 / max(1, math.prod(shape[1:]))))
        arrays[name] = noise
    return arrays
