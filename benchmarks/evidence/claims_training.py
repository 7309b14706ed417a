"""What README and docs say of training, rendered from the stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tofa_edge.benchmarks.evidence.claims import Claims, average, result, tau
from tofa_edge.benchmarks.evidence.claims_rows import (
    EIGHT,
    ENDS,
    PICKED,
    cell_of,
    cells_of,
    probes_of,
    row_of,
    unpicked_row_of,
)

DRAWS = (0, 1, 2)


def transfer() -> Claims:
    """What unlabelled photos are worth."""
    runs = result("transfer")["runs"]
    for title, name in (
        ("one semi-supervised loss", "semi-supervised, 1200 steps"),
        ("labels only", "labels only, 1200 steps"),
    ):
        yield f"| {title} | {row_of(runs, f'{name}, 25 labels a class', PICKED)} |"
    for cost, probe in zip((127, 707), probes_of(runs, 25), strict=True):
        yield f"{cost} MMACs | {probe} |"
    longer = runs["labels only, equal time, 2760 steps, 25 labels a class, draw 0"]["accuracy"]
    yield f"2,760 steps of them, which take as long, give {_percents(longer)} %"


def transfer_more() -> Claims:
    """More steps, more labels, fewer labels, and no pretraining: one draw of each."""
    runs = result("transfer_more")["runs"]
    for count, steps in ((100, 1800), (25, 1800), (4, 500)):
        yield (
            f"| {count} labels a class, one loss, {steps:,} steps | "
            f"{cells_of(runs, f'semi-supervised, {steps} steps, {count} labels a class', PICKED)} |"
        )
        small, large = probes_of(runs, count)
        small = small.removesuffix(" %")
        yield f"| {count} labels a class, probes at 127 and 707 MMACs | {small} and {large} |"
    for count, steps in ((100, 1200), (4, 500)):
        name = f"labels only, {steps} steps, {count} labels a class"
        yield (
            f"| {count} labels a class, labels only, {steps:,} steps | "
            f"{cells_of(runs, name, PICKED)} |"
        )
    name = "semi-supervised, not pretrained, equal time, 2100 steps, 25 labels a class"
    yield f"| not pretrained, 2,100 steps | {cells_of(runs, name, ENDS)} |"
    pretrained = result("transfer")["runs"][
        "semi-supervised, 1200 steps, 25 labels a class, draw 0"
    ]
    each = " | ".join(f"{100 * pretrained['accuracy'][column]:.1f} %" for column in ENDS)
    yield f"| pretrained for 1,500 steps, then 1,200 steps | {each} |"
    one, few = (
        100 * runs[f"{kind}, 500 steps, 4 labels a class, draw 0"]["accuracy"]["largest"]
        for kind in ("semi-supervised", "labels only")
    )
    yield (
        f"4 labels a class, one draw | one semi-supervised loss {one:.1f} %, labels only "
        f"{few:.1f} %"
    )
    without = runs[f"{name}, draw 0"]["accuracy"]
    yield f"{_percents(pretrained['accuracy'])} against {_percents(without)} %"


def ablation() -> Claims:
    """What each ingredient of the training is worth."""
    for name in ("ablation", "ablation_present"):
        yield from _left_out(result(name)["runs"])


def _left_out(rows: Any) -> Claims:
    every = "without nothing, "
    whole = next(row for name, row in rows.items() if name.startswith(every))["accuracy"]
    columns = (*((column,) for column in ENDS), EIGHT)

    def share(accuracies: dict[str, float], names: Sequence[str]) -> float:
        return 100 * sum(accuracies[name] for name in names) / len(names)

    for name, row in rows.items():
        title = name.split(", ")[0]
        if name.startswith(every):
            cells = " | ".join(f"{share(whole, names):.1f} %" for names in columns)
            yield f"| everything | {cells} |"
        else:
            lost = (share(row["accuracy"], names) - share(whole, names) for names in columns)
            yield f"| {title} | {' | '.join(f'{round(points, 1) + 0.0:+.1f}' for points in lost)} |"


def training_speed() -> Claims:
    """What keeping freed memory is worth."""
    found = result("training_speed")
    yield f"takes {found['kept_over_given_back']:.2f} of the processor time"


def ranking() -> Claims:
    """How well agreement with the largest subnet ranks."""
    draws = result("ranking")["draws"]
    divergence, macs = ([tau(row[key]) for row in draws] for key in ("tau_divergence", "tau_macs"))
    yield (
        f"ranks {draws[0]['subnets']} random subnets with Kendall's τ of {_and(divergence)} (three "
        f"draws) against their accuracy on the test photos; MACs alone with {_and(macs)}"
    )


def transfer_elpv() -> Claims:
    """What unlabelled photos are worth where labels are drawn evenly and the world is not."""
    runs = result("transfer_elpv")["runs"]
    for title, kind in (
        ("one semi-supervised loss", "semi-supervised"),
        ("labels only", "labels only"),
    ):
        yield f"| {title} | {row_of(runs, f'{kind}, 300 steps, 100 labels a class', ENDS)} |"


def transfer_fashion_mnist() -> Claims:
    """What unlabelled photos are worth with ten labels of a class."""
    runs = result("transfer_fashion_mnist")["runs"]
    for title, kind in (
        ("one semi-supervised loss", "semi-supervised, 400 steps"),
        ("labels only", "labels only, 400 steps"),
    ):
        yield f"| {title} | {row_of(runs, f'{kind}, 10 labels a class', ENDS)} |"
    _, probe = probes_of(runs, 10)
    yield f"| probe on the teachers' features | {probe} |"


def initial_pseudo_labels() -> Claims:
    """How right initial pseudo-labels are, by teachers, with and without spreading."""
    runs = result("initial_pseudo_labels")["runs"]
    ways = (
        ("lite0+lite2", "self-trained"),
        ("lite0+lite1+lite2", "self-trained"),
        ("lite0+lite1+lite2", "spread"),
    )
    titles = {"cifar10-jpeg": "CIFAR-10-JPEG", "fashion-mnist": "fashion-mnist", "elpv": "elpv"}
    counts = sorted({(name.split(", ")[0], int(name.split(", ")[2].split()[0])) for name in runs})
    for data, count in counts:
        rows = [runs[f"{data}, {names}, {count} labels a class"] for names, _ in ways]
        cells = [average(row[f"accuracy, {way}"]) for row, (_, way) in zip(rows, ways, strict=True)]
        yield f"| {titles[data]}, {count} labels a class | {' | '.join(cells)} |"


def transfer_present() -> Claims:
    """What the present initial pseudo-labels reach."""
    runs = result("transfer_present")["runs"]
    yield (
        "| 25 labels a class, 1,500 + 1,200 steps, first draw | "
        f"{row_of(runs, 'semi-supervised, 1200 steps, 25 labels a class', PICKED)} |"
    )
    few = "semi-supervised, 500 steps, 4 labels a class"
    yield f"| 4 labels a class, 1,500 + 500 steps, first draw | {unpicked_row_of(runs, few)} |"
    for count in (4, 25, 100):
        small, large = probes_of(runs, count)
        yield f"| {count} labels a class, probes at 127 and 1,077 MMACs | {small} and {large} |"


def label_counts() -> Claims:
    """Other numbers of labels on solar cells and clothes."""
    for name, steps in (("elpv_counts", 300), ("fashion_mnist_counts", 400)):
        runs = result(f"transfer_{name}")["runs"]
        for count in (4, 25, 100):
            for title, kind in (
                ("one loss", "semi-supervised"),
                ("labels only", "labels only"),
            ):
                key = f"{kind}, {steps} steps, {count} labels a class"
                cells = row_of(runs, key, ENDS)
                yield f"| {count} labels a class, {title} | {cells} |"
            _, probe = probes_of(runs, count)
            yield f"| {count} labels a class, probe on the teachers' features | {probe} |"


def summary() -> Claims:
    """What the README's table says of integers and of training."""
    found = result("precision")
    names = [name for name in found["speed"]["engines"] if " int8 " in name]
    speeds = [found["speed"]["engines"][name] for name in names]
    faster = sorted(1 / row["p50_ms_over_fp32"] for row in speeds)
    files = sorted(100 * row["artefact_mb_over_fp32"] for row in speeds)
    lost = sorted(found["accuracy"]["engines"][name]["mean_drop"] for name in names)
    yield (
        f"{faster[0]:.1f} to {faster[-1]:.1f} × faster, {files[0]:.0f} to {files[-1]:.0f} % of the "
        f"file; {lost[0]:.2f} to {lost[-1]:.2f} points of accuracy lost "
        f"({found['accuracy']['subnets']} subnets, {found['accuracy']['images']:,} photos)"
    )
    runs = result("transfer")["runs"]
    everything, alone = (
        cell_of(runs, f"{kind}, 1200 steps, 25 labels a class", ("largest",))
        for kind in ("semi-supervised", "labels only")
    )
    yield f"one semi-supervised loss {everything}, labels only {alone}"
    cells, labelled = (
        cell_of(result("transfer_elpv")["runs"], f"{kind}, 300 steps, 100 labels a class", EIGHT)
        for kind in ("semi-supervised", "labels only")
    )
    yield f"with unlabelled photos {cells}, labels only {labelled}"


def _percents(accuracy: dict[str, float]) -> str:
    return _and([f"{100 * accuracy[name]:.1f}" for name in ENDS])


def _and(values: list[str]) -> str:
    *first, last = values
    return f"{', '.join(first)} and {last}"


CLAIMS: tuple[Callable[[], Claims], ...] = (
    transfer,
    transfer_more,
    initial_pseudo_labels,
    transfer_present,
    ablation,
    training_speed,
    ranking,
    transfer_elpv,
    transfer_fashion_mnist,
    label_counts,
    summary,
)
