"""A classifier that rests on channels which never fire is mended; an honest one is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.ranges import observe
from tofa_edge.network.dead_inputs import without_dead_inputs
from tofa_edge.network.integers import quantised
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.selftest.specimens import photos, random_supernet

SPACE = tiny()
ENGINE = Engine(Reference(), Target())
LARGEST = SPACE.largest()
NETWORK = layers(SPACE, LARGEST)
HEAD = next(layer.input for layer in NETWORK if layer.name == LOGITS)
LAST = next(layer.input for layer in NETWORK if layer.name == HEAD)


def supernet(dead: int, weight: float) -> dict[str, FloatArray]:
    """A supernet whose last channels never fire and have a weight of this size."""
    arrays = random_supernet(SPACE, 0)
    shift, logits = arrays[f"{LAST}.shift"].copy(), arrays[f"{LOGITS}.weight"].copy()
    shift[-dead:] = -8 * np.abs(arrays[f"{LAST}.scale"][-dead:])
    signs = np.where(np.arange(logits[:, -dead:].size) % 2, 1, -1).reshape(len(logits), dead)
    logits[:, -dead:] = weight * signs
    return {**arrays, f"{LAST}.shift": shift, f"{LOGITS}.weight": logits}


def finished(arrays: dict[str, FloatArray]) -> Network:
    """The middle subnet, calibrated."""
    subnet = SPACE.middle()
    images = photos(32, subnet.resolution)
    return cut_network(SPACE, subnet, arrays, LITE_PREPROCESSING, images, ENGINE)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_weights_on_channels_that_never_fire_go(share: float) -> None:
    channels = len(random_supernet(SPACE, 0)[f"{LAST}.shift"])
    dead = int(share * channels)
    arrays = supernet(dead, 5000.0)
    mended = without_dead_inputs(NETWORK, arrays)
    assert not mended[f"{LOGITS}.weight"][:, -dead:].any()
    assert np.array_equal(
        mended[f"{LOGITS}.weight"][:, :-dead], arrays[f"{LOGITS}.weight"][:, :-dead]
    )
    unchanged = arrays.keys() - {f"{LOGITS}.weight", f"{LOGITS}.bias"}
    assert all(mended[name] is arrays[name] for name in unchanged)


def test_the_bias_takes_over_what_a_quiet_channel_gave_on_average() -> None:
    arrays = supernet(8, 50.0)
    shift = arrays[f"{LAST}.shift"].copy()
    shift[-1] = 3.0
    scale = arrays[f"{LAST}.scale"].copy()
    scale[-1] = 1e-6  # a constant 3
    mended = without_dead_inputs(
        NETWORK, {**arrays, f"{LAST}.shift": shift, f"{LAST}.scale": scale}
    )
    moved = mended[f"{LOGITS}.bias"] - arrays[f"{LOGITS}.bias"]
    np.testing.assert_allclose(moved, 3.0 * arrays[f"{LOGITS}.weight"][:, -1], rtol=1e-4, atol=1e-3)


def test_honest_classifiers_stay_as_they_are() -> None:
    arrays = random_supernet(SPACE, 0)
    mended = without_dead_inputs(NETWORK, arrays)
    assert all(mended[name] is arrays[name] for name in arrays)
    small = supernet(8, 0.1)  # quiet channels, but usual weights
    assert without_dead_inputs(NETWORK, small)[f"{LOGITS}.weight"] is small[f"{LOGITS}.weight"]


def test_a_device_that_cuts_from_an_older_bundle_computes_in_integers() -> None:
    """Integers tell images apart as float does; with the weights as stored they do not."""
    stored = supernet(24, 5000.0)
    network = finished(stored)
    assert unexplained(network) < 0.3
    arrays = {**network.arrays, f"{LOGITS}.weight": stored[f"{LOGITS}.weight"]}
    assert unexplained(replace(network, arrays=arrays)) > 0.9


def unexplained(network: Network) -> float:
    """The share of what tells images apart that rounding to integers loses."""
    images = photos(32, network.input_size)
    exact = ReferenceSession(network).run(images)[LOGITS]
    integers = quantised(network, observe(network, images, ENGINE))
    rounded = ReferenceSession(integers).run(images)[LOGITS]
    return float((rounded - exact).var(axis=0).sum() / exact.var(axis=0).sum())
