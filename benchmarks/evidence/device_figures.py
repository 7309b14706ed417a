"""Figures of devices: what is computed, how fast, what is chosen, and whether bench is right."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

from tofa_edge.benchmarks.evidence.results import FOLDER, each, percent, power, result, table

ENGINES = ("onnxruntime", "openvino", "tflite")
WHAT = ("what", "figure")
KEPT = (
    ("within the budget, measured again when it was quiet", "measured quiet", "again_ms"),
    ("observed latency kept in a second run beside them", "observed", "observed_ms"),
)
PUBLIC = {
    "accel_nasbench, device unseen": "accel_nasbench, leave one device out, k=10",
    "accel_nasbench, family unseen": "accel_nasbench, leave the family out, k=10",
    "help_fbnet, HELP's protocol (theirs .910)": "help_fbnet, HELP's protocol, k=10",
    "nb201, HELP's protocol (theirs .932)": "nb201, HELP's protocol, k=10",
}


def computed() -> str:
    """What a device computes against torch, and what that takes."""
    stored, damages = result("torch_parity"), result("fuzz_bundle")["damages"]["all"]
    seconds = {name: row["calibrating"] for name, row in stored["calibration_s"].items()}
    rows = [
        ("largest Lite0 against `efficientnet-lite-pytorch`, 224 px: difference of the largest "
         "logit", each(stored["pretrained"])),
        (f"{stored['subnets']['subnets']} random Lite0 subnets against torch, over the largest "
         "logit", each(stored["subnets"]["worst"])),
        ("cut, write and load a random subnet, median, ms", each(stored["cutting_ms"], ".0f")),
        ("BatchNorm calibration with 512 photos at 64 px, one thread, s", each(seconds, ".2f")),
        (f"{damages['cases']:,} damaged or hostile bundles: accepted wrongly; slowest; memory",
         f"{damages['violation']}; {damages['slowest ms']} ms; {damages['peak MB']} MB"),
    ]  # fmt: skip
    return table(WHAT, rows, "torch_parity", "fuzz_bundle")


def installed() -> str:
    """What an installation weighs, and how fast it starts again."""
    rows = []
    for name, row in result("install_size")["installations"].items():
        start = row.get("warm_start_s")
        first = f"{start['process']:.2f} s" if start else ""
        rows.append((name, f"{row['size_mb']:.0f} MB", first))
    columns = ("extra", "size", "second start, whole process")
    return table(columns, rows, "install_size")


def predicted() -> str:
    """How well latency, accuracy and memory of unseen subnets are predicted."""
    names = ("local_latency_prediction", "latency_prediction", "accuracy_prediction")
    local, public, accuracy = map(result, names)
    here, search = local["targets"]["onnxruntime cpu fp32 1t"], result("searching")
    rows = [
        ("latency of unseen Lite0 subnets here, one thread, mean error: ours; a line of the MACs; "
         "two measurements of one subnet", "; ".join(percent(share) for share in (
             here["ours"]["mean_error"], here["line of macs"]["mean_error"],
             here["repeat_noise"]))),
        *((f"{name}, ten measured, mean Spearman's ρ", f"{public[key]['spearman']['mean']:.3f}")
          for name, key in PUBLIC.items()),
        *((f"accuracy of {accuracy['unseen_subnets']} unseen subnets, {count}: Kendall's τ",
           f"{accuracy[count]['tau']:.2f}; MACs alone {accuracy['tau_of_macs']:.2f}")
          for count in ("1000 validation images", "100 validation images")),
        (f"search: candidates a second; points missed of {search['subnets']:,} subnets, at most",
         f"{round(search['candidates_per_s'], -3):,}; {max(search['points_missed']):.1f}"),
    ]  # fmt: skip
    return table(WHAT, rows, *names, "searching")


def budgets() -> str:
    """Whether what is deployed keeps its budget."""
    rows = []
    for title, name in (("one thread", "budgets_one_thread"), ("threads free", "budgets")):
        stored = result(name)
        shares = [row["over_budget"] for row in stored["budgets"]]
        seconds = [row["seconds"] for row in stored["budgets"]]
        summary = stored["summary"]
        rows.append((
            title, str(len(shares)), str(summary["above_1.05"]), f"{max(shares):.2f}",
            percent(median(shares), 0), percent(summary["mean_prediction_error"]),
            f"{median(seconds):.1f} s", f"{max(seconds):.1f} s",
        ))  # fmt: skip
    columns = ("", "budgets", "above 1.05 × the budget when measured again", "worst, × the budget",
               "median used", "prediction off by", "choosing, median", "longest")  # fmt: skip
    return table(columns, rows, "budgets_one_thread", "budgets")


def engines() -> str:
    """How far engines are from the reference, and which is fastest."""
    parity, one, free = result("engine_parity"), result("engines_one_thread"), result("engines")
    rows = []
    for name in ENGINES:
        key = f"{name} cpu fp32 1t"
        random, trained = parity["random"][key], parity["trained"][key]
        fastest = sum(r["fastest_of"] for k, r in free["engines"].items() if k.startswith(name))
        rows.append((
            name, power(random["worst_difference"]), f"{trained['same']} of {trained['photos']}",
            str(one["engines"][key]["fastest_of"]),
            f"{one['engines'][key]['median_slower']:.2f}", str(fastest),
        ))  # fmt: skip
    columns = ("", "worst difference from the reference, over the largest logit",
               "same class as the reference", f"fastest of {one['subnets']}, one thread",
               "median over the fastest", "fastest, one and two threads")  # fmt: skip
    return table(columns, rows, "engine_parity", "engines_one_thread", "engines")


def integers() -> str:
    """What 8-bit integers bring and cost."""
    stored = result("precision")
    drops, rows = stored["accuracy"]["engines"], []
    for name, figures in stored["speed"]["engines"].items():
        if name in drops:
            low, high = drops[name]["interval"]
            engine, _, kind, _ = name.split()
            rows.append((
                f"{engine} {kind}", f"{figures['p50_ms']:.2f} ms",
                f"{1 / figures['p50_ms_over_fp32']:.1f} ×",
                percent(figures["artefact_mb_over_fp32"], 0),
                percent(figures["growth_mb_over_fp32"], 0),
                f"{drops[name]['mean_drop']:.2f} ({low:.2f} to {high:.2f})",
                f"{drops[name]['worst_drop']:.1f}",
            ))  # fmt: skip
    columns = ("", "p50", "faster than its fp32", "file, of fp32's", "memory, of fp32's",
               "points lost, mean with 95 % interval", "worst subnet")  # fmt: skip
    return table(columns, rows, "precision")


def demo() -> str:
    """What the demo finds."""
    rows = []
    for deployed in result("demo")["budgets"]:
        engine, _, precision, _ = deployed["engine"].split()
        budget, latency = deployed["budget_ms"], deployed["latency"]
        rows.append((
            "none (largest subnet)" if budget is None else f"{budget:.2f} ms",
            f"{engine} {precision}", f"{deployed['input_size']} px", str(deployed["mmacs"]),
            f"{latency['p50_ms']:.2f} ms", f"{latency['p95_ms']:.2f} ms",
            percent(deployed["accuracy"]),
        ))  # fmt: skip
    columns = ("p95 ≤", "engine", "input", "MMACs", "p50", "p95", "accuracy")
    return table(columns, rows, "demo")


def peers() -> str:
    """Others' ways beside ours."""
    stored, tflite = result("peers")["once_for_all"], result("peers_tflite")
    theirs, ours = stored["theirs"], stored["ours"]
    ways = [ours, theirs["newest exporter"], theirs["former exporter"]]
    rows = [
        ("time of a cut, median", *(f"{way['cut_s']:.3f} s" for way in ways)),
        ("peak memory", *(f"{way['peak_mib']:.0f} MiB" for way in ways)),
        ("installed", *(f"{way['installed_mib']:.0f} MiB" for way in (ours, theirs, theirs))),
        ("writing TFLite; TensorFlow's converter, × our time",
         "1", f"{tflite['times_faster']:.0f}", ""),
    ]  # fmt: skip
    columns = ("", "ours", "`ofa`, torch's newest exporter", "torch's former exporter")
    return table(columns, rows, "peers", "peers_tflite")


