"""A classifier that rests on channels which never fire is mended; an honest one is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS, Convolution, layers
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.dead_inputs import has_outsized_weights, without_dead_inputs
from tofa_edge.cutting.ranges import observe
from tofa_edge.network.integers import quantised
from tofa_edge.network.network import Network
from tofa_edge.selftest.specimens import photos, random_supernet

SPACE = tiny()
ENGINE = Engine(Reference(), Target())
CONVOLUTIONS = [item for item in layers(SPACE, SPACE.largest()) if isinstance(item, Convolution)]
LAST = CONVOLUTIONS[-1].name
DEAD = 24


def supernet(weight: float) -> dict[str, FloatArray]:
    """A supernet whose last channels never fire and have a weight of this size."""
    arrays = random_supernet(SPACE, 0)
    shift, logits = arrays[f"{LAST}.shift"].copy(), arrays[f"{LOGITS}.weight"].copy()
    shift[-DEAD:] = -40 * np.abs(arrays[f"{LAST}.scale"][-DEAD:])
    signs = np.where(np.arange(logits[:, -DEAD:].size) % 2, 1, -1).reshape(len(logits), DEAD)
    logits[:, -DEAD:] = weight * signs
    return {**arrays, f"{LAST}.shift": shift, f"{LOGITS}.weight": logits}


@pytest.fixture
def cutter(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Cutter:
    """Of an older bundle, packed with such weights."""
    bundle = Bundle.open(tiny_bundle)
    monkeypatch.setattr(Bundle, "supernet", lambda self: supernet(5000.0))
    return Cutter(bundle)


def test_outsized_weights_are_told_from_honest_ones() -> None:
    assert has_outsized_weights(supernet(5000.0)[f"{LOGITS}.weight"])
    assert not has_outsized_weights(random_supernet(SPACE, 0)[f"{LOGITS}.weight"])
    assert not has_outsized_weights(np.zeros((3, 4), np.float32))


def test_the_bias_takes_over_what_a_constant_channel_gave() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((50, 6)).astype(np.float32)
    features[:, 4:] = [0.0, 3.0]
    weight = rng.standard_normal((2, 6)).astype(np.float32)
    weight[:, 4:] *= 1000
    bias = np.ones(2, np.float32)
    mended, moved = without_dead_inputs(weight, bias, features)
    assert not mended[:, 4:].any()
    assert np.array_equal(mended[:, :4], weight[:, :4])
    wanted = features @ weight.T + bias
    np.testing.assert_allclose(features @ mended.T + moved, wanted, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("subnet", [SPACE.largest(), SPACE.middle()])
def test_a_device_that_cuts_from_an_older_bundle_computes_in_integers(
    cutter: Cutter, subnet: object
) -> None:
    """Integers tell images apart as float does; with the weights as stored they do not."""
    network = cutter.network(subnet, ENGINE)  # type: ignore[arg-type]
    weight = supernet(5000.0)[f"{LOGITS}.weight"]
    assert not network.arrays[f"{LOGITS}.weight"][:, -DEAD:].any()
    assert unexplained(network) < 0.3
    stored = replace(network, arrays={**network.arrays, f"{LOGITS}.weight": weight})
    assert unexplained(stored) > 0.9


def test_golden_cases_are_judged_by_the_weights_as_stored(cutter: Cutter) -> None:
    network = cutter.stored_network(SPACE.largest())
    assert np.abs(network.arrays[f"{LOGITS}.weight"]).max() == 5000


def unexplained(network: Network) -> float:
    """The share of what tells images apart that rounding to integers loses."""
    images = photos(32, network.input_size)
    exact = ReferenceSession(network).run(images)[LOGITS]
    integers = quantised(network, observe(network, images, ENGINE))
    rounded = ReferenceSession(integers).run(images)[LOGITS]
    return float((rounded - exact).var(axis=0).sum() / exact.var(axis=0).sum())
