"""Which subnets become finalists, what they are tested by, and what ships with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tofa_edge.architecture.arrays import DoubleArray, FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.zoo import efficientnet_lite0, tiny
from tofa_edge.bundle.finalists import FEATURES_MEAN, Finalist, array_shapes
from tofa_edge.cutting.calibration import outputs_of
from tofa_edge.measurement.order_statistics import kendall_tau
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut, fold
from tofa_edge.prediction.accuracy import AccuracyPredictor, fit_accuracy
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.specimens import random_arrays
from tofa_edge.train.after.finalists import (
    CLOSE,
    PER_BAND,
    Material,
    evaluate_finalists,
    kept,
    levelled,
    propose,
    refined_targets,
)
from tofa_edge.train.after.own_classifier import own_classifier
from tofa_edge.train.after.ready_made import MOST_BYTES, chosen_for_arrays, with_ready_made
from tofa_edge.train.data.photos import resized
from tofa_edge.train.run.subnet_accuracy import subnet_logits

SPACE = tiny()


def predictor_for(space: SearchSpace) -> AccuracyPredictor:
    genes = sample(space, np.random.default_rng(0), 60)
    work = np.log(tables(space).costs(genes).macs)
    return fit_accuracy(space, genes, 0.4 + 0.3 * (work - work.min()) / np.ptp(work))


@pytest.mark.parametrize(
    "space", [tiny(), replace(efficientnet_lite0(), classes=10)], ids=["tiny", "lite0"]
)
def test_proposals_reach_from_the_smallest_to_the_largest(space: SearchSpace) -> None:
    found = propose(space, predictor_for(space), 60, seed=0)
    assert len(set(found)) == len(found) <= 63
    assert {space.smallest(), space.middle(), space.largest()} <= set(found)
    assert (found[0], found[-1]) == (space.smallest(), space.largest())
    macs = np.log(tables(space).costs(encoded(space, found)).macs)
    assert (np.diff(macs) >= 0).all()
    counts, _ = np.histogram(macs, 60 // PER_BAND, (macs[0], macs[-1]))
    assert counts.max() <= PER_BAND + 3, "the three named ones beside them"
    assert (counts > 0).mean() > 0.8
    assert len({subnet.resolution for subnet in found}) > 0.8 * len(space.resolutions)


def test_labels_set_the_level_and_agreement_the_order() -> None:
    rng = np.random.default_rng(0)
    truth = np.linspace(0.5, 0.7, 80)
    hardness = rng.uniform(size=100)  # a photo that is hard is so for all
    right = truth[:, None] + rng.normal(0, 0.1, (80, 100)) > hardness
    agreements = truth - 0.2 + rng.normal(0, 0.004, 80)
    found = levelled(agreements, right)
    assert abs(found.mean() - right.mean()) < 0.01
    assert kendall_tau(found, truth) > 0.9 > kendall_tau(right.mean(axis=1), truth)


def test_many_labels_correct_what_agreement_misses() -> None:
    rng = np.random.default_rng(0)
    truth = np.linspace(0.5, 0.7, 80)
    misled = truth + np.where(np.arange(80) % 2, 0.03, -0.03)
    right = rng.uniform(size=(80, 20_000)) < truth[:, None]
    errors = [np.abs(x - truth).mean() for x in (misled, levelled(misled, right))]
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_hardly_any_labels_change_no_order(count: int) -> None:
    agreements = np.array([0.5, 0.6, 0.7])
    found = levelled(agreements, np.ones((3, count), bool))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_targets_without_pseudo_labels_are_the_largest_subnets() -> None:
    logits = np.log(np.array([[0.8, 0.2], [0.8, 0.2]], np.float32))
    pseudo_labels = np.array([[0.2, 0.8], [np.nan, np.nan]], np.float32)
    found = refined_targets(logits, pseudo_labels)
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.8, 0.2]], atol=1e-6)


@given(
    arrays_of.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)),
    st.integers(0, 2**31),
)
def test_the_front_ships_and_what_is_close_to_it(accuracies: DoubleArray, seed: int) -> None:
    macs = np.random.default_rng(seed).integers(1, 20, len(accuracies))
    stays, on_front = kept(macs, accuracies)
    best: DoubleArray = np.array([accuracies[macs <= each].max() for each in macs])
    assert set(np.flatnonzero(accuracies >= best - CLOSE + 1e-12)) <= set(stays.tolist())
    front: IndexArray = stays[on_front]
    assert (np.diff(macs[front]) > 0).all()
    assert (np.diff(accuracies[front]) > 0).all()
    assert accuracies[front].max() == accuracies.max()


def photos(count: int, seed: int = 0, size: int = 32) -> ImageArray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.usefixtures("known_engines")
def test_finalists_are_scored_as_devices_compute_them() -> None:
    arrays = random_arrays(SPACE, np.random.default_rng(0))
    calibration, images, validation = photos(32), photos(48, 1), photos(20, 2)
    labels = np.arange(20) % SPACE.classes
    unknown = np.full((48, SPACE.classes), np.nan, np.float32)
    material = Material(calibration, images, unknown, validation, labels, 1.0)
    subnets = [SPACE.smallest(), SPACE.middle(), SPACE.largest()]
    found = evaluate_finalists(SPACE, arrays, LITE_PREPROCESSING, subnets, material)
    assert (found.photos, found.right.shape) == (48, (3, 20))
    assert found.agreements[2] == pytest.approx(found.targets.max(axis=1).mean(), abs=1e-6)
    for subnet, right in zip(subnets, found.right, strict=True):
        logits = subnet_logits(SPACE, subnet, arrays, LITE_PREPROCESSING, calibration, validation)
        assert (right == (logits.argmax(axis=1) == labels)).all()


@pytest.mark.usefixtures("known_engines")
def test_ready_made_statistics_make_the_network_that_calibration_makes() -> None:
    arrays = random_arrays(SPACE, np.random.default_rng(0))
    calibration, images = photos(32), photos(48, 1)
    finalists = [Finalist(s, 0.5) for s in (SPACE.smallest(), SPACE.middle(), SPACE.largest())]
    targets = np.full((48, SPACE.classes), 1 / SPACE.classes, np.float32)
    whole = (SPACE, arrays, LITE_PREPROCESSING)
    made = with_ready_made(
        *whole, finalists, [1, 2], calibration, images, targets, 1.0, own_classifiers=False
    )
    assert made[0] is finalists[0]
    engine = calibrating_engine()
    for finalist in made[1:]:
        subnet, ready = finalist.subnet, finalist.arrays
        assert ready is not None
        own = {**cut(layers(SPACE, subnet), arrays), **ready}
        network = fold(layers(SPACE, subnet), own, LITE_PREPROCESSING)
        shown = resized(images, subnet.resolution)
        wanted = subnet_logits(SPACE, subnet, *whole[1:], calibration, images)
        np.testing.assert_allclose(outputs_of(network, engine, shown, LOGITS), wanted, 1e-4, 1e-4)
        mean, weight = ready[FEATURES_MEAN], arrays[f"{LOGITS}.weight"]
        expected = mean @ weight[:, : len(mean)].T + arrays[f"{LOGITS}.bias"]
        np.testing.assert_allclose(wanted.mean(axis=0), expected, 1e-3, 1e-3)


def test_arrays_go_to_the_front_evenly_and_stay_small() -> None:
    space = replace(efficientnet_lite0(), classes=10)
    subnets = propose(space, predictor_for(space), 100, seed=0)
    finalists, front = [Finalist(s, 0.5) for s in subnets], list(range(0, len(subnets), 2))
    for own in (True, False):
        chosen = chosen_for_arrays(space, finalists, front, own)
        assert set(chosen) <= set(front)
        assert (chosen[0], chosen[-1]) == (front[0], front[-1])
        assert 10 < len(chosen) <= 24
        stored = 0
        for index in chosen:
            groups = array_shapes(space, subnets[index])
            kinds = groups if own else groups.keys() - {"classifier"}
            stored += sum(4 * int(np.prod(s)) for kind in kinds for s in groups[kind].values())
        assert stored <= MOST_BYTES
    assert chosen_for_arrays(space, finalists, []) == []


def problem(seed: int, count: int = 600) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns features, one-hot targets, and the weights that the targets come from."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 30)).astype(np.float32)
    features = np.random.default_rng(seed).normal(size=(count, 30)).astype(np.float32)
    return features, np.eye(4, dtype=np.float32)[(features @ weight.T).argmax(axis=1)], weight


def test_a_classifier_of_its_own_is_better_on_new_photos() -> None:
    features, targets, weight = problem(1)
    shared = weight + np.random.default_rng(2).normal(0, 1.0, weight.shape).astype(np.float32)
    bias = np.zeros(4, np.float32)
    own = own_classifier(features, targets, shared, bias)
    assert own is not None
    assert own.gain > 0.05
    fresh, wanted, _ = problem(3)
    right = [
        ((fresh @ w.T + b).argmax(axis=1) == wanted.argmax(axis=1)).mean()
        for w, b in ((shared, bias), (own.weight, own.bias))
    ]
    assert right[1] - right[0] == pytest.approx(own.gain, abs=0.06)


def test_the_shared_classifier_stays_where_it_is_as_good() -> None:
    features, targets, weight = problem(1)
    assert own_classifier(features, targets, weight, np.zeros(4, np.float32)) is None
    assert own_classifier(features[:4], targets[:4], weight, np.zeros(4, np.float32)) is None
