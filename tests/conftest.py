"""What several tests start from: random supernets, and small bundles made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.benchmarks.small_bundle import random_arrays, smooth_photo
from tofa_edge.bundle import GoldenCase, write_bundle
from tofa_edge.layers import LOGITS, layers
from tofa_edge.network import LITE_PREPROCESSING, FloatArray
from tofa_edge.space import SearchSpace
from tofa_edge.spaces import tiny
from tofa_edge.weights import cut, fold

PHOTOS = 24


def random_supernet(space: SearchSpace, seed: int) -> dict[str, FloatArray]:
    """Random arrays of a space; kernel matrices are the identity, perturbed."""
    rng = np.random.default_rng(seed)
    arrays = random_arrays(space, rng)
    for name, array in arrays.items():
        if ".transform_" in name:
            noise = 0.3 * rng.standard_normal(array.shape) / np.sqrt(len(array))
            arrays[name] = (np.eye(len(array)) + noise).astype(np.float32)
    return arrays


def write_tiny(path: Path, photos: int) -> Path:
    space, rng = tiny(), np.random.default_rng(0)
    arrays = random_supernet(space, 0)
    golden = []
    for subnet in (space.smallest(), space.largest(), space.sample(rng)):
        network = layers(space, subnet)
        shape = (2, subnet.resolution, subnet.resolution, 3)
        images = rng.integers(0, 256, shape, dtype=np.uint8)
        folded = fold(network, cut(network, arrays), LITE_PREPROCESSING)
        golden.append(GoldenCase(subnet, images, ReferenceSession(folded).run(images)[LOGITS]))
    write_bundle(
        path,
        space=space,
        classes=[f"class {index}" for index in range(space.classes)],
        preprocessing=LITE_PREPROCESSING,
        arrays=arrays,
        golden=golden,
        calibration=[smooth_photo(rng) for _ in range(photos)],
        check=[],
        provenance={"made_by": "the tests"},
    )
    return path


@pytest.fixture(scope="session")
def supernets() -> Callable[[SearchSpace, int], dict[str, FloatArray]]:
    return random_supernet


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.tofa", PHOTOS)


@pytest.fixture(scope="session")
def bare_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without photos."""
    return write_tiny(tmp_path_factory.mktemp("bare") / "bare.tofa", 0)
