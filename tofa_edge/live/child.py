"""`python -m tofa_edge.live.child`: chooses networks in a process of its own, at low priority.

What is wanted comes as JSON on the standard input (`Order`); what was chosen goes to the pipe whose
descriptor is the argument. It ends with the process that started it.
"""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import replace
from typing import IO

from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.space import Subnet
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.deploy import chosen_and_kept, key_of
from tofa_edge.deployment.provisional import low_priority
from tofa_edge.deployment.remember import Decision, one_chooser, recall, sealed
from tofa_edge.deployment.request import Request, requested
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import BudgetError, TofaError
from tofa_edge.live.order import Answer, Order, send
from tofa_edge.prediction.memory import peak_memory_mb
from tofa_edge.selftest.child import end_with_parent
from tofa_edge.storage.files import printable
from tofa_edge.storage.plain import from_plain

REASON_LENGTH = 1000
STEP = 0.5  # of the latency of the network before
STEPS_TO_THE_DOUBLE = 4  # that limits are rounded down to: else no start would find them again


def main() -> None:
    """Chooses one network after the other; the first that fails is the last."""
    descriptor = int(sys.argv[1])
    end_with_parent(descriptor)
    low_priority()
    order = from_plain(Order, json.load(sys.stdin))
    with os.fdopen(descriptor, "wb") as report:
        choose_all(order, report)


def choose_all(order: Order, report: IO[bytes]) -> None:
    """Writes an answer for each network wanted.

    Args:
        order: what is wanted.
        report: where answers go.
    """
    top_ms, used_mb, chosen = order.top_ms, 0.0, set[tuple[str, str]]()
    for rung in range(1 if top_ms else 0, order.rungs):
        budget = order.budget
        try:
            request = order.request()
            if rung:
                budget = lower_budget(order.budget, top_ms, rung, used_mb)
            asked = requested(request.bundle, budget, request.subnet, request.options)
            decision, artefact = decided(asked, order.remember)
        except TofaError as error:
            reason = printable(str(error), REASON_LENGTH)
            send(report, Answer(rung, budget, failure=reason))
            return
        top_ms = top_ms or decision.own_ms
        used_mb += expected_memory_mb(request.bundle, decision)
        what = (decision.subnet, f"{decision.backend} {decision.target}")
        if what not in chosen:
            answer = Answer(rung, budget, decision, artefact_bytes=len(artefact))
            send(report, answer, artefact)
        chosen.add(what)


def decided(request: Request, remember: bool) -> tuple[Decision, bytes]:
    """Returns what is remembered, or chooses.

    Args:
        request: what is wanted.
        remember: whether choices are reused and kept.
    """
    key = key_of(request, remember)
    told: list[tuple[Decision, bytes]] = []
    with one_chooser(key, request.until):
        found = None if key is None else recall(key)
        if found is not None:
            return found
        chosen_and_kept(request, key, Trace(), 0.0, lambda *made: told.append(made)).close()
    decision, artefact = told[0]
    return sealed(decision, artefact), artefact


def expected_memory_mb(bundle: Bundle, decision: Decision) -> float:
    """Returns by how much a network is expected to grow the process, in MB of 1e6 bytes.

    Args:
        bundle: that it is cut from.
        decision: what was chosen.
    """
    encodings = encoded(bundle.space, [Subnet.from_json(decision.subnet)])
    precision = decision.target.precision
    return float(peak_memory_mb(bundle.space, encodings, decision.backend, precision)[0])


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


if __name__ == "__main__":
    main()