def frames() -> str:
    """What frames of the device's camera bring and cost."""
    kept: dict[tuple[str, ...], list[float]] = {}
    for row in result("frames")["rows"]:
        if "gain" in row:
            what = row["frames"].partition(":")[0]
            kept.setdefault((row["camera"], what, row["guard"]), []).append(100 * row["gain"])
    rows = [(*case, f"{min(gains):+.1f} to {max(gains):+.1f}") for case, gains in kept.items()]
    return table(("camera", "frames", "a quarter (guarded) or all", "points"), rows, "frames")


def trusted() -> str:
    """Whether bench can be trusted."""
    rows = [
        (f"planted: {trial['planted']}; called {trial['expected']}",
         f"{trial['found']} of {trial['of']}")
        for trial in result("disturbances")["rows"]
    ]  # fmt: skip
    repeated, pairs = result("repeatability")["summary"], result("compare_trials")["summary"]
    rows += [
        (f"{repeated['benches']} benches of one network: p50 and p99 at most off their median",
         f"{percent(repeated['p50_ms_farthest'])}, {percent(repeated['p99_ms_farthest'])}"),
        (f"`compare`: {pairs['pairs']} pairs of identical runs, false alarms",
         str(pairs["false_alarms"])),
        (f"`compare`: {pairs['pairs']} pairs, the second slower by {percent(pairs['planted'], 0)}, "
         "found", str(pairs["found"])),
    ]  # fmt: skip
    return table(WHAT, rows, "disturbances", "repeatability", "compare_trials")


