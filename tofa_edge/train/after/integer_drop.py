"""The accuracy drop of subnets in 8-bit integers: measured on the host, expected on devices."""

from __future__ import annotations

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, ImageArray
from tofa_edge.architecture.encodings import Encodings, decoded
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.backends.protocol import Engine
from tofa_edge.cutting.accuracy_drop import drop, logits_of
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.cutting.ranges import NARROW_LEVELS, ready
from tofa_edge.network.network import Preprocessing
from tofa_edge.network.slicing import Arrays
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.records import passing_engines
from tofa_edge.train.config import INTEGER_DROP, OnStep, counted, silent
from tofa_edge.train.data.photos import resized

SUBNETS = 12
IMAGES = 1000


def integer_drop(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    images: ImageArray,
    encodings: Encodings,
    temperature: float,
    on_step: OnStep = silent,
) -> DoubleArray | None:
    """Returns the mean loss of accuracy over a dozen subnets and its standard error, 0..1, (2,).

    None where no engine here computes in int8. No labels are needed
    (`tofa_edge.cutting.accuracy_drop`). Weights are rounded to 63 levels, which are safe on every
    device. The images come in mixed order, the first calibrate.
    """
    integers = integer_engine()
    if integers is None:
        return None
    float32 = calibrating_engine()
    subnets = decoded(space, encodings[:: max(1, len(encodings) // SUBNETS)][:SUBNETS])
    losses = []
    for subnet in counted(INTEGER_DROP, subnets, on_step, min(IMAGES, len(images))):
        used = resized(images[:IMAGES], subnet.resolution)
        few = used[:CALIBRATION_IMAGES]
        exact = cut_network(space, subnet, arrays, preprocessing, few, float32)
        rounded = ready(exact, integers.target, few, float32, NARROW_LEVELS)
        both = logits_of(exact, float32, used), logits_of(rounded, integers, used)
        losses.append(drop(*both, temperature, None).expected)
    return np.array([np.mean(losses), np.std(losses) / np.sqrt(len(losses))])


def integer_engine() -> Engine | None:
    """Returns the first engine that works here in int8 on the CPU, on one thread."""
    able = (e for e in passing_engines() if (e.target.unit, e.target.precision) == ("cpu", "int8"))
    return next(able, None)
