"""What README and docs say of accuracy, engines and training, rendered from the stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tofa_edge.benchmarks.claims import Claims, average, result

PICKED = ("largest", "middle", "≤ 15 MMACs", "≤ 7 MMACs", "smallest")
ENDS = ("largest", "middle", "smallest")
DRAWS = (0, 1, 2)
EIGHT = (*ENDS, *(f"random {number}" for number in range(5)))  # subnets of a study


def accuracy_prediction() -> Claims:
    """How well the accuracy of unseen subnets is expected."""
    found = result("accuracy_prediction")
    many, few = (found[f"{count} validation images"] for count in (1000, 100))
    yield (
        f"Kendall's τ {_tau(many['tau'])} (MACs alone {_tau(found['tau_of_macs'])}), mean error "
        f"{100 * many['mean_error']:.1f} points, {_tenths(many['mean_error_but_for_level'])} but "
        "for the common level"
    )
    yield (
        f"τ {_tau(few['tau'])}, mean error {100 * few['mean_error']:.1f} points, "
        f"{_tenths(few['mean_error_but_for_level'])} but for the level"
    )
    yield f"accuracy of {found['unseen_subnets']} unseen subnets on {found['test_images']:,} test"


def searching() -> Claims:
    """How fast the search is, and what it misses."""
    found = result("searching")
    assert not any(found["points_missed"])
    yield (
        f"{round(found['candidates_per_s'], -3):,} candidates a second; against all "
        f"{found['subnets']:,} subnets of a small space: nothing missed for "
        f"{len(found['points_missed'])} budgets"
    )


def parity() -> Claims:
    """How far engines are from the reference."""
    found = result("parity")
    engines = [f"{name} cpu fp32 1t" for name in ("onnxruntime", "openvino", "tflite")]
    each = [f"{found['random'][e]['worst_difference']:.1e}".replace("e-0", "e-") for e in engines]
    worst = " | ".join(each)
    yield "onnxruntime {}, openvino {}, tflite {}".format(*each)
    yield (
        f"| {found['random'][engines[0]]['subnets']} random Lite0 subnets against the reference, "
        f"worst difference over the largest logit | {worst} |"
    )
    same = [found["trained"][engine] for engine in engines]
    assert all(row["same"] == row["photos"] for row in same)
    cells = " | ".join(f"all {row['photos']:,}" for row in same)
    yield f"the same top-1 as the reference | {cells} |"
    tflite, onnx = (found["writing_ms"][name]["processor"] for name in ("tflite", "onnx"))
    yield (
        f"takes {tflite['median']:.0f} ms (worst {tflite['worst']:.0f}) as TFLite and "
        f"{onnx['median']:.0f} ms (worst {onnx['worst']:.0f}, the largest) as ONNX"
    )


def engines() -> Claims:
    """Which engine is fastest, and whether it is chosen."""
    one, every = result("engines_one_thread"), result("engines")
    names = ("onnxruntime", "openvino", "tflite")
    rows = [one["engines"][f"{name} cpu fp32 1t"] for name in names]
    cells = " | ".join(f"{r['fastest_of']}; {r['median_slower']:.2f}" for r in rows)
    yield (
        f"| {one['subnets']} subnets, one thread: fastest of; median over the fastest | {cells} |"
    )
    sums = [
        sum(row["fastest_of"] for key, row in every["engines"].items() if key.startswith(name))
        for name in names
    ]
    yield f"| the same, one and two threads: fastest of | {' | '.join(map(str, sums))} |"
    yield (
        f"within 3 % of the fastest for {one['within_3_percent']} of {one['subnets']} subnets, "
        f"worst {100 * (one['worst'] - 1):.0f} %. With all threads for "
        f"{every['within_3_percent']} of {every['subnets']}, worst "
        f"{100 * (every['worst'] - 1):.0f} %"
    )


def transfer() -> Claims:
    """What unlabelled photos are worth."""
    runs = result("transfer")["runs"]

    def drawn(name: str, column: str) -> list[float]:
        keys = (f"{name}, 25 labels a class, draw {draw}" for draw in DRAWS)
        return [runs[key]["accuracy"][column] for key in keys]

    for title, name in (
        ("one semi-supervised loss", "semi-supervised, 1200 steps"),
        ("labels only", "labels only, 1200 steps"),
    ):
        cells = " | ".join(average(drawn(name, column)) for column in PICKED)
        yield f"| {title} | {cells} |"
    yield f"127 MMACs | {average(drawn('frozen-feature probe lite0 128 px', 'probe'))} |"
    yield f"720 MMACs | {average(drawn('frozen-feature probe teachers', 'probe'))} |"
    longer = runs["labels only, equal time, 2760 steps, 25 labels a class, draw 0"]["accuracy"]
    yield f"2,760 steps of them, which take as long, give {_percents(longer)} %"


def ranking() -> Claims:
    """How well agreement with the largest subnet ranks."""
    draws = result("ranking")["draws"]
    divergence, macs = ([_tau(row[key]) for row in draws] for key in ("tau_divergence", "tau_macs"))
    yield (
        f"ranks {draws[0]['subnets']} random subnets with Kendall's τ of {_and(divergence)} (three "
        f"draws) against their accuracy on the test photos; MACs alone with {_and(macs)}"
    )


def transfer_elpv() -> Claims:
    """What unlabelled photos are worth where labels are drawn evenly and the world is not."""
    for title, kind in (
        ("one semi-supervised loss", "semi-supervised"),
        ("labels only", "labels only"),
    ):
        cells = [average(_on_elpv(kind, column)) for column in ENDS]
        yield f"| {title} | {' | '.join(cells)} | {average(_mean_on_elpv(kind))} |"
    runs = result("transfer_elpv")["runs"]
    keys = (f"frozen-feature probe teachers, 100 labels a class, draw {n}" for n in DRAWS)
    probes = [runs[key]["accuracy"]["probe"] for key in keys]
    yield f"| probe on the teachers' features | {average(probes)} |"


def _on_elpv(kind: str, column: str) -> list[float]:
    runs = result("transfer_elpv")["runs"]
    keys = (f"{kind}, 300 steps, 100 labels a class, draw {draw}" for draw in DRAWS)
    return [runs[key]["accuracy"][column] for key in keys]


def _mean_on_elpv(kind: str) -> list[float]:
    each = zip(*(_on_elpv(kind, column) for column in EIGHT), strict=True)
    return [sum(accuracies) / len(EIGHT) for accuracies in each]


def transfer_fashion_mnist() -> Claims:
    """What unlabelled photos are worth with ten labels of a class."""
    runs = result("transfer_fashion_mnist")["runs"]
    draws = sorted({int(name.rsplit(" ", 1)[1]) for name in runs})

    def drawn(kind: str, columns: Sequence[str]) -> str:
        rows = [runs[f"{kind}, 10 labels a class, draw {number}"]["accuracy"] for number in draws]
        values = [sum(row[column] for column in columns) / len(columns) for row in rows]
        return average(values) if len(values) > 1 else f"{100 * values[0]:.1f} %"

    for title, kind in (
        ("one semi-supervised loss", "semi-supervised, 400 steps"),
        ("labels only", "labels only, 400 steps"),
    ):
        cells = [drawn(kind, columns) for columns in (*((name,) for name in ENDS), EIGHT)]
        yield f"| {title} | {' | '.join(cells)} |"
    probe = drawn("frozen-feature probe teachers", ("probe",))
    yield f"| probe on the teachers' features | {probe} |"


def scenarios() -> Claims:
    """One training for all devices, or one for each."""
    alone, shared = result("scenarios")["runs"], result("transfer")["runs"]
    all_of_them = shared["semi-supervised, 1200 steps, 25 labels a class, draw 0"]["accuracy"]

    def run(name: str, kind: str) -> Any:
        return alone[f"{name} alone, {kind}, 1200 steps, 25 labels a class, draw 0"]

    kinds = ("semi-supervised", "labels only")
    titles = {
        "middle": "middle, 14.5 MMACs",
        "random 1": "random, 12.6",
        "smallest": "smallest, 4.2",
    }
    for name, title in titles.items():
        trained = [run(name, kind)["accuracy"][name] for kind in kinds]
        accuracies = (all_of_them[name], *trained)
        yield f"| {title} | {' | '.join(f'{100 * value:.1f} %' for value in accuracies)} |"
    seconds = [", ".join(f"{run(name, kind)['cpu_s']:.0f}" for name in titles) for kind in kinds]
    draws = [
        shared[f"semi-supervised, 1200 steps, 25 labels a class, draw {draw}"]["cpu_s"]
        for draw in DRAWS
    ]
    shared_s = f"{round(min(draws), -1):,.0f} to {round(max(draws), -1):,.0f} s"
    yield f"{shared_s}; one subnet alone by the same loss {seconds[0]} s"
    yield (
        f"| processor time | {shared_s} for all | {' | '.join(f'{each} s' for each in seconds)} |"
    )


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
        average(
            [runs[f"{kind}, 25 labels a class, draw {n}"]["accuracy"]["largest"] for n in DRAWS]
        )
        for kind in ("semi-supervised, 1200 steps", "labels only, 1200 steps")
    )
    yield f"one semi-supervised loss {everything}, labels only {alone}"
    cells, labelled = (average(_mean_on_elpv(kind)) for kind in ("semi-supervised", "labels only"))
    yield f"with unlabelled photos {cells}, labels only {labelled}"


def _percents(accuracy: dict[str, float]) -> str:
    return _and([f"{100 * accuracy[name]:.1f}" for name in ENDS])


def _and(values: list[str]) -> str:
    *first, last = values
    return f"{', '.join(first)} and {last}"


def _tau(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def _tenths(share: float) -> str:
    return f"{100 * share:.1f}".removeprefix("0")


CLAIMS: tuple[Callable[[], Claims], ...] = (
    accuracy_prediction,
    searching,
    parity,
    engines,
    transfer,
    ranking,
    transfer_elpv,
    transfer_fashion_mnist,
    scenarios,
    summary,
)
