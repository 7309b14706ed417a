"""Which layers suffer most from 8-bit weights: each is rounded alone, and the error measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import Convolution, Linear
from tofa_edge.backends.protocol import Engine
from tofa_edge.cutting.accuracy_drop import logits_of
from tofa_edge.cutting.ranges import levels_here, observe
from tofa_edge.network.integers import Observation, quantised
from tofa_edge.network.network import Network

IMAGES = 16
KEPT = 4  # layers in float at most: each costs time


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What rounding the weights of one layer alone does."""

    layer: str  # its name
    error: float  # root mean square of what it changes in the logits, over that of the logits


def sensitivities(
    network: Network, images: ImageArray, engine: Engine, by: Engine
) -> list[Sensitivity]:
    """Returns every layer that has weights, the most sensitive first.

    Args:
        network: finished, in float32.
        images: uint8, (N, S, S, 3); the first 16 count.
        engine: with an integer target that can leave layers in float.
        by: computes the ranges of values, in fp32.
    """
    return _sensitivities(network, observe(network, images, by), images[:IMAGES], engine)


def with_sensitive_layers_in_float(
    network: Network, images: ImageArray, engine: Engine, by: Engine
) -> Network:
    """Returns a network in 8 bits but for its four most sensitive layers.

    Args:
        network: finished, in float32.
        images: to see what rounding does, uint8, (N, S, S, 3).
        by: the engine that computes in float.
    """
    observation = observe(network, images, by)
    layers = _sensitivities(network, observation, images[:IMAGES], engine)
    kept = [item.layer for item in layers[:KEPT]]
    return quantised(network, observation, weight_levels=levels_here(), kept=kept)


def _sensitivities(
    network: Network, observation: Observation, images: ImageArray, engine: Engine
) -> list[Sensitivity]:
    names = {item.name: None for item in network.layers if isinstance(item, Convolution | Linear)}
    levels = levels_here()

    def logits(rounded: set[str]) -> FloatArray:
        kept = names.keys() - rounded
        return logits_of(
            quantised(network, observation, weight_levels=levels, kept=kept), engine, images
        )

    base = logits(set())  # values are on their grids, weights are not
    size = float(np.sqrt(np.square(base).mean())) or 1.0
    errors = {name: float(np.sqrt(np.square(logits({name}) - base).mean())) for name in names}
    items = [Sensitivity(name, error / size) for name, error in errors.items()]
    return sorted(items, key=lambda item: -item.error)
