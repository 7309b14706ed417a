"""What README and docs say of the stored results, rendered from them: one function for each result.

A text here stands in a page word for word. Whoever measures anew runs
`python -m tofa_edge.benchmarks.evidence.evidence`, which names the sentences that no longer hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"

Claims = Iterator[str]


@cache
def result(name: str) -> Any:
    """Returns a stored result."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def frames() -> Claims:
    """What frames of the device's camera bring and cost."""
    stored = result("frames")

    def points(camera: str, guard: str, frames: str) -> str:
        gains = [
            100 * abs(row["gain"])
            for row in stored["rows"]
            if (row["camera"], row.get("guard")) == (camera, guard)
            and row["frames"].startswith(frames)
        ]
        low, high = f"{min(gains):.0f}", f"{max(gains):.0f}"
        return low if low == high else f"{low} to {high}"

    same, blurred = "same camera", "blurred"
    yield (
        f"On {stored['test_photos']:,} CIFAR-10-JPEG photos, mean of three subnets, frames of one "
        f"class alone cost {points(same, 'unguarded', 'one class')} points, and "
        f"{points(same, 'guarded', 'one class')} as a quarter; where the camera is blurred, frames "
        f"of all classes are worth {points(blurred, 'guarded', 'all classes')} points as a quarter "
        f"and {points(blurred, 'unguarded', 'all classes')} alone"
    )


def quantisation_aware() -> Claims:
    """What training for integers brings."""
    stored = result("quantisation_aware")
    without, with_it = (
        "{mean:.2f} points ({low:.2f} to {high:.2f})".format(**stored["supernets"][name]["drop"])
        for name in ("as trained", "quantisation-aware")
    )
    lower = -stored["gain"]["fp32 over float"]["mean"]
    yield (
        f"int8 costs {without} without it and {with_it.replace(' points', '')} with it, and fp32 "
        f"ends {lower:.2f} points lower than after as many steps in float"
    )


def precision() -> Claims:
    """What integers bring and cost."""
    stored = result("precision")
    for name, figures in stored["speed"]["engines"].items():
        time = figures["p50_ms_over_fp32"]
        if time != 1:
            shares = (figures["artefact_mb_over_fp32"], figures["growth_mb_over_fp32"])
            percents = (f"{100 * share:.0f} %" for share in shares)
            yield row(_target(name), f"{figures['p50_ms']:.2f} ms", f"{1 / time:.1f} ×", *percents)
    yield f"takes {stored['speed']['quantising_64_images_s']:.1f} s (64 photos)"
    accuracy = stored["accuracy"]
    yield (
        f"accuracy on {accuracy['images']:,} photos never seen, mean over {accuracy['subnets']} "
        f"subnets: {accuracy['fp32']:.2f} % in fp32; "
    )
    drops = accuracy["engines"]
    for name, drop in drops.items():
        low, high = drop["interval"]
        yield f"{_target(name)} {drop['mean_drop']:.2f} ({low:.2f} to {high:.2f})"
    expected = [drop["mean_drop_expected_without_labels"] for drop in drops.values()]
    yield (
        f"the worst subnet loses {max(drop['worst_drop'] for drop in drops.values()):.1f}. The "
        f"estimate without labels says {min(expected):.2f} to {max(expected):.2f}"
    )
    for budget in stored["budgets"]["budgets"]:
        cells = (
            f"{100 * kind['right']:.1f} % ({kind['mmacs']:.1f})"
            if "right" in kind
            else "nothing fits"
            for kind in (budget["free"], budget["float"])
        )
        yield row(f"{budget['budget_ms']:.2f} ms", *cells)


def _target(name: str) -> str:
    engine, _, kind, _ = name.split()
    return f"{engine} {kind}"


def install_size() -> Claims:
    """What an installation weighs, and how fast it starts again."""
    stored = result("install_size")["installations"]
    size = {name: f"{installed['size_mb']:.0f}" for name, installed in stored.items()}
    largest = stored["base"]["largest_mb"]
    yield (
        f"base {size['base']} MB, of it numpy with OpenBLAS "
        f"{largest['numpy'] + largest['numpy.libs']:.0f}; with `[tflite]` {size['tflite']}, "
        f"`[onnxruntime]` {size['onnxruntime']}, `[openvino]` {size['openvino']} MB"
    )
    starts = {name: each["warm_start_s"] for name, each in stored.items() if name != "base"}
    first, *others = sorted(starts, key=lambda name: float(starts[name]["process"]))
    whole = "{process:.2f} s (import {import:.2f}, deploy {deploy:.2f})"
    yield f"{first} {whole.format(**starts[first])}"
    for name in others:
        yield f"{name} {'{process:.2f} ({import:.2f}, {deploy:.2f})'.format(**starts[name])}"
    yield f"| the second start, whole process | {starts[first]['process']:.1f} s |"


def local_latency_prediction() -> Claims:
    """How well latencies are predicted on the machine of the results."""
    targets = result("local_latency_prediction")["targets"]
    one, two = (targets[f"onnxruntime cpu fp32 {threads}t"] for threads in (1, 2))
    ours, line, scaled = (
        f"{100 * one[name]['mean_error']:.1f} %" for name in ("ours", "line of macs", "macs scaled")
    )
    yield (
        f"mean error {ours}, {100 * one['ours']['within_10_percent']:.1f} % within ±10 % (a line "
        f"of the MACs {line}, scaled MACs {scaled}; two measurements of one subnet differ by "
        f"{100 * one['repeat_noise']:.1f} %)"
    )
    yield (
        f"mean error {100 * two['ours']['mean_error']:.0f} %: two measurements of one subnet "
        f"differ by {100 * two['repeat_noise']:.0f} %"
    )


