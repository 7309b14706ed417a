"""What a step trains, what each image is taught, and the loss of one subnet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.zoo import efficientnet_lite0, tiny
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.data.steps import Step
from tofa_edge.train.objective.class_prior import labelled_prior
from tofa_edge.train.objective.losses import Batch, unified
from tofa_edge.train.objective.objectives import SemiSupervised
from tofa_edge.train.objective.pseudo_labels import Targets, aligned
from tofa_edge.train.objective.subnets import part, space_at, stratified
from tofa_edge.train.supernet.supernet import Supernet

UP_TO_96 = replace(efficientnet_lite0(), resolutions=(48, 64, 96))


def supernet(classes: int = 3) -> Supernet:
    space = replace(tiny(), classes=classes)
    return Supernet(space, LITE_PREPROCESSING, torch.Generator().manual_seed(0))


def size(space: SearchSpace, step: Step) -> list[int]:
    return [macs(layers(space, subnet)) for subnet in stratified(space, step)]


def test_a_step_trains_a_smaller_and_a_larger_subnet() -> None:
    sizes = [size(UP_TO_96, Step(number, 100, 0)) for number in range(100)]
    late = [each for number, each in enumerate(sizes) if number >= 67]
    whole, least = (macs(layers(UP_TO_96, s)) for s in (UP_TO_96.largest(), UP_TO_96.smallest()))
    middle = (whole * least) ** 0.5
    for smaller, larger, *_ in late:
        assert least <= smaller <= 1.1 * middle
        assert 0.9 * middle <= larger <= whole
    assert [len(each) for each in sizes[:5]] == [3, 2, 2, 2, 3]
    assert {each[2] for each in late if len(each) == 3} == {whole}
    assert any(smaller == least for smaller, *_ in late)
    drawn = np.log([each for subnets in late for each in subnets[:2]])
    parts = np.histogram(drawn, 4, (np.log(least), np.log(whole)))[0]
    assert parts.min() > 0.5 * parts.mean(), "all sizes alike, in log MACs"


def test_highest_resolution_is_left_out_at_first() -> None:
    early, late = Step(10, 30, 0), Step(20, 30, 0)
    assert space_at(UP_TO_96, early).resolutions == (48, 64)
    assert space_at(UP_TO_96, late) == UP_TO_96
    two = replace(UP_TO_96, resolutions=(48, 64))
    assert space_at(two, early) == two
    (largest,) = (s for s in stratified(UP_TO_96, Step(8, 30, 0))[2:])
    assert largest == space_at(UP_TO_96, early).largest()


def test_subnets_share_the_images_of_a_step() -> None:
    space, rows = tiny(), np.arange(12)
    subnets = [space.smallest(), space.middle(), space.largest()]
    first, second, every = (rows[part(subnets, n, space.largest(), 12)] for n in range(3))
    assert sorted([*first, *second]) == every.tolist() == rows.tolist()
    assert len(first) == len(second)
    assert part(subnets, 0, space.largest(), 6) == slice(None), "too few to share"


def test_loss_of_labels_is_their_cross_entropy() -> None:
    made, space = supernet(), replace(tiny(), classes=3)
    images, labels = torch.rand(8, 3, 32, 32) * 255, torch.arange(8) % 3
    batch = Batch(images, torch.eye(3)[labels], torch.ones(8))
    loss = float(unified(made, batch, space.largest(), update=False).detach())
    (logits,) = made(images, space.largest())
    wanted = torch.nn.functional.cross_entropy(logits, labels).detach()
    assert loss == pytest.approx(float(wanted), rel=1e-4)


def test_images_without_weight_teach_nothing() -> None:
    made, space = supernet(), replace(tiny(), classes=3)
    batch = Batch(torch.rand(4, 3, 32, 32) * 255, torch.eye(3)[[2] * 4], torch.zeros(4))
    torch.autograd.backward(unified(made, batch, space.largest(), update=False))
    gradient = made.arrays()[f"{LOGITS}.bias"].grad
    assert gradient is not None
    assert (gradient == 0).all()


def test_aligned_predictions_are_as_frequent_as_the_prior() -> None:
    skewed = torch.tensor([[0.8, 0.2], [0.7, 0.3], [0.9, 0.1], [0.6, 0.4]])
    found = aligned(skewed, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4))
    assert float(found.mean(dim=0)[0]) == pytest.approx(0.5, abs=0.06)
    assert found[:, 0].argsort().tolist() == skewed[:, 0].argsort().tolist()


def test_targets_begin_as_labels_and_probe() -> None:
    labels, probe = np.array([1, -1, -1]), torch.tensor([[0.4, 0.6], [0.9, 0.1], [0.5, 0.5]])
    first = Targets.first(labels, torch.tensor([0.5, 0.5]), probe)
    torch.testing.assert_close(first.probabilities, torch.tensor([[0, 1], [0.9, 0.1], [0.5, 0.5]]))
    assert first.sure.tolist() == [1, 1, 0], "labels, and what is more certain than usual"
    assert first.weights.tolist() == [1, 1, 1]
    without = Targets.first(labels, torch.tensor([0.5, 0.5]), None)
    assert without.weights.tolist() == [1, 0, 0], "nothing is known of the others"


def test_targets_follow_what_is_predicted() -> None:
    labels, even = np.array([1, -1, -1]), torch.tensor([0.5, 0.5])
    first = Targets.first(labels, even, None)
    seen = torch.tensor([[0.4, 0.6], [0.1, 0.9], [0.9, 0.1]])
    after = first.refreshed(seen, None, 0.0, 1)
    assert after.weights.tolist() == [1, 1, 1]
    assert float(after.probabilities[0, 1]) == pytest.approx(0.8), "half label, half prediction"
    assert after.probabilities[1:].argmax(dim=1).tolist() == [1, 0]
    again = after.refreshed(seen.flip(1), None, 0.0, 2)
    torch.testing.assert_close(again.predicted, torch.full((3, 2), 0.5))
    probe = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(first.refreshed(seen, probe, 1.0, 1).probabilities[1:], probe[1:])
    kept = Targets.from_state(after.state())
    torch.testing.assert_close(kept.probabilities, after.probabilities)
    assert kept.refreshes == 1


def test_labels_count_as_classes_are_frequent() -> None:
    images, labels = np.zeros((8, 16, 16, 3), np.uint8), np.array([0, 1, 0, 1, -1, -1, -1, -1])
    shares = torch.tensor([0.2, 0.7, 0.1])
    objective = SemiSupervised(images, labels, 3, 4, 4, prior=shares)
    views, chosen = torch.zeros(4, 3, 16, 16), np.arange(4)
    batch = objective._batch(views, chosen, leads=True)
    own = labelled_prior(labels, 3)
    torch.testing.assert_close(batch.weights, (shares / own)[labels[:4]])
    torch.testing.assert_close(batch.targets, torch.eye(3)[labels[:4]])
    other = SemiSupervised(images, labels, 3, 4, 4)
    other.load_state(objective.state())
    again = other._batch(views, chosen, leads=True)
    torch.testing.assert_close(again.weights, batch.weights)


def test_targets_are_refreshed_on_schedule() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    labels = np.array([0, 1, 2] + [-1] * 9)
    objective = SemiSupervised(images, labels, 3, 3, 9, torch.full((12, 3), 1 / 3))
    made, refreshes = supernet(), []
    for number in range(10):
        step = Step(number, 10, 0)
        for loss in objective.losses(step, made, made, stratified(made.space, step)):
            assert torch.isfinite(loss)
        refreshes.append(objective._targets.refreshes)
    assert refreshes == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert 0 <= objective.metrics()["mask_rate"] <= 1
