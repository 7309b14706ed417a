"""What training for each kind of device costs over training once for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

COUNTS = (1, 3, 10)
SHARED = "shared"
COSTS = "processor time of a step"  # the row of a result


def cost_ratios(costs: Mapping[str, float], small: Sequence[str]) -> list[tuple[str, int, float]]:
    """Returns what scenarios cost alone at equal steps over what training all costs.

    Args:
        costs: processor seconds of a step, by what it trains.
        small: the networks among these that count as small.

    Returns:
        Which networks the scenarios need, how many scenarios, the ratio.
    """
    kinds = {
        "small networks": [costs[name] for name in small],
        "networks of all sizes": [seconds for name, seconds in costs.items() if name != SHARED],
    }
    return [
        (title, count, count * float(np.mean(seconds)) / costs[SHARED])
        for title, seconds in kinds.items()
        for count in COUNTS
    ]


def ratio_of_ten(shared: Mapping[str, float], alone: Sequence[Mapping[str, float]]) -> float:
    """Returns what ten scenarios cost alone over what training all costs.

    Args:
        shared: processor seconds by phase; "features" are those of the teachers.
        alone: the same of networks alone, without the features, which all of them share.
    """
    each = float(np.mean([sum(seconds.values()) for seconds in alone]))
    return (shared["features"] + 10 * each) / sum(shared.values())
