"""What a budget limits of a subnet that need not be measured: memory, work, size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.cost import FLOAT_BYTES
from tofa_edge.architecture.encodings import Encodings
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables
from tofa_edge.backends.protocol import Engine
from tofa_edge.budget import Budget
from tofa_edge.prediction.memory import MEGA, SHARES, peak_memory_mb


def limited_costs(
    space: SearchSpace, budget: Budget, genes: Encodings, engine: Engine
) -> Iterator[tuple[str, str, DoubleArray, float]]:
    """Yields each limit but latency and accuracy: its name, its unit, costs (N,), the limit.

    Args:
        space: of the subnets.
        budget: whose limits.
        genes: encodings, (N, genes).
        engine: that would run them.
    """
    precision = engine.target.precision
    if budget.memory_mb is not None:
        growth = peak_memory_mb(space, genes, engine.backend.name, precision)
        yield "memory", "MB expected", growth, budget.memory_mb
    costs = tables(space).costs(genes)
    if budget.mmacs is not None:
        yield "work", "MMACs", costs.macs / MEGA, budget.mmacs
    if budget.size_mb is not None:
        stored = FLOAT_BYTES * SHARES.get(precision, 1.0) * costs.parameters
        yield "size", "MB", np.asarray(stored / MEGA, np.float64), budget.size_mb
