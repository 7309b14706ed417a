"""What looks alike is named alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tofa_edge.train.objective import label_spreading as neighbours
from tofa_edge.train.objective.label_spreading import Neighbours, spread
from tofa_edge.train.objective.linear_probe import fit_linear_probe, probe_accuracy


def chains(count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns images along two bent curves, (2 · count, 4), and on which they lie."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.linspace(0, 3.0, count)
    seen = torch.zeros(2 * count, 4)
    seen[:count, :2] = torch.stack([angle.cos(), angle.sin()], dim=1)
    seen[count:, 2:4] = torch.stack([angle.cos(), angle.sin()], dim=1)
    seen += 0.02 * torch.randn(seen.shape, generator=generator)
    truth = torch.arange(2 * count) // count
    order = torch.randperm(2 * count, generator=generator)
    return seen[order], truth[order]


def test_probabilities_of_what_looks_alike_are_drawn_together() -> None:
    seen, truth = chains()
    guesses = torch.full((len(seen), 2), 0.2)
    generator = torch.Generator().manual_seed(1)
    wrong = torch.rand(len(seen), generator=generator) < 0.15
    guesses[torch.arange(len(seen)), torch.where(wrong, 1 - truth, truth)] = 0.8
    smoothed = Neighbours.of(seen).smooth(guesses)
    torch.testing.assert_close(smoothed.sum(dim=1), torch.ones(len(seen)))
    right = [float((value.argmax(dim=1) == truth).float().mean()) for value in (guesses, smoothed)]
    assert right[0] < 0.87 < 0.95 < right[1]


def test_labels_reach_images_that_resemble_labelled_ones_by_way_of_others() -> None:
    seen, truth = chains()
    labels = np.full(len(seen), -1)
    for index in range(2):
        labels[np.flatnonzero(truth.numpy() == index)[:2]] = index
    probe = fit_linear_probe(seen, labels, 2, rounds=0)
    alone = probe_accuracy(probe, seen, truth.numpy())
    predicted = probe.probabilities(seen)
    together = spread(predicted, labels, Neighbours.of(seen)).argmax(dim=1)
    assert float((together == truth).float().mean()) > alone


def test_known_labels_outweigh_what_the_probe_says() -> None:
    seen, truth = chains(50)
    said = spread(torch.full((100, 2), 0.5), truth.numpy(), Neighbours.of(seen))
    assert (said.argmax(dim=1) == truth).all()


def test_nobody_is_a_neighbour_of_its_own_and_weights_are_symmetric() -> None:
    weights = Neighbours.of(chains()[0]).weights.to_dense()
    assert weights.diagonal().abs().max() == 0
    torch.testing.assert_close(weights, weights.T)
    assert weights.min() >= 0
    assert torch.linalg.eigvalsh(weights).abs().max() < 1 + 1e-5


def test_large_sets_are_graphs_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 100)
    monkeypatch.setattr(neighbours, "ROWS", 30)
    seen = chains(125)[0]
    weights = Neighbours.of(seen).weights.to_dense()
    for part in torch.tensor_split(torch.arange(250), 3):  # as large as each other
        outside = weights[part]
        outside[:, part] = 0
        assert outside.abs().max() == 0
    assert (weights.sum(dim=1) > 0).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_have_few_neighbours(count: int) -> None:
    guesses = torch.full((count, 2), 0.5)
    smoothed = Neighbours.of(torch.randn(count, 4).contiguous()).smooth(guesses)
    torch.testing.assert_close(smoothed, guesses)
