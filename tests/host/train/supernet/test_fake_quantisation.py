"""The last phase of training: rounding as integers do it, its gradients, and what it leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.backends.registry import backend
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.ranges import ready
from tofa_edge.errors import TrainingError
from tofa_edge.network.integers import QUANTILE, on_grid, stepped
from tofa_edge.network.network import LITE_PREPROCESSING, Quantisation
from tofa_edge.network.slicing import cut, fold
from tofa_edge.train.config import QUANTISATION_AWARE, TRAINING, Progress, TrainingConfig
from tofa_edge.train.data.photos import Photos, resized
from tofa_edge.train.objective.objectives import SemiSupervised
from tofa_edge.train.run.loop import Phase, begin
from tofa_edge.train.run.phases import train_phase
from tofa_edge.train.run.subnet_accuracy import log_softmax
from tofa_edge.train.run.time_estimate import PhaseCosts, expected_seconds
from tofa_edge.train.supernet import supernet as supernet_module
from tofa_edge.train.supernet.fake_quantisation import rounded_values, rounded_weight
from tofa_edge.train.supernet.supernet import Supernet
from tofa_edge.train.trainer import train

pytestmark = pytest.mark.usefixtures("known_engines")

REFERENCE = Engine(backend("reference"), Target())
SHORT = TrainingConfig(
    start="tiny",
    resolution=16,
    epochs=2,
    quantisation_aware_epochs=2,
    batch_size=16,
    labels_per_class=4,
    predictor_subnets=0,
)


def made(classes: int = 2) -> Supernet:
    generator = torch.Generator().manual_seed(0)
    return Supernet(replace(tiny(), classes=classes), LITE_PREPROCESSING, generator)


def coloured(count: int, size: int) -> tuple[ImageArray, IndexArray]:
    """Noisy images of two colours, and which."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    colours = np.array([(150, 90, 90), (90, 90, 150)])[labels][:, None, None]
    pixels = np.clip(colours + rng.integers(-60, 60, (count, size, size, 3)), 0, 255)
    return pixels.astype(np.uint8), labels


@pytest.mark.parametrize("levels", [127, 63])
@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (5, 1, 5, 5), (3, 8)])
def test_weights_round_as_on_the_device(shape: tuple[int, ...], levels: int) -> None:
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    weight[1] = 0
    steps, scales = stepped(weight, levels)
    wanted = steps * scales.reshape(-1, *[1] * (weight.ndim - 1))
    tensor = torch.from_numpy(weight).requires_grad_()
    rounded = rounded_weight(tensor, levels)
    np.testing.assert_allclose(rounded.detach().numpy(), wanted, atol=1e-6)
    given_back = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(rounded, tensor, given_back)
    assert torch.equal(gradient, given_back), "they pass as they are"


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 99),
    shift=st.floats(-3, 3),
    shape=st.sampled_from([(16, 3, 4, 4), (5, 8, 1, 1), (1, 2, 3, 3)]),
)
def test_values_round_as_on_the_device(seed: int, shift: float, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(shape) + shift).astype(np.float32)
    flat = values.reshape(len(values), -1)
    low = min(float(np.quantile(flat.min(axis=1), 1 - QUANTILE)), 0.0)
    high = max(float(np.quantile(flat.max(axis=1), QUANTILE)), 0.0, low + 1e-6)
    step = (high - low) / 255
    tensor = torch.from_numpy(values).requires_grad_()
    rounded = rounded_values(tensor)
    off = np.abs(rounded.detach().numpy() - on_grid(values, (low, high)))
    assert off.max() <= 1.01 * step
    assert (off > 1e-5).mean() < 0.02, "only what lies between two steps may fall either way"
    (gradient,) = torch.autograd.grad(rounded.sum(), tensor)
    inside = (values > low + step) & (values < high - step)
    outside = (values < low - step) | (values > high + step)
    assert (gradient.numpy()[inside] == 1).all()
    assert (gradient.numpy()[outside] == 0).all()
    assert rounded_values(torch.zeros(shape)).abs().max() == 0


