"""8-bit form of a network: ranges of its values, observed on images by an engine."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.cost import output_shape
from tofa_edge.architecture.layers import IMAGE, LOGITS, Convolution, GlobalPool
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.device.machine import fingerprint
from tofa_edge.network.integers import MOST_LEVELS, Observation, quantised
from tofa_edge.network.network import Network

RANGE_IMAGES = 64  # ranges hardly move beyond
NARROW_LEVELS = 63  # 7 bits: the sum of two products fits 16 bits
MAX_BYTES = 64 * 2**20  # of values held at once
MEAN = ".average"


def ready(
    network: Network,
    target: Target,
    images: ImageArray,
    engine: Engine,
    weight_levels: int | None = None,
) -> Network:
    """Returns a finished network in the form that a target runs: quantised for integers.

    Args:
        network: in float32.
        images: to observe the ranges of values on, uint8, (N, S, S, 3); the first 64 count.
        engine: computes the values, in fp32.
        weight_levels: steps of a weight on each side of 0: 127 (8 bits) or 63 (7 bits); by default
            what this machine's processor needs, so pass it where another one will run the network.
    """
    if not target.is_integer or network.quantisation is not None:
        return network
    observation = observe(network, images[:RANGE_IMAGES], engine)
    return quantised(network, observation, weight_levels=weight_levels or levels_here())


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
    """Returns extremes and means of a float32 network's values, which `engine` computes in fp32.

    `images` are uint8, (N, S, S, 3), as different as those that will come.
    """
    body = [layer for layer in network.layers if layer.name != LOGITS]
    first = network.layers[0]
    assert isinstance(first, Convolution)
    pools = [GlobalPool(f"{IMAGE}{MEAN}", IMAGE, first.in_channels, first.in_size)]
    pools += [GlobalPool(f"{layer.name}{MEAN}", layer.name, *output_shape(layer)) for layer in body]
    observed = replace(
        network,
        layers=(*body, *pools),
        outputs=tuple(layer.name for layer in (*body, *pools)),
        arrays={k: v for k, v in network.arrays.items() if not k.startswith(f"{LOGITS}.")},
    )
    per_image = 4 * sum(channels * size**2 for channels, size in map(output_shape, body))
    count = max(1, -(-len(images) * per_image // MAX_BYTES))
    with closing(engine.load(observed)) as session:
        runs = [session.run(np.ascontiguousarray(part)) for part in np.array_split(images, count)]
        runs = [{name: _reduced(name, value) for name, value in run.items()} for run in runs]
    joined = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    means = {name.removesuffix(MEAN): v.mean(0) for name, v in joined.items() if MEAN in name}
    return Observation({layer.name: joined[layer.name] for layer in body}, means)


def _reduced(name: str, value: FloatArray) -> FloatArray:
    """Returns the extremes of each image, (N, 2); means of channels, (N, C), as they are."""
    flat = value.reshape(len(value), -1)
    if name.endswith(MEAN):
        return flat
    return np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1)
