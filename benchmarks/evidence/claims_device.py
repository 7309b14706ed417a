"""What README and docs say of what a device computes, how fast, and of damaged files."""

from __future__ import annotations

from collections.abc import Mapping

from tofa_edge.benchmarks.evidence.claims import Claims, power, result, short


def torch_parity() -> Claims:
    """What the device computes against torch, and how long its steps take."""
    found = result("torch_parity")
    whole = found["pretrained"]
    yield f"20 photos: largest logit difference | {_each(whole)} |"
    subnets = found["subnets"]
    yield (
        f"{subnets['subnets']} random Lite0 subnets, all {subnets['resolutions']} resolutions, "
        "same statistics, against torch: worst difference over the largest logit | "
        f"{_each(subnets['worst'])} |"
    )
    yield f"means by their channel's deviation | {_each(found['statistics'])} |"
    cutting = ", ".join(f"{name} {_ms(value)} ms" for name, value in found["cutting_ms"].items())
    yield f"cut, write and load a random Lite0 subnet, median | {cutting} |"
    rows = found["calibration_s"]
    calibrating = ", ".join(f"{name} {row['calibrating']:.2f}" for name, row in rows.items())
    decoding = [row["decoding"] for row in rows.values()]
    yield f"after {sum(decoding) / len(decoding):.1f} s of decoding | {calibrating} s |"
    extra = ", ".join(
        f"{name} {row['extra']} beyond {row['before']} MB"
        for name, row in found["calibration_mb"].items()
    )
    yield f"with 64 photos at 224 px: memory at its peak beyond that of the process | {extra} |"
    calls = found["call_ms"]["onnxruntime"]
    yield "; ".join(
        f"{size} {row['model']:.2f} to {row['bare']:.2f} ms" for size, row in calls.items()
    )
    yield f"beyond numpy | {found['import_ms']:.0f} ms |"


def accuracy_prediction() -> Claims:
    """How well the accuracy of unseen subnets is expected."""
    found = result("accuracy_prediction")
    many, few = (found[f"{count} validation images"] for count in (1000, 100))
    texts = []
    for row in (many, few):
        level = short(100 * row["mean_error_but_for_level"], 1)
        texts.append(f"mean error {100 * row['mean_error']:.1f} points, {level} but for the")
    taus = [short(value, 2) for value in (many["tau"], found["tau_of_macs"], few["tau"])]
    yield f"Kendall's τ {taus[0]} (MACs alone {taus[1]}), {texts[0]} common level"
    yield f"τ {taus[2]}, {texts[1]} level"
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


def engine_parity() -> Claims:
    """How far engines are from the reference."""
    found = result("engine_parity")
    engines = [f"{name} cpu fp32 1t" for name in ("onnxruntime", "openvino", "tflite")]
    each = [power(found["random"][engine]["worst_difference"]) for engine in engines]
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


def fuzz_bundle() -> Claims:
    """What became of damaged and hostile bundles."""
    found = result("fuzz_bundle")["damages"]["all"]
    assert not found["violation"]
    yield (
        f"| {found['cases']:,} damaged or hostile bundles (`make fuzz`) | none accepted wrongly; "
        f"slowest {found['slowest ms'] / 1000:.2f} s, {found['peak MB']} MB"
    )


def demo() -> Claims:
    """What the demo finds."""
    found = result("demo")
    right = set(found["imagenet_right_of_20"].values())
    assert len(right) == 1
    yield f"names {right.pop()} of 20 ImageNet photos right with every engine"
    for row in found["budgets"]:
        latency, budget = row["latency"], row["budget_ms"]
        engine, _, precision, _ = row["engine"].split()
        bound = "" if budget is None else f"{budget:.2f} ms "
        yield (
            f"| {bound}| {engine} {precision} | {row['input_size']} px | {row['mmacs']} | "
            f"{latency['p50_ms']:.2f} ms | {latency['p95_ms']:.2f} ms | "
            f"{100 * row['accuracy']:.1f} % |"
        )
    yield (
        f"{found['seconds']:.0f} s without the installing, "
        f"{found['budgets'][0]['test_photos']} photos"
    )


def _each(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {power(value)}" for name, value in values.items())


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
