"""What README and docs say of what a device computes, how fast, and of damaged files."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean, median
from typing import Any

from tofa_edge.benchmarks.evidence.claims import Claims, power, result, row, short

ENGINES = ("onnxruntime", "openvino", "tflite")


def torch_parity() -> Claims:
    """What the device computes against torch, and how long its steps take."""
    stored = result("torch_parity")
    yield f"20 photos: largest logit difference | {_each(stored['pretrained'])} |"
    subnets = stored["subnets"]
    yield (
        f"{subnets['subnets']} random Lite0 subnets, all {subnets['resolutions']} resolutions, "
        "same statistics, against torch: worst difference over the largest logit | "
        f"{_each(subnets['worst'])} |"
    )
    yield f"means by their channel's deviation | {_each(stored['statistics'])} |"
    cutting = ", ".join(f"{name} {_ms(value)} ms" for name, value in stored["cutting_ms"].items())
    yield f"cut, write and load a random Lite0 subnet, median | {cutting} |"
    times = stored["calibration_s"]
    calibrating = ", ".join(f"{name} {time['calibrating']:.2f}" for name, time in times.items())
    decoding = mean(time["decoding"] for time in times.values())
    yield f"after {decoding:.1f} s of decoding | {calibrating} s |"
    extra = ", ".join(
        "{} {extra} beyond {before} MB".format(name, **sizes)
        for name, sizes in stored["calibration_mb"].items()
    )
    yield f"with 64 photos at 224 px: memory at its peak beyond that of the process | {extra} |"
    calls = stored["call_ms"]["onnxruntime"]
    yield "; ".join("{} {model:.2f} to {bare:.2f} ms".format(s, **c) for s, c in calls.items())
    yield f"beyond numpy | {stored['import_ms']:.0f} ms |"


def reduced_decoding() -> Claims:
    """What decoding large JPEGs at a fraction of their size changes."""
    stored = result("reduced_decoding")
    right = [100 * stored[f"cells_right_{name}"] for name in ("reduced", "whole")]
    changed = 100 * stored["cells_changed_share"]
    yield (
        f"{stored['cells']:,} solar cells: {right[0]:.1f} % right reduced, {right[1]:.1f} % whole; "
        f"{changed:.1f} % named otherwise"
    )
    yield f"{stored['per_second']:.0f} a second on one core, {stored['per_second_whole']:.0f} whole"


def accuracy_prediction() -> Claims:
    """How well the accuracy of unseen subnets is expected."""
    stored = result("accuracy_prediction")
    texts, taus = [], [short(stored["tau_of_macs"], 2)]
    for count in (1000, 100):
        figures = stored[f"{count} validation images"]
        level = short(100 * figures["mean_error_but_for_level"], 1)
        texts.append(f"mean error {100 * figures['mean_error']:.1f} points, {level} but for the")
        taus.append(short(figures["tau"], 2))
    yield f"Kendall's τ {taus[1]} (MACs alone {taus[0]}), {texts[0]} common level"
    yield f"τ {taus[2]}, {texts[1]} level"
    yield f"accuracy of {stored['unseen_subnets']} unseen subnets on {stored['test_images']:,} test"


def searching() -> Claims:
    """How fast the search is, and what it misses."""
    stored = result("searching")
    assert not any(stored["points_missed"])
    yield (
        f"{round(stored['candidates_per_s'], -3):,} candidates a second; against all "
        f"{stored['subnets']:,} subnets of a small space: nothing missed for "
        f"{len(stored['points_missed'])} budgets"
    )


def engine_parity() -> Claims:
    """How far engines are from the reference."""
    stored = result("engine_parity")
    random, trained = (
        [stored[kind][f"{name} cpu fp32 1t"] for name in ENGINES] for kind in ("random", "trained")
    )
    worst = [power(engine["worst_difference"]) for engine in random]
    yield ", ".join(f"{name} {value}" for name, value in zip(ENGINES, worst, strict=True))
    subnets = f"{random[0]['subnets']} random Lite0 subnets against the reference"
    yield row(f"{subnets}, worst difference over the largest logit", *worst)
    assert all(engine["same"] == engine["photos"] for engine in trained)
    cells = row(*(f"all {engine['photos']:,}" for engine in trained))
    yield f"the same top-1 as the reference {cells}"
    tflite, onnx = (stored["writing_ms"][name]["processor"] for name in ("tflite", "onnx"))
    yield (
        f"takes {tflite['median']:.0f} ms (worst {tflite['worst']:.0f}) as TFLite and "
        f"{onnx['median']:.0f} ms (worst {onnx['worst']:.0f}, the largest) as ONNX"
    )


def engines() -> Claims:
    """Which engine is fastest, and whether it is chosen."""
    one, every = result("engines_one_thread"), result("engines")
    rows = [one["engines"][f"{name} cpu fp32 1t"] for name in ENGINES]
    cells = (f"{each['fastest_of']}; {each['median_slower']:.2f}" for each in rows)
    title = f"{one['subnets']} subnets, one thread: fastest of; median over the fastest"
    yield row(title, *cells)
    sums = [
        sum(each["fastest_of"] for key, each in every["engines"].items() if key.startswith(name))
        for name in ENGINES
    ]
    yield row("the same, one and two threads: fastest of", *map(str, sums))
    (close, worst), (close_all, worst_all) = (
        (f"{each['within_3_percent']} of {each['subnets']}", f"{100 * (each['worst'] - 1):.0f} %")
        for each in (one, every)
    )
    yield (
        f"within 3 % of the fastest for {close} subnets, worst {worst}. With all threads for "
        f"{close_all}, worst {worst_all}"
    )


def fuzz_bundle() -> Claims:
    """What became of damaged and hostile bundles."""
    damages = result("fuzz_bundle")["damages"]["all"]
    assert not damages["violation"]
    yield (
        f"| {damages['cases']:,} damaged or hostile bundles (`make fuzz`) | none accepted wrongly; "
        f"slowest {damages['slowest ms'] / 1000:.2f} s, {damages['peak MB']} MB"
    )


def demo() -> Claims:
    """What the demo finds."""
    stored = result("demo")
    (right,) = set(stored["imagenet_right_of_20"].values())
    yield f"names {right} of 20 ImageNet photos right with every engine"
    for deployed in stored["budgets"]:
        latency, budget = deployed["latency"], deployed["budget_ms"]
        engine, _, precision, _ = deployed["engine"].split()
        bound = "" if budget is None else f"{budget:.2f} ms "
        times = (f"{latency[name]:.2f} ms" for name in ("p50_ms", "p95_ms"))
        size, accuracy = f"{deployed['input_size']} px", f"{100 * deployed['accuracy']:.1f} %"
        cells = row(f"{engine} {precision}", size, str(deployed["mmacs"]), *times, accuracy)
        yield f"| {bound}{cells}"
    photos = stored["budgets"][0]["test_photos"]
    yield f"{stored['seconds']:.0f} s without the installing, {photos} photos"


def _each(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {power(value)}" for name, value in values.items())


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def busy_machine() -> Claims:
    """What is chosen beside other programs, and how long starts take."""
    runs = result("busy_machine")["runs"]

    def part(name: str) -> dict[str, Mapping[str, Any]]:
        split = ((key.rpartition(", "), run) for key, run in runs.items())
        return {
            f"{of} {last.removeprefix(name)}": run
            for (of, _, last), run in split
            if last.rpartition(" ")[0] == name
        }

    calm, busy, again = part("quiet"), part("loaded"), part("measured quiet")
    near = sum(run["accuracy"] >= calm[key]["accuracy"] - 0.01 for key, run in busy.items())
    yield f"| expected accuracy within a point of the quiet choice | {near} of {len(busy)} |"
    yield f"| within the budget, measured again when it was quiet | {_kept(again)} |"
    times = [[run["deploy_s"] for run in rows.values()] for rows in (calm, busy)]
    medians = "; ".join(f"{median(each):.1f} s" for each in times)
    yield f"| time of a deployment, median: quiet; beside them | {medians} |"
    kept = _kept(part("observed"), OBSERVED)
    yield f"| observed latency kept in a second run beside them | {kept} |"
    for name, rows in (("one thread", calm), ("any number of threads", part("free"))):
        over = sum(run["again_ms"] > 1.05 * run["budget_ms"] for run in rows.values())
        used = median(run["again_ms"] / run["budget_ms"] for run in rows.values())
        told = f"{over} of {len(rows)}; {used:.2f}"
        yield f"| quiet, {name}: over 1.05 × the budget; median used | {told} |"
    workers = [run for key, run in runs.items() if key.endswith(", workers")]
    distinct = ", ".join(str(run["distinct"]) for run in workers)
    ratios = ", ".join(f"{run['last_s'] / run['alone_s']:.1f} ×" for run in workers)
    told = f"{distinct}; {ratios}"
    yield f"| 6 processes at once: choices; the last one's time over one alone | {told} |"
    starts = [run for key, run in runs.items() if key.endswith(", starts")]
    first = ", ".join(f"{run['first_s']:.1f} s" for run in starts)
    warm = ", ".join(f"{run['warm_s']:.2f} s" for run in starts)
    yield f"| first deployment; a later one, beyond imports | {first}; {warm} |"


OBSERVED = "observed_ms"


def _kept(rows: Mapping[str, Mapping[str, Any]], figure: str = "again_ms") -> str:
    chosen = [run for run in rows.values() if figure in run]
    return f"{sum(run[figure] <= run['budget_ms'] for run in chosen)} of {len(chosen)}"


def accuracy_warnings() -> Claims:
    """How often check photos warn of honest bundles, and of spoiled ones."""
    cases = result("accuracy_warnings")["cases"]
    honest = [row for name, row in cases.items() if not name.startswith("spoiled")]
    warned, count = (sum(row[name] for row in honest) for name in ("warned", "of"))
    title = "honest bundles, and frames of four cameras as a quarter: warned of"
    yield f"| {title} | {warned} of {count} |"
    for name, judged in cases.items():
        if name.startswith("spoiled"):
            yield f"| {name}: warned of | {judged['warned']} of {judged['of']} |"
