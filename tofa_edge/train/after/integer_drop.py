"""What 8-bit integers cost the subnets of a supernet: measured on the host, expected on devices."""

from __future__ import annotations

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, ImageArray, IndexArray
from tofa_edge.architecture.encodings import Encodings, decoded
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.backends.protocol import Engine
from tofa_edge.cutting.accuracy_drop import Drop, drop, logits_of
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.cutting.ranges import ready
from tofa_edge.network.network import Network, Preprocessing
from tofa_edge.network.slicing import Arrays
from tofa_edge.selftest.records import passing_engines
from tofa_edge.train.data.photos import resized
from tofa_edge.train.run.subnet_accuracy import host_engine

SUBNETS = 12
IMAGES = 1000


def integer_drop(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    images: ImageArray,
    encodings: Encodings,
    temperature: float,
) -> DoubleArray | None:
    """Returns the mean loss of accuracy over subnets and its standard error, 0..1, (2,).

    None where no engine here computes in int8. No labels are needed
    (`tofa_edge.cutting.accuracy_drop`).

    Args:
        images: in mixed order, uint8, (N, S, S, 3); the first calibrate.
        encodings: of subnets, (M, genes); a dozen are tried.
    """
    integers = integer_engine()
    if integers is None:
        return None
    chosen = encodings[:: max(1, len(encodings) // SUBNETS)][:SUBNETS]
    costs = []
    for subnet in decoded(space, chosen):
        seen = resized(images[:IMAGES], subnet.resolution)
        few = seen[:CALIBRATION_IMAGES]
        exact = cut_network(space, subnet, arrays, preprocessing, few, host_engine())
        costs.append(rounding_loss(exact, few, seen, integers, temperature).expected)
    return np.array([np.mean(costs), np.std(costs) / np.sqrt(len(costs))])


def integer_engine() -> Engine | None:
    """Returns the first engine that works here in int8 on the CPU, on one thread."""
    able = [e for e in passing_engines() if (e.target.unit, e.target.precision) == ("cpu", "int8")]
    return able[0] if able else None


def rounding_loss(
    exact: Network,
    seen: ImageArray,
    images: ImageArray,
    integers: Engine,
    temperature: float = 1.0,
    labels: IndexArray | None = None,
) -> Drop:
    """Returns what a finished network loses in integers.

    Args:
        seen: to find ranges with, uint8, (N, S, S, 3).
        images: to classify, uint8, (M, S, S, 3).
    """
    rounded = ready(exact, integers.target, seen, host_engine())
    wanted = logits_of(exact, host_engine(), images)
    return drop(wanted, logits_of(rounded, integers, images), temperature, labels)
