"""A classifier that rests on channels which hardly ever fire, mended.

Features of narrow data leave many channels constant. A classifier fitted to such a channel may
have any weight there: nothing shows it on the training data, but one step of an 8-bit integer, or
one photo from elsewhere, then outweighs all other channels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.protocol import Engine
from tofa_edge.cutting.calibration import outputs_of
from tofa_edge.network.network import Network

FLOOR = 0.05  # of the typical deviation: a channel below it hardly ever fires
OUTSIZED = 30.0  # times the median weight: above what honest classifiers have


def has_outsized_weights(weight: FloatArray) -> bool:
    """Returns whether some `weight`, float32, (classes, channels), is far above the usual ones."""
    sizes = np.abs(weight)
    return bool(sizes.max() > OUTSIZED * np.median(sizes[sizes > 0])) if sizes.any() else False


def without_dead_inputs(
    weight: FloatArray, bias: FloatArray, features: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Returns weight and bias that put nothing on channels without variance.

    What such a channel gave on average goes into the bias.

    Args:
        weight: of the classifier, float32, (classes, channels).
        bias: float32, (classes,).
        features: what it reads of usual images, float32, (N, channels).
    """
    return without_dead_channels(weight, bias, *moments(features))


def moments(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns mean and standard deviation of `features`, (N, channels): float32, (channels,)."""
    deviation = features.std(axis=0, dtype=np.float64).astype(np.float32)
    return features.mean(axis=0), deviation


def without_dead_channels(
    weight: FloatArray, bias: FloatArray, mean: FloatArray, deviation: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Does the same by the `mean` and standard `deviation` of each channel, (channels,)."""
    dead = deviation < FLOOR * np.sqrt(np.mean(np.square(deviation, dtype=np.float64)))
    moved = weight[:, dead] @ mean[dead]
    mended: FloatArray = np.where(dead, np.float32(0), weight)
    return mended, (bias + moved).astype(np.float32)


def mended(network: Network, mean: FloatArray, deviation: FloatArray) -> Network:
    """Returns a finished network whose classifier puts nothing on channels without variance.

    It ends with its classifier; `mean` and standard `deviation` are of each channel that this
    reads, float32, (channels,), over usual images.
    """
    weight, bias = (network.arrays[f"{LOGITS}.{role}"] for role in ("weight", "bias"))
    weight, bias = without_dead_channels(weight, bias, mean, deviation)
    arrays = {**network.arrays, f"{LOGITS}.weight": weight, f"{LOGITS}.bias": bias}
    return replace(network, arrays=arrays)


def features_of(
    network: Network, images: ImageArray, engine: Engine
) -> tuple[FloatArray, FloatArray]:
    """Returns mean and standard deviation of what a classifier reads, float32, (channels,).

    Args:
        network: finished; it ends with its classifier.
        images: usual ones, uint8, (N, S, S, 3).
        engine: that runs the network.
    """
    *body, classifier = network.layers
    arrays = {k: v for k, v in network.arrays.items() if not k.startswith(f"{LOGITS}.")}
    part = replace(network, layers=tuple(body), arrays=arrays, outputs=classifier.inputs)
    features = outputs_of(part, engine, images, classifier.inputs[0]).reshape(len(images), -1)
    return moments(features)
