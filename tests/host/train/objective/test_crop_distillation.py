"""Adapters meet what they can, halves change hands, and a batch is shown to teachers once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.errors import TrainingError
from tofa_edge.train.objective.crop_distillation import half
from tofa_edge.train.objective.feature_adapters import Adapters

SPACE = replace(efficientnet_lite0(), resolutions=(48, 64))
ONE, OTHER, LARGEST = SPACE.smallest(), SPACE.middle(), SPACE.largest()


def features(seed: int = 0, rows: int = 200) -> dict[str, torch.Tensor]:
    """A start's, and another network's that is a rotation of them."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(rows, 16, generator=generator) * torch.linspace(0.5, 5, 16) + 3
    turned = own @ torch.linalg.qr(torch.randn(16, 16, generator=generator))[0]
    return {"own": own, "turned": turned}


def test_adapters_begin_where_features_are_met() -> None:
    seen = features()
    adapters = Adapters.fitted("own", seen)
    apart = adapters.distance(seen["own"], adapters.standard(seen))
    assert apart.shape == (200,)
    assert apart.max() < 0.2, "a rotation is found"
    other = adapters.distance(features(1)["own"], adapters.standard(seen))
    assert other.mean() > 0.7
    alone = adapters.only(["own"])
    assert set(alone.parameters()) == {"own.weight", "own.bias"}
    met = alone.distance(seen["own"], alone.standard({"own": seen["own"]}))
    assert met.max() < 1e-5, "a start's own features are met as they are"


def test_adapters_are_kept_and_restored() -> None:
    first, second = Adapters.fitted("own", features()), Adapters.fitted("own", features(1))
    second.load_state({name: value.clone() for name, value in first.state().items()})
    seen = features(2)
    want, got = (a.distance(seen["own"], a.standard(seen)) for a in (first, second))
    assert torch.equal(want, got)
    with pytest.raises(TrainingError, match=r"adapters do not fit: own\.weight"):
        second.load_state({})


def test_halves_change_hands_and_the_largest_has_all() -> None:
    subnets, rows = [ONE, OTHER, LARGEST], np.arange(8)
    even, odd = ([rows[half(subnets, i, LARGEST, 8, n, 8)] for i in range(3)] for n in (0, 1))
    assert [list(part) for part in even] == [[0, 1, 2, 3], [4, 5, 6, 7], list(range(8))]
    assert [list(part) for part in odd] == [[4, 5, 6, 7], [0, 1, 2, 3], list(range(8))]
    assert half(subnets[:2], 0, LARGEST, 4, 0, 4) == slice(None), "too few to share"
    assert half(subnets[:2], 1, LARGEST, 4, 0, 8) == slice(2, 4), "of two processes"
