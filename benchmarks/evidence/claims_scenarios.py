"""What docs say of longer pretraining, and of one training for all devices or one for each."""

from __future__ import annotations

from typing import Any

from tofa_edge.benchmarks.evidence.claims import Claims, result
from tofa_edge.benchmarks.evidence.claims_rows import PICKED, cell_of, row_of, unpicked_row_of
from tofa_edge.benchmarks.studies.scenario_costs import (
    COSTS,
    SCENARIOS,
    SHARED,
    cost_ratios,
    equal_compute_steps,
)

STEPS = 600  # of the trainings that are compared
DRAWS = ("draw 0", "draw 1")  # in which subnets were trained alone
BELOW = ("≤ 15 MMACs", "≤ 7 MMACs")
TITLES = {"middle": "middle, 14.5 MMACs", "random 1": "random, 12.6", "smallest": "smallest, 4.2"}


def transfer_longer() -> Claims:
    """What trainings from a start of 2,500 steps of pretraining reach."""
    runs = result("transfer_longer")["runs"]
    for count, steps in ((25, STEPS), (25, 900), (100, 1200)):
        cells = row_of(runs, f"semi-supervised, {steps} steps, {count} labels a class", PICKED)
        yield f"| {count} labels a class, {steps:,} steps | {cells} |"
    few, more = (
        " and ".join(cell_of(runs, f"semi-supervised, {run} labels a class", (p,)) for p in BELOW)
        for run in (f"{STEPS} steps, 25", "1200 steps, 100")
    )
    yield f"25 labels a class {few}, 100 labels {more}"
    name = "labels only, equal time, 1380 steps, 25 labels a class"
    cells = unpicked_row_of(runs, name)
    yield f"| 25 labels a class, labels only for as long as the 600 | {cells} |"


def scenarios() -> Claims:
    """One training for all devices, or one for each."""
    alone, together = result("scenarios")["runs"], result("transfer_longer")["runs"]
    together = {key: run for key, run in together.items() if key.endswith(DRAWS)}
    seconds = alone[COSTS]["processor_s"]
    longer = equal_compute_steps(seconds, STEPS)

    def accuracy(runs: Any, name: str, column: str) -> str:
        return cell_of(runs, f"{name} steps, 25 labels a class", (column,))

    middle = accuracy(alone, f"middle alone, semi-supervised, {longer}", "middle")
    for name, title in TITLES.items():
        cells = [accuracy(together, f"semi-supervised, {STEPS}", name)]
        for kind in ("semi-supervised", "labels only"):
            cells.append(accuracy(alone, f"{name} alone, {kind}, {STEPS}", name))
        yield f"| {title} | {' | '.join(cells)} |"
    yield (
        f"{longer} steps of the middle one alone, which cost as much for three of them as the "
        f"supernet, give {middle}"
    )
    each = ", ".join(f"{seconds[name]:.2f}" for name in SCENARIOS)
    yield f"{seconds[SHARED]:.2f} s for all subnets together, {each} s for one of these alone"
    yield f"the largest alone {seconds['largest']:.2f} s"
    for title, count, ratio in cost_ratios(seconds):
        if count > 1:
            yield f"{count} {title} {ratio:.1f} ×"