def test_range_leaves_odd_images_out_and_zero_in() -> None:
    values = torch.full((20, 1, 2, 2), 1.0)
    values[0] = 100.0
    values.requires_grad_()
    rounded = rounded_values(values)
    assert float(rounded.detach().max()) == pytest.approx(1.0)
    (gradient,) = torch.autograd.grad(rounded.sum(), values)
    assert gradient[0].abs().max() == 0
    assert gradient[1:].min() == 1


@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_rounded_supernet_computes_what_integers_do(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BatchNorm is folded there and apart here, which must not matter."""
    supernet = made(5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in supernet.arrays().items():
            if name.endswith((".scale", ".variance")):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif name.endswith((".shift", ".mean", ".bias")):
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    space = supernet.space
    subnet = space.largest() if which == "largest" else space.smallest()
    grids: list[tuple[float, float]] = []

    def noted(values: torch.Tensor) -> torch.Tensor:
        each = tuple(range(1, values.dim()))
        low, high = values.amin(each).quantile(1 - QUANTILE), values.amax(each).quantile(QUANTILE)
        grids.append((min(float(low), 0.0), max(float(high), 0.0)))
        return rounded_values(values)

    monkeypatch.setattr(supernet_module, "rounded_values", noted)
    images = np.random.default_rng(0).integers(
        0, 256, (6, subnet.resolution, subnet.resolution, 3), dtype=np.uint8
    )
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        (plain,) = supernet(pixels, subnet, statistics="stored")
        assert not grids
        supernet.rounded = True
        (rounded,) = supernet(pixels, subnet, statistics="stored")
    described = layers(space, subnet)
    names = [layer.name for layer in described if layer.name != LOGITS]
    plan = Quantisation(dict(zip(names, grids, strict=True)))
    network = fold(described, cut(described, supernet.to_arrays()), LITE_PREPROCESSING)
    session = ReferenceSession(replace(network, quantisation=plan))
    found = session.run(images)[LOGITS]
    moved = np.abs(rounded.numpy() - plain.numpy()).max(axis=1)
    off = np.abs(rounded.numpy() - found).max(axis=1)
    assert np.median(off) < 1e-5 < 1e-3 < np.median(moved)
    assert off.max() < moved.max(), "a value between two steps may fall either way"


def test_averaged_supernet_stays_in_float() -> None:
    images, labels = coloured(8, 32)
    objective = SemiSupervised(images, labels, 2, 4, 0)
    supernet = made()
    state = begin(supernet, objective, Phase("x", 1, 1e-3, rounded=True))
    assert (state.supernet.rounded, state.averaged.rounded) == (True, False)
    assert not begin(supernet, objective, Phase("x", 1, 1e-3)).supernet.rounded


def int8_loss(supernet: Supernet, images: ImageArray, labels: IndexArray) -> float:
    """The cross-entropy of the middle subnet in integers, as the reference simulates them."""
    space, subnet = supernet.space, supernet.space.middle()
    seen = resized(images, subnet.resolution)
    arrays = supernet.to_arrays()
    network = cut_network(space, subnet, arrays, LITE_PREPROCESSING, seen, REFERENCE)
    network = ready(network, Target(precision="int8"), seen, REFERENCE)
    logits = ReferenceSession(network).run(seen)[LOGITS]
    return -float(log_softmax(logits)[np.arange(len(labels)), labels].mean())


def test_last_phase_lowers_the_loss_in_integers() -> None:
    images, labels = coloured(64, 32)
    objective = SemiSupervised(images, labels, 2, 16, 0)
    start = train_phase(made(), objective, Phase("float", 12, 5e-3))
    before = int8_loss(start, images, labels)
    seen: list[Progress] = []
    ended = train_phase(start, objective, Phase("last", 12, 2e-3, rounded=True), seen.append)
    assert len(seen) == 12
    assert all(np.isfinite(step.losses).all() for step in seen)
    assert int8_loss(ended, images, labels) < before
    assert not ended.rounded


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("colours")
    images, labels = coloured(100, 20)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / ("red", "blue")[label]
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return root


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Progress]]:
    steps: list[Progress] = []
    out = tmp_path_factory.mktemp("whole") / "x.tofa"
    bundle = train(photos, out, SHORT, steps.append).bundle
    return bundle, [step for step in steps if step.losses]


def test_phase_comes_last_and_is_recorded(whole: tuple[Path, list[Progress]]) -> None:
    bundle, steps = Bundle.open(whole[0]), whole[1]
    phases = [step.phase for step in steps]
    assert phases == [TRAINING] * (len(steps) // 2) + [QUANTISATION_AWARE] * (len(steps) // 2)
    assert bundle.provenance["quantisation_aware_epochs"] == 2
    bundle.verify()


def test_without_it_nothing_changes(
    photos: Path, tmp_path: Path, whole: tuple[Path, list[Progress]]
) -> None:
    steps: list[Progress] = []
    config = replace(SHORT, quantisation_aware_epochs=0)
    bundle = Bundle.open(train(photos, tmp_path / "x.tofa", config, steps.append).bundle)
    steps = [step for step in steps if step.losses]
    assert {step.phase for step in steps} == {TRAINING}
    before = [step.losses for step in whole[1] if step.phase == TRAINING]
    assert [step.losses for step in steps] == before
    assert bundle.provenance["quantisation_aware_epochs"] == 0
    first, second = bundle.supernet(), Bundle.open(whole[0]).supernet()
    assert not np.array_equal(first["stem.weight"], second["stem.weight"])


@pytest.mark.parametrize("phase", [TRAINING, QUANTISATION_AWARE])
@pytest.mark.parametrize("from_end", [0, 2])
def test_resumed_run_gives_the_same_weights(
    photos: Path, tmp_path: Path, whole: tuple[Path, list[Progress]], phase: str, from_end: int
) -> None:
    out = tmp_path / "x.tofa"

    def stop(progress: Progress) -> None:
        if (progress.phase, progress.steps - progress.step) == (phase, from_end):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(photos, out, SHORT, stop)
    with pytest.raises(TrainingError, match="another quantisation_aware_epochs"):
        train(photos, out, replace(SHORT, quantisation_aware_epochs=1), resume=True)
    steps: list[Progress] = []
    train(photos, out, SHORT, steps.append, resume=True)
    steps = [step for step in steps if step.losses]
    left = whole[1][-len(steps) :] if steps else []
    assert [(step.phase, step.step) for step in steps] == [(s.phase, s.step) for s in left]
    assert len(steps) == from_end + (phase == TRAINING) * len(whole[1]) // 2
    first, second = (Bundle.open(path).supernet() for path in (whole[0], out))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_time_of_the_phase_is_estimated() -> None:
    images, labels = coloured(64, 32)
    photos = Photos(("blue", "red"), images, labels)
    costs, twice = PhaseCosts.of(made()), replace(SHORT, quantisation_aware_epochs=4)
    once, more = (expected_seconds(costs, photos, labels, config) for config in (SHORT, twice))
    assert once[TRAINING] == more[TRAINING] > 0
    assert more[QUANTISATION_AWARE] == pytest.approx(2 * once[QUANTISATION_AWARE])
    assert once[QUANTISATION_AWARE] > 0


def test_contradictions_are_refused() -> None:
    with pytest.raises(
        TrainingError, match="quantisation_aware_epochs must be a number of 0 or more"
    ):
        TrainingConfig(quantisation_aware_epochs=-1)
    with pytest.raises(TrainingError, match="with 0 epochs there is none"):
        TrainingConfig(epochs=0, quantisation_aware_epochs=1)
