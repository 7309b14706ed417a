"""Draws what the training studies found: `python -m tofa_edge.benchmarks.studies.training_plot`.

Left: accuracy over MACs of subnets trained together, with and without unlabelled photos, and probes
on frozen features. Right: processor time over the number of kinds of devices. From the results that
are stored; wants matplotlib and a checkout.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.zoo import named
from tofa_edge.benchmarks.studies.command import stored
from tofa_edge.benchmarks.studies.scenario_costs import COSTS, COUNTS, SHARED
from tofa_edge.benchmarks.studies.training_study import BASELINE
from tofa_edge.train.objective.teachers import TEACHER_RESOLUTION

RESULTS = Path(__file__).resolve().parents[1] / "results"
DRAWS = (0, 1, 2)
EIGHT = ("largest", "middle", "smallest", *(f"random {number}" for number in range(5)))
ALONE = ("middle", "random 1", "smallest")  # subnets that were trained alone, too
OF = "25 labels a class, draw"
LINES = (  # title, runs, colour, mark
    ("one semi-supervised loss", "semi-supervised, 1200 steps", "#1b5fa8", "o"),
    ("labels only", "labels only, 1200 steps", "#b3500d", "s"),
)
PROBES = {  # of the stored runs, in which two teachers looked
    "lite0 128 px": (("lite0",), BASELINE),
    "teachers": (("lite0", "lite2"), TEACHER_RESOLUTION),
}


def main() -> None:
    """Draws and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("docs/training.png"))
    draw(parser.parse_args().out)


def draw(path: Path) -> None:
    """Writes the picture."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _accuracies(left, stored(RESULTS / "transfer.json")["runs"])
    _costs(right, stored(RESULTS / "scenarios.json")["runs"][COSTS]["processor_s"])
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def _accuracies(axes: Axes, runs: dict[str, Any]) -> None:
    costs = runs[f"{LINES[0][1]}, {OF} 0"]["mmacs"]
    names = sorted(EIGHT, key=lambda name: float(costs[name]))
    for title, name, colour, mark in LINES:
        drawn = np.array(
            [[runs[f"{name}, {OF} {n}"]["accuracy"][column] for column in names] for n in DRAWS]
        )
        axes.errorbar(
            [costs[column] for column in names],
            100 * drawn.mean(axis=0),
            100 * drawn.std(axis=0, ddof=1),
            fmt=mark, color=colour, ms=5, capsize=2, label=f"{title}: eight subnets",
        )  # fmt: skip
    probes = [
        [100 * runs[f"frozen-feature probe {name}, {OF} {n}"]["accuracy"]["probe"] for n in DRAWS]
        for name in PROBES
    ]
    axes.errorbar(
        [_mmacs(*networks) for networks in PROBES.values()],
        np.mean(probes, axis=1), np.std(probes, axis=1, ddof=1),
        fmt="D", color="#555555", ms=5, capsize=2, label="probe on frozen features",
    )  # fmt: skip
    axes.set(xscale="log", xlabel="MMACs of one photo", ylabel="accuracy, %")
    ticks = (5, 10, 20, 50, 100, 200, 500)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title("CIFAR-10-JPEG, 25 labels a class, 5,000 photos", loc="left", fontsize=10)


def _mmacs(networks: Sequence[str], size: int) -> float:
    """Returns what looking at a photo costs with all of some pretrained networks."""
    spaces = [named(network) for network in networks]
    each = (macs(layers(s, replace(s.largest(), resolution=size))) for s in spaces)
    return sum(each) / 1e6


def _costs(axes: Axes, seconds: dict[str, float]) -> None:
    each = float(np.mean([seconds[name] for name in ALONE]))
    counts = np.arange(1, 2 * max(COUNTS) + 1)
    axes.plot(counts, np.ones(len(counts)), color=LINES[0][2], lw=2, label="all at once")
    apart = counts * each / seconds[SHARED]
    axes.plot(counts, apart, "--", color="#555555", label="one after another")
    axes.set(xlabel="kinds of devices", ylabel="processor time of training", ylim=(0, None))
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.set_title("the same loss and steps, all at once = 1", loc="left", fontsize=10)


if __name__ == "__main__":
    main()
