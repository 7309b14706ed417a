"""Figures of training: what unlabelled photos are worth, and one training for all devices."""

from __future__ import annotations

from statistics import mean
from typing import Any

from tofa_edge.benchmarks.evidence.results import percent, result, spread, table
from tofa_edge.benchmarks.studies.scenario_costs import COSTS, SHARED, cost_ratios

ENDS = ("largest", "middle", "smallest")
EQUAL_TIME = ("≤ 32 MMACs", "≤ 15 MMACs", "≤ 7 MMACs", "smallest", "mean of even ones")
CEILINGS = ("≤ 15 MMACs", "≤ 7 MMACs")
EIGHT = (*ENDS, *(f"random {number}" for number in range(5)))  # subnets of a study
SMALL = ("middle", "random 1", "smallest")
PROBE = "probe"


def protocol() -> str:
    """What ways to train reach in about equal processor time."""
    rows = [
        (name.removesuffix(", draw 0"), f"{sum(run['processor_s'].values()):.0f} s",
         *(percent(run["accuracy"][column]) for column in EQUAL_TIME))
        for name, run in result("training_protocol")["runs"].items()
        if "accuracy" in run
    ]  # fmt: skip
    return table(("", "processor time", *EQUAL_TIME), rows, "training_protocol")


def training(*names: str) -> str:
    """Returns the accuracies of all trainings of results of some `names`, a table for each."""
    return "\n\n".join(map(_trainings, names))


def _trainings(name: str) -> str:
    groups: dict[str, list[dict[str, float]]] = {}
    for key, run in result(name)["runs"].items():
        if "accuracy" in run:
            groups.setdefault(key.rpartition(", draw")[0], []).append(run["accuracy"])
    known = {column for rows in groups.values() for row in rows for column in row}
    columns = [column for column in (*ENDS[:2], *CEILINGS, ENDS[2], PROBE) if column in known]
    lines = []
    for title, rows in groups.items():
        cells = [spread([row[c] for row in rows if c in row]) for c in columns]
        eight = [sum(row[n] for n in EIGHT) / len(EIGHT) for row in rows if EIGHT[-1] in row]
        lines.append((title, *cells, spread(eight)))
    return table(("", *columns, "mean of eight"), lines, name)


def near_duplicates() -> str:
    """How many copies of photos are dealt to another role, and how many are found."""
    stored = result("near_duplicates")["rows"]
    found = [f"found: {kind}" for kind in stored[0]["copies found"]]
    rows = [
        (each["set"], *map(percent, (each["copies in two roles"], *each["copies found"].values())))
        for each in stored
    ]
    return table(("set", "copies in two roles", *found), rows, "near_duplicates")


def together() -> str:
    """One training for all devices, or one for each."""
    alone = result("scenarios")["runs"]
    seconds: dict[str, Any] = alone[COSTS]["processor_s"]
    rows = []
    for name in SMALL:
        cells = [
            spread([
                run["accuracy"][name] for key, run in runs.items()
                if key.startswith(f"{title}, 600 steps, 25 labels") and name in run["accuracy"]
            ])
            for runs, title in (
                (result("transfer_longer")["runs"], "semi-supervised"),
                (alone, f"{name} alone, semi-supervised"), (alone, f"{name} alone, labels only"),
            )
        ]  # fmt: skip
        rows.append((name, *cells, f"{seconds[name] / seconds[SHARED]:.2f}"))
    columns = ("", "in the supernet", "alone, the same loss", "alone, labels only",
               "time of a step, of the supernet's")  # fmt: skip
    ratios = ", ".join(
        f"{count} {title} {ratio:.1f} ×"
        for title, count, ratio in cost_ratios(seconds, SMALL)
        if count > 1
    )
    words = f"One by one over one training for all, processor time at equal steps: {ratios}."
    return f"{table(columns, rows, 'scenarios', 'transfer_longer')}\n\n{words}"


def fixed_network(*names: str) -> str:
    """Chosen subnets against a fixed network at lower resolutions, a table for each result."""
    return "\n\n".join(map(_fixed_network, names))


def _fixed_network(name: str) -> str:
    rows, stored = [], result(name)
    for index, row in enumerate(stored["budgets"]):
        used = mean(run["rows"][index]["chosen_over_fixed"] for run in stored["runs"])
        gain, low, high = (100 * share for share in (row["gain"], *row["gain_interval"]))
        rows.append((
            f"{row['fixed_px']} px", f"{used:.2f}", percent(row["fixed_accuracy"]),
            percent(row["chosen_accuracy"]), f"{gain:+.1f} ({low:+.1f} to {high:+.1f})",
        ))  # fmt: skip
    columns = ("fixed", "time, chosen over fixed", "accuracy, fixed", "chosen",
               "points gained (95 %)")  # fmt: skip
    return table(columns, rows, name)
