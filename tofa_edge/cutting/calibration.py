"""BatchNorm calibration on the device: a subnet's statistics from unlabelled images, in chunks.

Source: Yu and Huang, "Universally Slimmable Networks" (ICCV 2019), section 3.3: statistics of a
subnet are re-estimated after training, as exact averages over a set of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from types import MappingProxyType

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.cost import peak_activation_bytes
from tofa_edge.architecture.layers import Layer, layers
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.network.network import Network, Preprocessing
from tofa_edge.network.slicing import Arrays, calibration_network, cut, fold

RunBatch = Callable[[ImageArray], dict[str, FloatArray]]

MEMORY_BYTES = 96 * 2**20  # for activations
MIN_CHUNK, MAX_CHUNK = 4, 64
WORKSPACE = 1.5  # what an engine needs for a map's re-ordered copies, over our layer-wise count


def chunk_size(network: Sequence[Layer], memory_bytes: int) -> int:
    """Returns how many images go through a calibration network at once, 4 to 64."""
    per_image = peak_activation_bytes(network) * WORKSPACE
    return max(MIN_CHUNK, min(MAX_CHUNK, int(memory_bytes / per_image)))


def calibrate(
    network: tuple[Layer, ...],
    arrays: Arrays,
    images: ImageArray,
    preprocessing: Preprocessing,
    engine: Engine,
    memory_bytes: int = MEMORY_BYTES,
) -> dict[str, FloatArray]:
    """Returns a subnet's arrays with BatchNorm statistics estimated from images.

    Args:
        network: `layers(space, subnet)`.
        arrays: the subnet's, as `slicing.cut` returns them.
        images: unlabelled, shuffled, uint8, (N, S, S, 3), S the subnet's resolution.
        memory_bytes: for activations; images go through in chunks that fit.
    """
    measuring = calibration_network(network, arrays, preprocessing)
    with closing(engine.load(measuring)) as session:
        return {**arrays, **pooled_statistics(session.run, measuring, images, memory_bytes)}


def cut_network(
    space: SearchSpace,
    subnet: Subnet,
    supernet: Arrays,
    preprocessing: Preprocessing,
    images: ImageArray,
    engine: Engine,
    ready_made: Arrays = MappingProxyType({}),
) -> Network:
    """Returns a subnet as a finished network: slice, calibrate BatchNorm, fold.

    The largest subnet keeps the statistics it was trained with, and needs no images; nor does one
    whose statistics are ready-made.

    Args:
        space: that contains the subnet.
        subnet: to cut.
        supernet: float32 arrays by name.
        preprocessing: of the network.
        images: to calibrate with, shuffled, uint8, (N, S, S, 3), S the subnet's resolution.
        engine: that calibrates.
        ready_made: a finalist's arrays, by name: statistics and classifier replace what is sliced.
    """
    network = layers(space, subnet)
    arrays = cut(network, supernet)
    arrays |= {name: array for name, array in ready_made.items() if name in arrays}
    if not (keeps_statistics(space, subnet) or has_statistics(ready_made)):
        arrays = calibrate(network, arrays, images, preprocessing, engine)
    return fold(network, arrays, preprocessing)


def keeps_statistics(space: SearchSpace, subnet: Subnet) -> bool:
    """Whether a subnet is the one whose BatchNorm statistics the supernet stores."""
    return subnet == space.largest()


def has_statistics(ready_made: Arrays) -> bool:
    """Whether a finalist's arrays hold the BatchNorm statistics of its subnet."""
    return any(name.endswith(".variance") for name in ready_made)


def pooled_statistics(
    run: RunBatch, measuring: Network, images: ImageArray, memory_bytes: int
) -> dict[str, FloatArray]:
    """Returns the means and variances over all images, from those of equal-sized chunks.

    Over chunks i of n_i `images`, uint8 (N, S, S, 3), with mean m_i and variance v_i, the mean is
    the weighted mean of m_i, and the variance that of v_i plus the weighted variance of m_i.
    """
    chunks = np.array_split(images, -(-len(images) // chunk_size(measuring.layers, memory_bytes)))
    moments = [run(np.ascontiguousarray(chunk)) for chunk in chunks]
    weights = np.array([len(chunk) for chunk in chunks], np.float64) / len(images)
    pooled: dict[str, FloatArray] = {}
    for mean_name in (name for name in measuring.outputs if name.endswith(".mean")):
        variance_name = mean_name.removesuffix("mean") + "variance"
        means = np.stack([chunk[mean_name] for chunk in moments]).astype(np.float64)
        variances = np.stack([chunk[variance_name] for chunk in moments]).astype(np.float64)
        mean = weights @ means
        pooled[mean_name] = mean.astype(np.float32)
        pooled[variance_name] = (weights @ (variances + (means - mean) ** 2)).astype(np.float32)
    return pooled


def outputs_of(network: Network, engine: Engine, images: ImageArray, name: str) -> FloatArray:
    """Returns the output `name` for images, uint8, (N, S, S, 3), in batches: float32, (N, …)."""
    with closing(engine.load(network)) as session:
        parts = batches(images, network.layers)
        return np.concatenate([session.run(part)[name] for part in parts])


def batches(images: ImageArray, network: Sequence[Layer]) -> list[ImageArray]:
    """Returns images, uint8 (N, S, S, 3), in batches: a `network` takes 96 MiB for each."""
    size = chunk_size(network, MEMORY_BYTES)
    return [images[start : start + size] for start in range(0, len(images), size)]