def latency_prediction() -> Claims:
    """How well latencies are predicted on public data."""
    stored = result("latency_prediction")
    for name in ("leave one device out", "leave the family out"):
        known = stored[f"accel_nasbench, {name}, k=10"]
        rho, error, within = (
            known[key]["mean"] for key in ("spearman", "error_percent", "within_10_percent")
        )
        yield row(f"{short(rho)}, {error:.1f} %, {within:.0f} %")
    for data, published in (("help_fbnet", "HELP .910 with 10"), ("nb201", "HELP .932 with 10")):
        ten, three = (
            short(stored[f"{data}, HELP's protocol, k={k}"]["spearman"]["mean"]) for k in (10, 3)
        )
        yield f"| {ten} ({three}); {published}"
    real = stored["help_fbnet, HELP's protocol, end-to-end devices, k=10"]["spearman"]
    yield row(f"{short(real['mean'])}, worst {short(real['worst'])} ({real['worst_device']})")
    boards = stored["ncnn boards, classification, k=10"]
    yield row(
        f"ncnn, {boards['boards']} boards, classification networks, the board unseen",
        f"mean error {boards['error_percent']['mean']:.1f} %, scaling the nearest board's "
        f"figures {boards['scaled_nearest_board_error_percent']:.1f} %",
    )
    chosen = stored["accel_nasbench, nine budgets, other devices known"]
    winners = chosen["choices"] - chosen["without_winner"]
    yield (
        f"at most {chosen['measurements']['most']} of them "
        f"| {_none(chosen['winners_over_1.05_budget'])} of {winners:,} winners above 1.05 × the "
        f"budget, {short(chosen['accuracy_points_lost']['mean'], 2)} points of accuracy lost; "
        f"{chosen['without_winner']} times no winner |"
    )


def memory() -> Claims:
    """How well the growth of a process is predicted."""
    stored = result("memory")
    onnx, tflite = stored["engines"]["onnxruntime"], stored["engines"]["tflite"]
    assert tflite["shipped_within_15_percent"] == 1
    yield (
        f"| memory, {stored['tested']} unseen subnets, growth of the process | onnxruntime mean "
        f"error {100 * onnx['shipped_mean_error']:.0f} %, "
        f"{100 * onnx['shipped_within_15_percent']:.0f} % within ±15 %; tflite "
        f"{100 * tflite['shipped_mean_error']:.0f} %, all within "
        f"±{100 * tflite['shipped_worst_error']:.0f} % |"
    )


def budgets() -> Claims:
    """Whether what was deployed keeps its budget, and how long choosing takes."""
    one, free = result("budgets_one_thread"), result("budgets")
    for stored in (one, free):
        assert all(row["measured_ms"] <= row["budget_ms"] for row in stored["budgets"])
    used, above, worst, off = _used(one)
    yield (
        f"all within when chosen; {_none(above)} of {len(one['budgets'])} above 1.05 × the budget "
        f"afterwards ({worst:.2f}); median {used:.0f} % of the budget used; prediction off by "
        f"{off:.1f} %"
    )
    used, above, worst, off = _used(free)
    yield (
        f"{_none(above)} of {len(free['budgets'])} above 1.05 × the budget (worst {worst:.2f}); "
        f"median {used:.0f} % of it used; prediction off by {off:.0f} %"
    )
    seconds = [[row["seconds"] for row in stored["budgets"]] for stored in (one, free)]
    low, high = sorted(median(each) for each in seconds)
    most = max(stored["summary"]["most_measurements"] for stored in (one, free))
    yield (
        f"median {low:.1f} to {high:.1f} s, longest {max(map(max, seconds)):.1f} s; at most {most} "
        "measurements"
    )


def _used(stored: Mapping[str, Any]) -> tuple[float, int, float, float]:
    """Returns the median % of the budget, how many are above, the worst share, the error in %."""
    shares = [row["over_budget"] for row in stored["budgets"]]
    summary = stored["summary"]
    used, off = 100 * median(shares), 100 * summary["mean_prediction_error"]
    return used, int(summary["above_1.05"]), max(shares), off


def _none(count: int) -> str:
    return {0: "none", 1: "one"}.get(count, str(count))


def short(value: float, digits: int = 3) -> str:
    """Returns a number below one as tables show it: without its zero."""
    return f"{value:.{digits}f}".removeprefix("0")


def power(value: float) -> str:
    """Returns a small number with two digits and a power of ten."""
    return f"{value:.1e}".replace("e-0", "e-")


def row(*cells: str) -> str:
    """Returns cells as a table's row."""
    return f"| {' | '.join(cells)} |"


def average(values: list[float]) -> str:
    """Returns the mean and the standard deviation of shares, in per cent."""
    return f"{100 * mean(values):.1f} ± {100 * stdev(values):.1f} %"


def joined(values: Iterable[str]) -> str:
    """Returns values as a list in words."""
    *first, last = values
    return f"{', '.join(first)} and {last}"
