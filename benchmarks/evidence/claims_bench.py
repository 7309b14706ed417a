"""What README and docs say of the bench suite and of peers, rendered from the stored results."""

from __future__ import annotations

from statistics import median

from tofa_edge.benchmarks.evidence.claims import Claims, power, result


def disturbances() -> Claims:
    """Whether planted disturbances are called by their names."""
    for row in result("disturbances")["rows"]:
        yield f"| {row['planted']} | {row['expected']} | {row['found']} of {row['of']} |"


def repeatability() -> Claims:
    """How far benches of one network are from each other."""
    found = result("repeatability")
    said, valid = found["summary"], [row["latency"] for row in found["benches"] if row["valid"]]
    cells = []
    for name in ("p50_ms", "p99_ms"):
        middle = median(row[name] for row in valid)
        kept = max(abs(row[name] / middle - 1) for row in valid)
        cells.append(f"{_percent(said[f'{name}_farthest'])} ({_percent(kept)} of the valid)")
    yield (
        f"| {said['benches']} benches of one network, {said['engine'].split()[0]}, one thread | "
        f"p50 within {cells[0]} of their median, p99 within {cells[1]}; {said['flagged']} flagged |"
    )


def compare_trials() -> Claims:
    """How often `compare` is wrong."""
    found = result("compare_trials")["summary"]
    pairs = found["pairs"]
    yield (
        f"{pairs} pairs of identical runs, and on {pairs} with one slowed down by "
        f"{_percent(found['planted'])} | {found['false_alarms']} false alarms; "
        f"{found['found']} found"
    )
    yield (
        f"| `compare`: {pairs} pairs of identical runs | {found['false_alarms']} false alarms at "
        f"{_percent(found['allowed'])} |"
    )
    yield (
        f"| `compare`: {pairs} pairs, the second slowed down by {_percent(found['planted'])} | "
        f"{found['found']} found |"
    )


def measuring_overhead() -> Claims:
    """What measuring costs."""
    for row in result("measuring_overhead")["rows"]:
        low, high = row["quartiles"]
        yield (
            f"| measuring against a bare loop, the {row['subnet']} subnet, p50 | "
            f"{100 * row['overhead']:+.1f} % (quartiles {100 * low:+.1f} to {100 * high:+.1f}) |"
        )


def peers() -> Claims:
    """The once-for-all package's way beside ours."""
    found = result("peers")["once_for_all"]
    theirs, ours, faster = found["theirs"], found["ours"], found["times_faster"]
    newest, former = theirs["newest exporter"], theirs["former exporter"]
    yield (
        f"| time of a cut, median of {found['subnets']} | {1e3 * ours['cut_s']:.0f} ms | "
        f"{newest['cut_s']:.1f} s, {faster['dynamo']:.0f} × | {former['cut_s']:.2f} s, "
        f"{faster['former']:.0f} × |"
    )
    yield (
        f"| peak memory of the process | {ours['peak_mib']:.0f} MiB | "
        f"{newest['peak_mib']:.0f} MiB | {former['peak_mib']:.0f} MiB |"
    )
    yield (
        f"{1e3 * ours['cut_s']:.0f} ms against {newest['cut_s']:.1f} s, or {former['cut_s']:.2f} s "
        f"with torch's former exporter; {ours['peak_mib']:.0f} against {former['peak_mib']:.0f} to "
        f"{newest['peak_mib']:.0f} MiB of memory, {ours['installed_mib']:.0f} against "
        f"{theirs['installed_mib']:.0f} MiB installed"
    )
    installed = f"{theirs['installed_mib']:.0f} MiB"
    yield (
        f"| installed, with all that is needed | {ours['installed_mib']:.0f} MiB | {installed} | "
        f"{installed} |"
    )
    yield f"differ by {power(found['difference_of_logits'])} of the largest logit"


def peers_tflite() -> Claims:
    """TFLite's own converter beside our writer."""
    found = result("peers_tflite")
    bits = "to the bit" if found["difference_of_logits"] == 0 else "nearly"
    yield (
        f"TensorFlow's own converter takes {found['times_faster']:.0f} × as long as our writer for "
        f"the same network; both files give the same logits {bits}, and ours takes "
        f"{found['latency_over_theirs']:.2f} of the time of theirs"
    )


def fixed_network() -> Claims:
    """Searched subnets against the fixed network at lower resolutions."""
    found = result("fixed_network")
    for row in found["budgets"]:
        low, high = row["gain_interval"]
        yield (
            f"| {row['fixed_px']} px, {row['mmacs'][0]:.1f} MMACs, {row['fixed_p50_ms']:.2f} ms | "
            f"{row['mmacs'][1]:.1f} MMACs, {row['chosen_over_fixed']:.2f} × the time | "
            f"{100 * row['fixed_accuracy']:.1f} % | {100 * row['chosen_accuracy']:.1f} % | "
            f"{100 * row['gain']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) |"
        )
    gains = [100 * row["gain"] for row in found["budgets"] if row["gain_interval"][0] > 0]
    worse = sum(row["gain_interval"][1] < 0 for row in found["budgets"])
    words = {1: "one", 2: "two", 3: "three", 4: "four", 5: "all"}
    each = " and ".join(f"{gain:.1f}" for gain in gains)
    yield f"({each} points), worse by a point in {words[worse]}"
    yield (
        f"better beyond the interval in {words[found['better_beyond_the_interval']]} of "
        f"{len(found['budgets'])} budgets"
    )
    yield f"{found['steps']['fixed']} steps of the fixed network take the MACs of"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
