"""Model and Prediction: what a user holds in hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.budget import Budget
from tofa_edge.errors import BackendError, ImageError
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut, fold
from tofa_edge.serving.explanation import Explanation
from tofa_edge.serving.model import Model
from tofa_edge.serving.prediction import REMEMBERED_CALLS, Prediction

Supernets = Callable[[SearchSpace, int], dict[str, FloatArray]]
CLASSES = tuple(f"class {index}" for index in range(10))


@pytest.fixture
def model(supernets: Supernets) -> Iterator[Model]:
    space = tiny()
    network = layers(space, space.largest())
    engine = Engine(backends.backend("reference"), Target())
    session = engine.load(fold(network, cut(network, supernets(space, 0)), LITE_PREPROCESSING))
    with Model(session, space.largest(), engine, CLASSES, Explanation(Path("x"), Budget())) as made:
        yield made


def photo(seed: int = 0, size: int = 32) -> ImageArray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_prediction_reads_its_logits() -> None:
    prediction = Prediction(np.array([1, 3, 2, -4], np.float32), ("a", "b", "c", "d"))
    powers = np.exp([1, 3, 2, -4])
    np.testing.assert_allclose(prediction.probabilities, powers / powers.sum(), rtol=1e-6)
    assert prediction.probabilities.dtype == np.float32
    assert (prediction.index, prediction.label) == (1, "b")
    assert prediction.probability == pytest.approx(powers[1] / powers.sum())
    assert [name for name, _ in prediction.top(3)] == ["b", "c", "a"]
    assert [share for _, share in prediction.top()] == sorted(
        prediction.probabilities, reverse=True
    )
    assert repr(prediction) == "Prediction('b', 0.665)"


def test_temperature_makes_probabilities_humbler() -> None:
    logits = np.array([2, 0], np.float32)
    sharp, soft = (Prediction(logits, ("a", "b"), t, unknown_below=0.8) for t in (1.0, 2.0))
    assert soft.probability == pytest.approx(1 / (1 + np.exp(-1)))
    assert (sharp.known, soft.known) == (True, False)
    assert sharp.label == soft.label == "a"


def test_huge_logits_do_not_overflow() -> None:
    prediction = Prediction(np.array([1e4, 1e4, -1e4], np.float32), ("a", "b", "c"))
    np.testing.assert_allclose(prediction.probabilities, [0.5, 0.5, 0], atol=1e-7)
    assert prediction.top(2) == [("a", 0.5), ("b", 0.5)], "the first of equals comes first"


def test_every_kind_of_image_agrees(model: Model, tmp_path: Path) -> None:
    image = photo()
    Image.fromarray(image).save(tmp_path / "photo.png")
    wanted = model(image).logits
    assert wanted.shape == (10,)
    sources = (Image.fromarray(image), tmp_path / "photo.png", str(tmp_path / "photo.png"))
    for source in sources:
        assert np.array_equal(model(source).logits, wanted)
    together = model.batch([image, *sources])
    for prediction in together:
        np.testing.assert_allclose(prediction.logits, wanted, rtol=1e-4, atol=1e-4)


def test_batch_agrees_with_single_calls(model: Model) -> None:
    images = np.stack([photo(seed) for seed in range(5)])
    for one, prediction in zip(images, model.batch(images), strict=True):
        np.testing.assert_allclose(prediction.logits, model(one).logits, rtol=1e-4, atol=1e-4)
        assert prediction.classes == CLASSES


def test_empty_batch_gives_nothing(model: Model) -> None:
    assert model.batch([]) == []
    assert model.batch(np.zeros((0, 32, 32, 3), np.uint8)) == []


def test_grey_is_repeated(model: Model) -> None:
    grey = photo()[..., 0]
    wanted = model(np.repeat(grey[..., None], 3, axis=2)).logits
    assert np.array_equal(model(grey).logits, wanted)
    assert np.array_equal(model(Image.fromarray(grey)).logits, wanted)


def test_other_sizes_are_cropped_and_resized(model: Model) -> None:
    ramp = np.arange(128, dtype=np.uint8) * 2
    large = np.stack([ramp + 0 * ramp[:, None], ramp[:, None] + 0 * ramp, photo(1, 128)[..., 0]], 2)
    wide = np.concatenate([np.zeros((128, 30, 3), np.uint8), large, large[:, :30]], axis=1)
    wanted = model(large).logits
    off = np.abs(model(wide).logits - wanted).max()  # the filter reaches a little over the border
    assert off < 0.02 * np.abs(wanted).max(), "the central square counts"
    for left in (0, 60):
        other = model(wide[:, left : left + 128]).logits
        assert np.abs(other - wanted).max() > 4 * off
    assert model(photo(size=7)).logits.shape == (10,)


def test_input_is_not_written_to(model: Model) -> None:
    image = photo()
    before = image.copy()
    image.flags.writeable = False
    model(image)
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((32, 32, 3), np.float32),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32,), np.uint8),
        np.zeros((0, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
        "no/such/photo.jpg",
        None,
        5,
        b"bytes",
    ],
    ids=repr,
)
def test_wrong_image_is_refused(model: Model, wrong: ImageArray) -> None:
    with pytest.raises(ImageError):
        model(wrong)
    with pytest.raises(ImageError):
        model.batch([photo(), wrong])
    assert model.stats().count == 0


def test_batch_wants_four_dimensions(model: Model) -> None:
    with pytest.raises(ImageError, match="a batch wants an array"):
        model.batch(photo())


def test_threads_get_what_one_thread_gets(model: Model) -> None:
    images = [photo(seed) for seed in range(8)]
    wanted = [model(image).logits for image in images]
    model.reset_stats()
    barrier = threading.Barrier(8)

    def work(worker: int) -> bool:
        barrier.wait()
        order = [(worker + turn) % 8 for turn in range(16)]
        return all(np.array_equal(model(images[i]).logits, wanted[i]) for i in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert model.stats().count == 8 * 16


def test_statistics_count_and_order(model: Model) -> None:
    assert model.stats().count == 0
    assert model.stats().latency.count == 0
    for seed in range(6):
        model(photo(seed, size=40))
    stats = model.stats()
    assert (stats.count, stats.latency.count, stats.preparation.count) == (6, 6, 6)
    for found in (stats.latency, stats.preparation):
        assert 0 < found.p50_ms <= found.p90_ms <= found.p95_ms <= found.p99_ms
    model.batch([photo()] * 3)
    assert model.stats().count == 6, "batches are not single calls"
    model.reset_stats()
    assert model.stats().count == 0


def test_only_the_last_calls_are_remembered(model: Model) -> None:
    model._calls.extend([(9.0, 9.0)] * REMEMBERED_CALLS)
    model(photo())
    assert len(model._calls) == REMEMBERED_CALLS
    assert model._calls[-1][0] < 9.0


def test_closed_model_refuses(model: Model) -> None:
    with model:
        model(photo())
    model.close()  # once more
    with pytest.raises(BackendError, match="closed"):
        model(photo())
    with pytest.raises(BackendError, match="closed"):
        model.batch([photo()])
    assert model.stats().count == 1


def test_with_does_not_swallow_errors(model: Model) -> None:
    with pytest.raises(KeyError), model:
        raise KeyError("mine")
