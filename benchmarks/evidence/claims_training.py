"""What README and docs say of training, rendered from the stored results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tofa_edge.benchmarks.evidence.claims import Claims, average, joined, result, row, short
from tofa_edge.benchmarks.studies.scenario_costs import COSTS, SHARED, cost_ratios

EQUAL_TIME = ("≤ 32 MMACs", "≤ 15 MMACs", "≤ 7 MMACs", "smallest", "mean of even ones")
PICKED = ("largest", "middle", "≤ 15 MMACs", "≤ 7 MMACs", "smallest")
ENDS = ("largest", "middle", "smallest")
EIGHT = (*ENDS, *(f"random {number}" for number in range(5)))  # subnets of a study
DRAWS = (0, 1, 2)
ALONE_STEPS = 600  # of the trainings that subnets trained alone are compared with
TITLES = {"middle": "middle, 14.5 MMACs", "random 1": "random, 12.6", "smallest": "smallest, 4.2"}
LOSSES = {"one semi-supervised loss": "semi-supervised", "labels only": "labels only"}


def transfer() -> Claims:
    """What unlabelled photos are worth."""
    runs = result("transfer")["runs"]
    yield from _losses(runs, "1200 steps, 25 labels a class", PICKED)
    for cost, probe in zip((127, 707), _probes_of(runs, 25), strict=True):
        yield f"{cost} MMACs | {probe} |"
    longer = runs["labels only, equal time, 2760 steps, 25 labels a class, draw 0"]["accuracy"]
    yield f"2,760 steps of them, which take as long, give {_percents(longer)} %"


def _losses(runs: Any, of: str, columns: Sequence[str]) -> Claims:
    for title, kind in LOSSES.items():
        yield row(title, _row_of(runs, f"{kind}, {of}", columns))


def transfer_more() -> Claims:
    """More steps, more labels, fewer labels, and no pretraining: one draw of each."""
    runs = result("transfer_more")["runs"]
    for kind, title, count, steps in (
        ("semi-supervised", "one loss", 100, 1800),
        ("semi-supervised", "one loss", 25, 1800),
        ("semi-supervised", "one loss", 4, 500),
        ("labels only", "labels only", 100, 1200),
        ("labels only", "labels only", 4, 500),
    ):
        cells = _cells_of(runs, f"{kind}, {steps} steps, {count} labels a class", PICKED)
        yield row(f"{count} labels a class, {title}, {steps:,} steps", cells)
    for count in (100, 25, 4):
        small, large = _probes_of(runs, count)
        probes = f"{small.removesuffix(' %')} and {large}"
        yield row(f"{count} labels a class, probes at 127 and 707 MMACs", probes)
    name = "semi-supervised, not pretrained, equal time, 2100 steps, 25 labels a class"
    yield row("not pretrained, 2,100 steps", _cells_of(runs, name, ENDS))
    usual = "semi-supervised, 1200 steps, 25 labels a class, draw 0"
    pretrained = result("transfer")["runs"][usual]["accuracy"]
    cells = row(*(f"{100 * pretrained[column]:.1f} %" for column in ENDS))
    yield f"| pretrained for 1,500 steps, then 1,200 steps {cells}"
    one, few = (
        100 * runs[f"{kind}, 500 steps, 4 labels a class, draw 0"]["accuracy"]["largest"]
        for kind in LOSSES.values()
    )
    losses = f"one semi-supervised loss {one:.1f} %, labels only {few:.1f} %"
    yield f"4 labels a class, one draw | {losses}"
    without = runs[f"{name}, draw 0"]["accuracy"]
    yield f"{_percents(pretrained)} against {_percents(without)} %"


def training_protocol() -> Claims:
    """What each way to train reaches in about equal processor time."""
    stored = result("training_protocol")
    yield f"{stored['setting']['images']:,} photos that no run trains on"
    for name, run in stored["runs"].items():
        if "accuracy" in run:
            seconds = f"{sum(run['processor_s'].values()):.0f} s"
            values = (f"{100 * run['accuracy'][column]:.1f} %" for column in EQUAL_TIME)
            yield row(name.removesuffix(", draw 0"), seconds, *values)


def training_speed() -> Claims:
    """What keeping freed memory is worth."""
    ratio = result("training_speed")["kept_over_given_back"]
    yield f"takes {ratio:.2f} of the processor time"


def ranking() -> Claims:
    """How well agreement with the largest subnet ranks."""
    draws = result("ranking")["draws"]
    divergence, macs = (
        joined(short(draw[f"tau_{by}"], 2) for draw in draws) for by in ("divergence", "macs")
    )
    yield (
        f"ranks {draws[0]['subnets']} random subnets with Kendall's τ of {divergence} (three "
        f"draws) against their accuracy on the test photos; MACs alone with {macs}"
    )


def transfer_elpv() -> Claims:
    """What unlabelled photos are worth where labels are drawn evenly and the world is not."""
    yield from _losses(result("transfer_elpv")["runs"], "300 steps, 100 labels a class", ENDS)


def transfer_fashion_mnist() -> Claims:
    """What unlabelled photos are worth with ten labels of a class."""
    runs = result("transfer_fashion_mnist")["runs"]
    yield from _losses(runs, "400 steps, 10 labels a class", ENDS)
    yield row("probe on the teachers' features", _probes_of(runs, 10)[1])


def near_duplicates() -> Claims:
    """How many copies of photos are dealt to another role, and what else is grouped."""
    stored = result("near_duplicates")
    photos = stored["rows"][0]["photos"] + stored["rows"][0]["copies"]
    yield f"Of {photos} photos, {stored['copies']:.0%} copies".replace("%", " %")
    for each in stored["rows"]:
        cells = (each["copies in two roles"], each["photos grouped with others"])
        cells += tuple(each["copies found"].values())
        yield f"| {each['set']} | " + " | ".join(f"{100 * cell:.1f} %" for cell in cells) + " |"


def initial_pseudo_labels() -> Claims:
    """How right initial pseudo-labels are, by teachers, with and without label spreading."""
    runs = result("initial_pseudo_labels")["runs"]
    ways = (
        ("lite0+lite2", "self-trained"),
        ("lite0+lite1+lite2", "self-trained"),
        ("lite0+lite1+lite2", "spread"),
    )
    for data, count in sorted({(name.split(", ")[0], name.split(", ")[2]) for name in runs}):
        rows = [(runs[f"{data}, {teachers}, {count}"], way) for teachers, way in ways]
        cells = [average(run[f"accuracy, {way}"]) for run, way in rows]
        yield row(f"{data.replace('cifar10-jpeg', 'CIFAR-10-JPEG')}, {count}", *cells)


def transfer_present() -> Claims:
    """What the present initial pseudo-labels reach."""
    runs = result("transfer_present")["runs"]
    cells = _row_of(runs, "semi-supervised, 1200 steps, 25 labels a class", PICKED)
    yield row("25 labels a class, 1,500 + 1,200 steps, first draw", cells)
    cells = _unpicked_row_of(runs, "semi-supervised, 500 steps, 4 labels a class")
    yield row("4 labels a class, 1,500 + 500 steps, first draw", cells)
    for count in (4, 25, 100):
        probes = " and ".join(_probes_of(runs, count))
        yield row(f"{count} labels a class, probes at 127 and 1,077 MMACs", probes)


def label_counts() -> Claims:
    """Other numbers of labels on solar cells and clothes."""
    for name, steps in (("elpv_counts", 300), ("fashion_mnist_counts", 400)):
        runs = result(f"transfer_{name}")["runs"]
        for count in (4, 25, 100):
            labels = f"{count} labels a class"
            for title, kind in (("one loss", "semi-supervised"), ("labels only", "labels only")):
                cells = _row_of(runs, f"{kind}, {steps} steps, {labels}", ENDS)
                yield row(f"{labels}, {title}", cells)
            yield row(f"{labels}, probe on the teachers' features", _probes_of(runs, count)[1])


def summary() -> Claims:
    """What the README's table says of integers and of training."""
    precision = result("precision")
    speed, accuracy = precision["speed"]["engines"], precision["accuracy"]
    names = [name for name in speed if " int8 " in name]
    faster = sorted(1 / speed[name]["p50_ms_over_fp32"] for name in names)
    files = sorted(100 * speed[name]["artefact_mb_over_fp32"] for name in names)
    lost = sorted(accuracy["engines"][name]["mean_drop"] for name in names)
    yield (
        f"{faster[0]:.1f} to {faster[-1]:.1f} × faster, {files[0]:.0f} to {files[-1]:.0f} % of the "
        f"file; {lost[0]:.2f} to {lost[-1]:.2f} points of accuracy lost "
        f"({accuracy['subnets']} subnets, {accuracy['images']:,} photos)"
    )
    for name, of, columns, words in (
        ("transfer", "1200 steps, 25 labels", ("largest",), "one semi-supervised loss"),
        ("transfer_elpv", "300 steps, 100 labels", EIGHT, "with unlabelled photos"),
    ):
        runs = result(name)["runs"]
        one, labels_only = (
            _cell_of(runs, f"{kind}, {of} a class", columns) for kind in LOSSES.values()
        )
        yield f"{words} {one}, labels only {labels_only}"


