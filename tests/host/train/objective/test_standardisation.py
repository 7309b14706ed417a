"""No weight rests on a channel without variance."""

from __future__ import annotations

import numpy as np
import torch

from tofa_edge.train.objective.label_spreading import Neighbours
from tofa_edge.train.objective.linear_probe import fit_linear_probe, fit_to, probe_accuracy
from tofa_edge.train.objective.standardisation import FLOOR, centre_and_deviation

CLASSES, LIVE, DEAD = 3, 20, 30
LABELS = np.arange(120) % CLASSES


def narrow(noise: float) -> torch.Tensor:
    """Features that tell three classes apart, and channels that hardly vary."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, LIVE, generator=generator)
    live = centres[torch.from_numpy(LABELS)] + 0.3 * torch.randn(120, LIVE, generator=generator)
    dead = 0.2 + noise * torch.randn(120, DEAD, generator=generator)
    return torch.cat([live, dead], dim=1)


def test_deviations_have_a_floor() -> None:
    mean, deviation = centre_and_deviation(narrow(1e-7))
    own = narrow(1e-7).std(dim=0)
    assert torch.equal(deviation[:LIVE], own[:LIVE])
    assert (deviation[LIVE:] == deviation.min()).all()
    assert float(deviation.min()) >= 0.5 * FLOOR * float(own[:LIVE].mean())
    assert torch.allclose(mean[LIVE:], torch.tensor(0.2), atol=1e-4)
    assert (centre_and_deviation(torch.ones(4, 3))[1] > 0).all()


def test_probes_put_no_outsized_weight_on_channels_that_hardly_vary() -> None:
    features = narrow(1e-7)
    told = torch.nn.functional.one_hot(torch.from_numpy(LABELS), CLASSES).float()
    some = np.where(np.arange(120) < 30, LABELS, -1)
    for probe in (fit_linear_probe(features, some, CLASSES), fit_to(features, told)):
        usual = float(probe.weight[:, :LIVE].abs().max())
        assert float(probe.weight[:, LIVE:].abs().max()) < usual
        assert probe_accuracy(probe, features, LABELS) > 0.95


def test_neighbours_are_found_by_channels_that_vary() -> None:
    """What hardly varies groups images otherwise, and does not count."""
    groups = np.arange(120) // 10
    pattern = torch.randn(12, 300, generator=torch.Generator().manual_seed(1))
    dead = 1e-4 * pattern[torch.from_numpy(groups)]
    features = torch.cat([narrow(0.0)[:, :LIVE], dead], dim=1)
    graph = Neighbours.of(features).weights.to_dense()
    same = torch.from_numpy(LABELS[:, None] == LABELS[None, :])
    assert float(graph[same].sum() / graph.sum()) > 0.9