def busy() -> str:
    """What is chosen beside other programs."""
    parts: dict[str, dict[str, Any]] = {}
    for key, run in result("busy_machine")["runs"].items():
        of, _, last = key.rpartition(", ")
        kind, _, number = last.rpartition(" ")
        parts.setdefault(kind, {})[f"{of} {number}"] = run
    calm, loaded = parts["quiet"], parts["loaded"]
    near = sum(run["accuracy"] >= calm[key]["accuracy"] - 0.01 for key, run in loaded.items())
    seconds = [median(run["deploy_s"] for run in rows.values()) for rows in (calm, loaded)]
    rows = [
        ("expected accuracy within a point of the quiet choice", f"{near} of {len(loaded)}"),
        ("time of a deployment, median: quiet; beside three busy loops",
         f"{seconds[0]:.1f} s; {seconds[1]:.1f} s"),
    ]  # fmt: skip
    for title, kind, figure in KEPT:
        chosen = [run for run in parts[kind].values() if figure in run]
        kept = sum(run[figure] <= run["budget_ms"] for run in chosen)
        rows.append((title, f"{kept} of {len(chosen)}"))
    return table(WHAT, rows, "busy_machine")


def warnings() -> str:
    """How often check photos warn."""
    cases = result("accuracy_warnings")["cases"]
    rows = [(name, f"{judged['warned']} of {judged['of']}") for name, judged in cases.items()]
    return table(("check photos", "warned of"), rows, "accuracy_warnings")


def headlines() -> str:
    """The README's six figures."""
    one, once = result("budgets_one_thread")["budgets"], result("peers")["once_for_all"]
    start = result("install_size")["installations"]["tflite"]
    speed, drops = result("precision")["speed"]["engines"], result("precision")["accuracy"]
    factors = [1 / row["p50_ms_over_fp32"] for name, row in speed.items() if " int8 " in name]
    lost = mean(row["mean_drop"] for row in drops["engines"].values())
    training = result("training_protocol")["runs"]["as it is, draw 0"]["accuracy"]
    theirs = once["theirs"]["newest exporter"]["cut_s"]
    rows = [
        (f"{len(one)} latency budgets, each choice measured again: above 1.05 × the budget",
         f"{sum(row['over_budget'] > 1.05 for row in one)}", "budgets_one_thread"),
        ("choosing a network for the first time, median",
         f"{median(row['seconds'] for row in one):.1f} s", "budgets_one_thread"),
        ("second start, whole process; installed with TFLite",
         f"{start['warm_start_s']['process']:.1f} s; {start['size_mb']:.0f} MB", "install_size"),
        ("8-bit integers: faster; points of accuracy lost",
         f"{min(factors):.1f} to {max(factors):.1f} ×; {lost:.2f}", "precision"),
        ("CIFAR-10-JPEG, 25 labels a class: largest network; smallest",
         f"{percent(training['largest'])}; {percent(training['smallest'])}", "training_protocol"),
        ("cutting a network here; with the `ofa` package",
         f"{1000 * once['ours']['cut_s']:.0f} ms; {theirs:.1f} s", "peers"),
    ]  # fmt: skip
    lines = [(what, figure, f"[`{name}`]({FOLDER}/{name}.json)") for what, figure, name in rows]
    return table(("what", "figure", "reproduce by"), lines)
