"""How much faster each network of a ladder is than the chosen one, and what it may take."""

from __future__ import annotations

import math
from dataclasses import replace

from tofa_edge.budget import Budget
from tofa_edge.errors import BudgetError

STEP = 0.5  # of the latency of the network before
STEPS_TO_THE_DOUBLE = 4  # that limits are rounded down to: else no start would find them again


def lower_budget(budget: Budget, top_ms: float, rung: int, used_mb: float) -> Budget:
    """Returns the budget of a faster network than the chosen one.

    Its latency is at most half of the one before. The limit is rounded, so that the choice is found
    again though the first network was measured a little differently.

    Args:
        budget: of the chosen network; all its limits stay.
        top_ms: own latency of the chosen network.
        rung: number of the faster one, 1 for the first below.
        used_mb: memory that the ones before are expected to take, in MB.

    Raises:
        BudgetError: they leave no memory.
    """
    limit = top_ms * STEP**rung
    steps = math.floor(math.log2(limit) * STEPS_TO_THE_DOUBLE)
    memory_mb = budget.memory_mb
    if memory_mb is not None:
        memory_mb = round(memory_mb - used_mb)
        if memory_mb <= 0:
            raise BudgetError(
                f"wanted a further network within {budget.memory_mb:g} MB of memory, and those "
                f"before take {used_mb:.0f}: allow more, or a shorter ladder"
            )
    own = replace(budget, latency_ms=2.0 ** (steps / STEPS_TO_THE_DOUBLE), memory_mb=memory_mb)
    return replace(own, latency="own")