def transfer_longer() -> Claims:
    """What trainings from a start of 2,500 steps of pretraining reach."""
    runs = result("transfer_longer")["runs"]
    for count, steps in ((25, ALONE_STEPS), (25, 900), (100, 1200)):
        cells = _row_of(runs, f"semi-supervised, {steps} steps, {count} labels a class", PICKED)
        yield f"| {count} labels a class, {steps:,} steps | {cells} |"
    few, more = (
        " and ".join(
            _cell_of(runs, f"semi-supervised, {run} labels a class", (p,))
            for p in ("≤ 15 MMACs", "≤ 7 MMACs")
        )
        for run in (f"{ALONE_STEPS} steps, 25", "1200 steps, 100")
    )
    yield f"25 labels a class {few}, 100 labels {more}"
    name = "labels only, equal time, 1380 steps, 25 labels a class"
    cells = _unpicked_row_of(runs, name)
    yield f"| 25 labels a class, labels only for as long as the 600 | {cells} |"


def scenarios() -> Claims:
    """One training for all devices, or one for each."""
    alone, together = result("scenarios")["runs"], result("transfer_longer")["runs"]
    together = {key: run for key, run in together.items() if key.endswith(("draw 0", "draw 1"))}
    seconds = alone[COSTS]["processor_s"]
    longer = round(ALONE_STEPS * seconds[SHARED] / sum(seconds[name] for name in TITLES))

    def accuracy(runs: Any, name: str, column: str) -> str:
        return _cell_of(runs, f"{name} steps, 25 labels a class", (column,))

    middle = accuracy(alone, f"middle alone, semi-supervised, {longer}", "middle")
    for name, title in TITLES.items():
        cells = [accuracy(together, f"semi-supervised, {ALONE_STEPS}", name)]
        for kind in ("semi-supervised", "labels only"):
            cells.append(accuracy(alone, f"{name} alone, {kind}, {ALONE_STEPS}", name))
        yield f"| {title} | {' | '.join(cells)} |"
    yield (
        f"{longer} steps of the middle one alone, which cost as much for three of them as the "
        f"supernet, give {middle}"
    )
    each = ", ".join(f"{seconds[name]:.2f}" for name in TITLES)
    yield f"{seconds[SHARED]:.2f} s for all subnets together, {each} s for one of these alone"
    yield f"the largest alone {seconds['largest']:.2f} s"
    for title, count, ratio in cost_ratios(seconds, [*TITLES]):
        if count > 1:
            yield f"{count} {title} {ratio:.1f} ×"


