"""Percentiles of durations with intervals that assume nothing about how they are distributed.

The number of runs below the true quantile is binomial, so two ordered runs enclose it with a known
probability (David and Nagaraja, Order Statistics, 3rd edition, section 7.1). Runs that follow each
other are not quite independent: the intervals are those of a machine that is steady.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

CERTAINTY = 0.95
CURVE = (*range(0, 100, 5), 99, 99.9, 100)  # percentiles


def interval(values: Sequence[float], percentile: float) -> tuple[float, float] | None:
    """Returns the 95 % interval of a `percentile` of `values`; None where those are too few."""
    places = _places(len(values), percentile / 100)
    if places is None:
        return None
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[places[0]]), float(ordered[places[1]])


def least_count(percentile: float) -> int:
    """Returns how many values bound a percentile from both sides with 95 %."""
    count = 2
    while _places(count, percentile / 100) is None:
        count += 1
    return count


def curve(values: Sequence[float]) -> list[tuple[float, float]]:
    """Returns the percentiles of `values` as pairs with the percent, the least first."""
    if not len(values):
        return []
    percentiles = np.percentile(np.asarray(values, np.float64), CURVE)
    return [(float(p), float(value)) for p, value in zip(CURVE, percentiles, strict=True)]


def _places(count: int, share: float) -> tuple[int, int] | None:
    """Returns the places, from 0, of the ordered values that enclose a quantile."""
    if count < 2:
        return None
    below = np.arange(count + 1)  # how many values are below the quantile
    choose = [lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1) for k in below]
    logs = np.array(choose) + below * log(share) + (count - below) * log(1 - share)
    cumulated = np.cumsum(np.exp(logs))
    tail = (1 - CERTAINTY) / 2
    # at least `low` are below but for `tail`, and at most `high`
    low = int(np.searchsorted(cumulated, tail))
    high = int(np.searchsorted(cumulated, 1 - tail))
    return (low - 1, high) if low >= 1 and high < count else None


NORMAL_QUANTILE = 1.96  # of 95 %


def kendall_tau(first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]]) -> float:
    """Returns Kendall's τ of rankings `first` and `second`, float (N,); ties count for neither."""
    rows, columns = np.triu_indices(len(first), 1)
    signs = np.sign(first[rows] - first[columns]) * np.sign(second[rows] - second[columns])
    return float(signs.mean())


def wilson(right: int, count: int) -> tuple[float, float]:
    """Returns the 95 % interval of the share of `right` in `count`, 0..1, by Wilson's score."""
    share, square = right / count, NORMAL_QUANTILE**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    spread = np.sqrt(share * (1 - share) / count + square / (4 * count**2))
    half = float(NORMAL_QUANTILE * spread / (1 + square / count))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
