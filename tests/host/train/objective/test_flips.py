"""Every view of every objective is flipped, or none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tofa_edge.architecture.zoo import tiny
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data import augment
from tofa_edge.train.data.steps import Step
from tofa_edge.train.objective import objectives
from tofa_edge.train.objective.objectives import Distillation
from tofa_edge.train.run.phases import TrainingRun, optimise
from tofa_edge.train.supernet.supernet import Supernet

CONFIG = TrainingConfig(start="tiny", resolution=32, epochs=1, batch_size=4, predictor_subnets=0)
RAMP = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None] * 8, (16, 32, 32, 3)).copy()


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Returns the weak views that objectives draw, each the first part of a strong one, too."""
    seen: list[Tensor] = []
    weak = augment.weak

    def spied(*given: Any, **named: Any) -> Tensor:
        seen.append(weak(*given, **named))
        return seen[-1]

    for module in (augment, objectives):  # strong views begin as weak ones
        monkeypatch.setattr(module, "weak", spied)
    return seen


def flipped(views: list[Tensor]) -> float:
    """Returns the part of views whose left is brighter than their right."""
    every = torch.cat(views)
    return float((every[:, 0, 16, 2] > every[:, 0, 16, -3]).float().mean())


@pytest.mark.parametrize("flips", [True, False])
def test_training_flips_as_configured(views: list[Tensor], flips: bool) -> None:
    labels = np.arange(16) % 3
    labels[8:] = -1
    supernet = Supernet(replace(tiny(), classes=3), LITE_PREPROCESSING)
    optimise(supernet, RAMP, labels, TrainingRun(replace(CONFIG, flips=flips)))
    assert len(views) >= 3
    assert 0.2 < flipped(views) < 0.8 if flips else flipped(views) == 0


@pytest.mark.parametrize("flips", [True, False])
def test_distillation_flips_as_configured(views: list[Tensor], flips: bool) -> None:
    supernet = Supernet(replace(tiny(), classes=3), LITE_PREPROCESSING)
    logits, features = torch.randn(16, 3), torch.randn(16, 1)
    objective = Distillation(RAMP, logits, features, 16, flips=flips)
    largest = [supernet.space.largest()]
    list(objective.losses(Step(0, 1, 0), supernet, supernet, largest))
    assert 0.2 < flipped(views) < 0.8 if flips else flipped(views) == 0
