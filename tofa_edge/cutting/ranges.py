"""Ranges of a network's values, seen on images by an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import IMAGE, LOGITS, Convolution, GlobalPool, Layer, Linear
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.device.machine import fingerprint
from tofa_edge.network.integers import MOST_LEVELS, Observation, quantised
from tofa_edge.network.network import Network

RANGE_IMAGES = 64  # ranges hardly move beyond


MOST_BYTES = 64 * 2**20  # of values held at once


MEAN = ".average"


NARROW_LEVELS = 63  # where the sum of two products must fit 16 bits


def ready(
    network: Network,
    target: Target,
    images: ImageArray,
    engine: Engine,
    weight_levels: int | None = None,
) -> Network:
    """Returns a finished network as a target wants it: with its quantisation for integers.

    Args:
        network: in float32.
        target: that will run it.
        images: to see the ranges of values on, uint8, (N, S, S, 3); the first 64 count.
        engine: shows the values, in fp32.
        weight_levels: how many steps a weight may have on each side of 0; None: this machine's.
    """
    if not target.is_integer or network.quantisation is not None:
        return network
    seen = observe(network, images[:RANGE_IMAGES], engine)
    return quantised(network, seen, weight_levels=weight_levels or levels_here())


def levels_here() -> int:
    """Returns how many steps a weight may have on each side of 0 on this machine.

    x86 processors without VNNI add two products in 16 bits, which saturate.
    """
    device = fingerprint()
    if device.architecture != "x86_64" or device.features is None:
        return MOST_LEVELS
    safe = {"avx512_vnni", "avx_vnni", "amx_int8"} & set(device.features)
    return MOST_LEVELS if safe else NARROW_LEVELS


def observe(network: Network, images: ImageArray, engine: Engine) -> Observation:
    """Returns what the values of a network are on images.

    Args:
        images: uint8, (N, S, S, 3), as different as those that will come.
    """
    body = [layer for layer in network.layers if layer.name != LOGITS]
    first = network.layers[0]
    assert isinstance(first, Convolution)
    pools = [GlobalPool(f"{IMAGE}{MEAN}", IMAGE, first.in_channels, first.in_size)]
    pools += [GlobalPool(f"{layer.name}{MEAN}", layer.name, *_shape(layer)) for layer in body]
    values = [layer.name for layer in body]
    watched = replace(
        network,
        layers=(*body, *pools),
        outputs=(*values, *(pool.name for pool in pools)),
        arrays={k: v for k, v in network.arrays.items() if not k.startswith(f"{LOGITS}.")},
    )
    per_image = 4 * sum(channels * size**2 for channels, size in map(_shape, body))
    count = max(1, -(-len(images) * per_image // MOST_BYTES))
    session = engine.load(watched)
    try:
        runs = [session.run(np.ascontiguousarray(part)) for part in np.array_split(images, count)]
        runs = [_reduced(run) for run in runs]
    finally:
        session.close()
    joined = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    means = {name.removesuffix(MEAN): v.mean(0) for name, v in joined.items() if MEAN in name}
    return Observation({name: joined[name] for name in values}, means)


def _reduced(run: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Returns extremes of each image, (N, 2), and means of each channel, (N, C)."""
    found = {}
    for name, value in run.items():
        flat = value.reshape(len(value), -1)
        if name.endswith(MEAN):
            found[name] = flat
        else:
            found[name] = np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1)
    return found


def _shape(layer: Layer) -> tuple[int, int]:
    """Returns channels and size of what a layer makes."""
    if isinstance(layer, Convolution):
        return layer.out_channels, layer.out_size
    if isinstance(layer, Linear):
        return layer.out_features, 1
    return layer.channels, 1 if isinstance(layer, GlobalPool) else layer.size