def _row_of(runs: Any, name: str, columns: Sequence[str]) -> str:
    """Returns the cells of a table's row, the mean of eight subnets at its end."""
    return f"{_cells_of(runs, name, columns)} | {_cell_of(runs, name, EIGHT)}"


def _unpicked_row_of(runs: Any, name: str) -> str:
    """Returns the same for `PICKED`, without the subnets that only a search finds."""
    largest, middle, smallest = (_cell_of(runs, name, (column,)) for column in ENDS)
    return f"{largest} | {middle} | | | {smallest} | {_cell_of(runs, name, EIGHT)}"


def _cells_of(runs: Any, name: str, columns: Sequence[str]) -> str:
    """Returns the cells of a table's row."""
    return " | ".join(_cell_of(runs, name, (column,)) for column in columns)


def _probes_of(runs: Any, count: int) -> tuple[str, str]:
    """Returns the accuracies of the small probe and of the teachers', of so many labels."""
    small, large = (
        _cell_of(runs, f"frozen-feature probe {name}, {count} labels a class", ("probe",))
        for name in ("lite0 128 px", "teachers")
    )
    return small, large


def _cell_of(runs: Any, name: str, columns: Sequence[str]) -> str:
    """Returns the mean over subnets and draws, with its spread where there are several draws."""
    rows = [runs[key]["accuracy"] for key in sorted(runs) if key.startswith(f"{name}, draw ")]
    values = [sum(row[column] for column in columns) / len(columns) for row in rows]
    return average(values) if len(values) > 1 else f"{100 * values[0]:.1f} %"


def _percents(accuracy: dict[str, float]) -> str:
    return joined(f"{100 * accuracy[name]:.1f}" for name in ENDS)
