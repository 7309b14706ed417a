"""What training for each kind of device costs over training once for all, from timed steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SCENARIOS = ("middle", "random 1", "smallest")  # subnets of a study that are trained alone
COUNTS = (1, 3, 10)
SHARED = "shared"
COSTS = "processor time of a step"  # the row of a result


def equal_compute_steps(costs: Mapping[str, float], steps: int) -> int:
    """Returns for how many steps each of three scenarios trains at the cost of one for all.

    Args:
        costs: processor seconds of a step, by what it trains.
        steps: of the training for all.
    """
    return round(steps * costs[SHARED] / sum(costs[name] for name in SCENARIOS))


def cost_ratios(costs: Mapping[str, float]) -> list[tuple[str, int, float]]:
    """Returns what scenarios cost alone at equal steps over what training all costs.

    Args:
        costs: processor seconds of a step, by what it trains.

    Returns:
        Which subnets the scenarios need, how many scenarios, the ratio.
    """
    kinds = {
        "small networks": [costs[name] for name in SCENARIOS],
        "networks of all sizes": [seconds for name, seconds in costs.items() if name != SHARED],
    }
    return [
        (title, count, count * float(np.mean(seconds)) / costs[SHARED])
        for title, seconds in kinds.items()
        for count in COUNTS
    ]
