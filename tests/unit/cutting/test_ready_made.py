"""What is ready-made for finalists serves as if it had been calibrated here; frames come first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.crafted import Sample, replaced
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.finalists import Finalist, array_shapes
from tofa_edge.cutting.calibration import calibrate
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.dead_inputs import features_of
from tofa_edge.errors import BundleError
from tofa_edge.network.slicing import cut
from tofa_edge.selftest.small_bundle import small_bundle
from tofa_edge.selftest.specimens import photos

SPACE = tiny()
SMALLEST, MIDDLE, LARGEST = SPACE.smallest(), SPACE.middle(), SPACE.largest()
ENGINE = Engine(Reference(), Target())
Arrays = dict[str, FloatArray]


def calibrated_by(bundle: Bundle, subnet: Subnet) -> Arrays:
    """The statistics that a bundle's own photos give, as a host would store them."""
    network = layers(SPACE, subnet)
    images = bundle.calibration_images(subnet.resolution)
    sliced = cut(network, bundle.supernet())
    arrays = calibrate(network, sliced, images, bundle.preprocessing, ENGINE)
    return {name: arrays[name] for name in array_shapes(SPACE, subnet)["statistics"]}


def classifier(subnet: Subnet, seed: int = 5) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = array_shapes(SPACE, subnet)["classifier"]
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def bundle_of(path: Path, photo_count: int, *finalists: Finalist) -> Bundle:
    """The tiny bundle with finalists; the same seed makes the same weights and photos."""
    small_bundle(path, calibration_photos=photo_count, check_photos=0, finalists=finalists)
    return Bundle.open(path)


def logits(cutter: Cutter, subnet: Subnet) -> FloatArray:
    network = cutter.network(subnet, ENGINE)
    return ReferenceSession(network).run(photos(8, subnet.resolution))[LOGITS]


@pytest.fixture
def plain(tiny_bundle: Path) -> Cutter:
    return Cutter(Bundle.open(tiny_bundle))


def test_ready_made_statistics_are_those_of_the_same_photos(plain: Cutter, tmp_path: Path) -> None:
    ready_made = Finalist(MIDDLE, 0.5, calibrated_by(plain.bundle, MIDDLE))
    cutter = Cutter(bundle_of(tmp_path / "x.tofa", 0, ready_made))  # no photos: it cannot calibrate
    np.testing.assert_allclose(logits(cutter, MIDDLE), logits(plain, MIDDLE), atol=1e-4)
    assert cutter.can_cut(MIDDLE)
    assert "ready-made in the bundle" in cutter.about_statistics(MIDDLE)
    stored = ReferenceSession(plain.stored_network(MIDDLE)).run(photos(8, MIDDLE.resolution))
    assert np.abs(stored[LOGITS] - logits(plain, MIDDLE)).max() > 0.1, "they matter"


def test_they_serve_before_photos_do(plain: Cutter, tmp_path: Path) -> None:
    other = {name: 2 * array for name, array in calibrated_by(plain.bundle, MIDDLE).items()}
    cutter = Cutter(bundle_of(tmp_path / "x.tofa", 24, Finalist(MIDDLE, 0.5, other)))
    assert np.abs(logits(cutter, MIDDLE) - logits(plain, MIDDLE)).max() > 0.1
    assert np.array_equal(logits(cutter, SMALLEST), logits(plain, SMALLEST)), "no finalist"
    assert "calibrated here with 0 frames and 24 photos" in cutter.about_statistics(SMALLEST)


def test_frames_are_calibrated_with_and_keep_the_classifier(plain: Cutter, tmp_path: Path) -> None:
    frames: list[ImageArray] = list(photos(20, 40))
    statistics = {name: 2 * array for name, array in calibrated_by(plain.bundle, MIDDLE).items()}
    own = classifier(MIDDLE)
    bundle = bundle_of(tmp_path / "x.tofa", 24, Finalist(MIDDLE, 0.5, {**statistics, **own}))
    with_frames = Cutter(bundle, frames)
    network = with_frames.network(MIDDLE, ENGINE)
    wanted = Cutter(plain.bundle, frames).network(MIDDLE, ENGINE)
    assert np.array_equal(network.arrays["head.weight"], wanted.arrays["head.weight"])
    for name, array in own.items():
        assert np.array_equal(network.arrays[name], array)
    told = with_frames.about_statistics(MIDDLE)
    assert "calibrated here with 20 frames and 24 photos, with a classifier of its own" in told


@pytest.mark.parametrize("subnet", [LARGEST, SMALLEST])
def test_a_classifier_of_its_own_alone(plain: Cutter, tmp_path: Path, subnet: Subnet) -> None:
    own = classifier(subnet)
    cutter = Cutter(bundle_of(tmp_path / "x.tofa", 24, Finalist(subnet, 0.5, own)))
    network, wanted = cutter.network(subnet, ENGINE), plain.network(subnet, ENGINE)
    for name, array in network.arrays.items():
        assert np.array_equal(array, own.get(name, wanted.arrays[name])), name
    told = cutter.about_statistics(subnet)
    assert told.endswith(", with a classifier of its own")
    assert ("the supernet's own" in told) == (subnet == LARGEST)


def test_without_photos_only_what_is_ready(plain: Cutter, tmp_path: Path) -> None:
    listed = (
        Finalist(MIDDLE, 0.5, calibrated_by(plain.bundle, MIDDLE)),
        Finalist(SMALLEST, 0.4, classifier(SMALLEST)),
    )
    cutter = Cutter(bundle_of(tmp_path / "x.tofa", 0, *listed))
    able = [cutter.can_cut(subnet) for subnet in (MIDDLE, LARGEST, SMALLEST)]
    assert able == [True, True, False]
    with pytest.raises(BundleError, match="calibration wants 16 images"):
        cutter.network(SMALLEST, ENGINE)


def test_dead_channels_are_told_by_ready_made_features(plain: Cutter, tmp_path: Path) -> None:
    """Weights on channels that never fire are left out, by the host's statistics or by photos."""
    own = classifier(MIDDLE)
    mean, deviation = features_of(
        plain.network(MIDDLE, ENGINE), plain.images(MIDDLE.resolution), ENGINE
    )
    dead = np.argsort(deviation)[:4]
    deviation[dead], mean[dead] = 0, 0.25
    own[f"{LOGITS}.weight"][:, dead] = 500.0
    features = {"features.mean": mean, "features.deviation": deviation}
    arrays = {**calibrated_by(plain.bundle, MIDDLE), **own, **features}
    cutter = Cutter(bundle_of(tmp_path / "x.tofa", 0, Finalist(MIDDLE, 0.5, arrays)))
    made = cutter.network(MIDDLE, ENGINE).arrays
    assert not made[f"{LOGITS}.weight"][:, dead].any()
    np.testing.assert_allclose(made[f"{LOGITS}.bias"], own[f"{LOGITS}.bias"] + 500, atol=1e-3)
    kept = np.setdiff1d(np.arange(len(mean)), dead)
    assert np.array_equal(made[f"{LOGITS}.weight"][:, kept], own[f"{LOGITS}.weight"][:, kept])


def test_a_damaged_finalist_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.tofa"
    bundle_of(path, 0, Finalist(SMALLEST, 0.5, classifier(SMALLEST)))
    path.write_bytes(replaced(Sample.of(path.read_bytes()), "finalists.safetensors", b"\0" * 20))
    cutter = Cutter(Bundle.open(path))
    cutter.stored_network(SMALLEST)  # golden cases need none
    with pytest.raises(BundleError, match=r"finalists.safetensors is damaged"):
        cutter.network(SMALLEST, ENGINE)
