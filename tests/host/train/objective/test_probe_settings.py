"""Labels choose how a probe learns from unlabelled images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.train.objective import probe_settings
from tofa_edge.train.objective.label_spreading import Neighbours, spread
from tofa_edge.train.objective.linear_probe import (
    DECAY,
    StandardFeatures,
    fit_linear_probe,
    self_trained,
)
from tofa_edge.train.objective.probe_settings import (
    CHOICES,
    DEFAULTS,
    ProbeSettings,
    choose_settings,
)
from tofa_edge.train.objective.standardisation import centre_and_deviation

EVEN = torch.full((2,), 0.5)


def images(kinds: float, count: int = 800) -> tuple[Tensor, Tensor]:
    """Returns features, (N, 40), and the class of each.

    Their clusters are the classes, or, with `kinds` of more than 0, kinds so far apart that have
    nothing to do with the class, which two faint features tell.
    """
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(count) % 2
    features = torch.randn(count, 40, generator=generator)
    if kinds:
        kind = torch.randint(8, (count,), generator=generator)
        features += kinds * torch.randn(8, 40, generator=generator)[kind]
        features[:, 0] = 3.5 * truth + torch.randn(count, generator=generator)
    else:
        features += 0.6 * torch.randn(2, 40, generator=generator)[truth]
    return features, truth


def labelled(truth: Tensor, count: int) -> IndexArray:
    return np.where(np.arange(len(truth)) < 2 * count, truth.numpy(), -1)


def loss(settings: ProbeSettings, features: Tensor, labels: IndexArray, truth: Tensor) -> float:
    """Returns the log loss of pseudo-labels of the unlabelled images."""
    probe = fit_linear_probe(features, labels, 2, settings.rounds, EVEN, settings.decay)
    predicted = probe.probabilities(features)
    if settings.spreads:
        predicted = spread(predicted, labels, Neighbours.of(features))
    hidden = torch.from_numpy(labels < 0)
    return float(F.nll_loss(predicted[hidden].clamp(min=1e-6).log(), truth[hidden]))


@pytest.mark.parametrize(("kinds", "helps"), [(0.0, True), (3.0, False)])
def test_self_training_is_chosen_where_it_helps(kinds: float, helps: bool) -> None:
    features, truth = images(kinds)
    labels = labelled(truth, 15)
    chosen = choose_settings(features, labels, 2, EVEN, Neighbours.of(features))
    losses = {each: loss(each, features, labels, truth) for each in CHOICES}
    assert losses[chosen] <= losses[DEFAULTS]
    assert losses[chosen] < 0.5 * max(losses.values())
    assert (chosen.rounds > 0) == helps


def test_too_few_labels_choose_nothing() -> None:
    features, truth = images(3.0)
    neighbours = Neighbours.of(features)
    settings = [
        choose_settings(features, labelled(truth, count), 2, EVEN, neighbours) for count in (2, 3)
    ]
    assert settings[0] == DEFAULTS
    assert settings[1] in CHOICES


def test_choice_reads_no_global_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_settings, "CHANNELS", 16)
    features, truth = images(3.0)
    before = torch.get_rng_state()
    settings = [
        choose_settings(features, labelled(truth, 10), 2, EVEN, Neighbours.of(features))
        for _ in range(2)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert settings[0] == settings[1]


def test_probe_of_reduced_features_is_the_same_where_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forty columns stand for 120 that are sums of them."""
    monkeypatch.setattr(probe_settings, "CHANNELS", 40)
    features, truth = images(0.0)
    features = features @ torch.randn(40, 120, generator=torch.Generator().manual_seed(1))
    reduced = probe_settings._reduced(features)
    assert (len(reduced.values), reduced.values.channels) == (800, 40)
    whole = StandardFeatures.of(features, *centre_and_deviation(features))
    said = []
    for standard in (whole, reduced):
        weight, bias = self_trained(standard, labelled(truth, 15), 2, 0, EVEN, DECAY)
        said.append(standard.values.linear(weight, bias).softmax(dim=1))
    torch.testing.assert_close(said[0], said[1], atol=2e-3, rtol=0)


def test_self_training_wants_more_than_chance() -> None:
    """It is better by 0.1 on average: sure where that is so of each label, or chance."""
    weights = torch.ones(40, dtype=torch.float64)
    usual = torch.full((40,), 0.5, dtype=torch.float64)
    trained = ProbeSettings(3, DECAY, True)
    noise = torch.arange(40) % 2 * 2.0 - 1
    chosen = []
    for spread_of_gain in (0.1, 2.0):
        losses = {each: usual + each.rounds + (not each.spreads) for each in CHOICES}
        losses[trained] = usual - 0.1 + spread_of_gain * noise
        chosen.append(probe_settings._best(losses, weights).rounds)
    assert chosen == [3, 0]
