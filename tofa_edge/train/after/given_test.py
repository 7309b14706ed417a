"""Accuracy on the photos that a data set keeps for a test: no step of training has seen them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.measurement.order_statistics import wilson
from tofa_edge.train.data.photos import Photos
from tofa_edge.train.run.early_stopping import EarlyStopping
from tofa_edge.train.run.subnet_accuracy import accuracy
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)


def accuracies_on_test(supernet: Supernet, parts: Mapping[str, Photos]) -> dict[str, float]:
    """Returns the accuracy, 0..1, of the smallest, middle and largest subnet on photos to test.

    It is logged with the interval that the true one lies in with 95 % (Wilson, 1927).

    Args:
        supernet: trained, on the CPU.
        parts: photos by role; without "test", nothing is returned.
    """
    tested = parts.get("test")
    if tested is None or not len(tested.labels):
        return {}
    calibration = parts["train"].images[:CALIBRATION_IMAGES]
    count = len(tested.labels)
    accuracies = {}
    logits = EarlyStopping(tested.images, tested.labels, calibration).logits(supernet)
    for name, values in logits.items():
        accuracies[name] = accuracy(values, tested.labels)
        low, high = wilson(round(accuracies[name] * count), count)
        log.info(
            f"{name} subnet: accuracy on {count} test photos {accuracies[name]:.1%} "
            f"({low:.1%} to {high:.1%})"
        )
    return accuracies
