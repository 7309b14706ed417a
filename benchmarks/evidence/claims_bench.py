"""What README and docs say of the benchmark suite and of peers, rendered from the results."""

from __future__ import annotations

from statistics import median

from tofa_edge.benchmarks.evidence.claims import Claims, power, result, row


def disturbances() -> Claims:
    """Whether planted disturbances are called by their names."""
    for trial in result("disturbances")["rows"]:
        yield "| {planted} | {expected} | {found} of {of} |".format(**trial)


def repeatability() -> Claims:
    """How far benchmarks of one network are from each other."""
    stored = result("repeatability")
    summary = stored["summary"]
    valid = [bench["latency"] for bench in stored["benches"] if bench["valid"]]
    cells = []
    for name in ("p50_ms", "p99_ms"):
        middle = median(latency[name] for latency in valid)
        farthest = _percent(max(abs(latency[name] / middle - 1) for latency in valid))
        cells.append(f"{_percent(summary[f'{name}_farthest'])} ({farthest} of the valid)")
    yield row(
        f"{summary['benches']} benches of one network, {summary['engine'].split()[0]}, one thread",
        f"p50 within {cells[0]} of their median, p99 within {cells[1]}; "
        f"{summary['flagged']} flagged",
    )


def compare_trials() -> Claims:
    """How often `compare` is wrong."""
    summary = result("compare_trials")["summary"]
    planted, allowed = _percent(summary["planted"]), _percent(summary["allowed"])
    identical = f"{summary['pairs']} pairs of identical runs"
    alarms, right = f"{summary['false_alarms']} false alarms", f"{summary['found']} found"
    yield (
        f"{identical}, and on {summary['pairs']} with one slowed down by {planted} | {alarms}; "
        f"{right}"
    )
    yield row(f"`compare`: {identical}", f"{alarms} at {allowed}")
    yield row(f"`compare`: {summary['pairs']} pairs, the second slowed down by {planted}", right)


def measuring_overhead() -> Claims:
    """What measuring costs."""
    for measured in result("measuring_overhead")["rows"]:
        over, low, high = (100 * x for x in (measured["overhead"], *measured["quartiles"]))
        title = f"measuring against a bare loop, the {measured['subnet']} subnet, p50"
        yield row(title, f"{over:+.1f} % (quartiles {low:+.1f} to {high:+.1f})")


def peers() -> Claims:
    """The once-for-all package's way beside ours."""
    stored = result("peers")["once_for_all"]
    theirs, ours, faster = stored["theirs"], stored["ours"], stored["times_faster"]
    newest, former = theirs["newest exporter"], theirs["former exporter"]
    cut, longest, longer = (
        f"{1e3 * ours['cut_s']:.0f} ms",
        f"{newest['cut_s']:.1f} s",
        f"{former['cut_s']:.2f} s",
    )
    peaks = [f"{way['peak_mib']:.0f}" for way in (ours, newest, former)]
    installed, all_installed = (f"{way['installed_mib']:.0f}" for way in (ours, theirs))
    yield row(
        f"time of a cut, median of {stored['subnets']}",
        cut,
        f"{longest}, {faster['dynamo']:.0f} ×",
        f"{longer}, {faster['former']:.0f} ×",
    )
    yield row("peak memory of the process", *(f"{peak} MiB" for peak in peaks))
    yield (
        f"{cut} against {longest}, or {longer} with torch's former exporter; {peaks[0]} against "
        f"{peaks[2]} to {peaks[1]} MiB of memory, {installed} against {all_installed} MiB installed"
    )
    cells = [f"{installed} MiB", *[f"{all_installed} MiB"] * 2]
    yield row("installed, with all that is needed", *cells)
    yield f"differ by {power(stored['difference_of_logits'])} of the largest logit"


def peers_tflite() -> Claims:
    """TFLite's own converter beside our writer."""
    stored = result("peers_tflite")
    bits = "to the bit" if stored["difference_of_logits"] == 0 else "nearly"
    yield (
        f"TensorFlow's own converter takes {stored['times_faster']:.0f} × as long as our writer "
        f"for the same network; both files give the same logits {bits}, and ours takes "
        f"{stored['latency_over_theirs']:.2f} of the time of theirs"
    )


def fixed_network() -> Claims:
    """Searched subnets against the fixed network at lower resolutions."""
    stored = result("fixed_network")
    budgets = stored["budgets"]
    for budget in budgets:
        gain, low, high = (100 * x for x in (budget["gain"], *budget["gain_interval"]))
        fixed, chosen = budget["mmacs"]
        yield row(
            f"{budget['fixed_px']} px, {fixed:.1f} MMACs, {budget['fixed_p50_ms']:.2f} ms",
            f"{chosen:.1f} MMACs, {budget['chosen_over_fixed']:.2f} × the time",
            f"{100 * budget['fixed_accuracy']:.1f} %",
            f"{100 * budget['chosen_accuracy']:.1f} %",
            f"{gain:+.1f} ({low:+.1f} to {high:+.1f})",
        )
    gains = [100 * budget["gain"] for budget in budgets if budget["gain_interval"][0] > 0]
    worse = sum(budget["gain_interval"][1] < 0 for budget in budgets)
    words = {1: "one", 2: "two", 3: "three", 4: "four", 5: "all"}
    each = " and ".join(f"{gain:.1f}" for gain in gains)
    yield f"({each} points), worse by a point in {words[worse]}"
    better = words[stored["better_beyond_the_interval"]]
    yield f"better beyond the interval in {better} of {len(budgets)} budgets"
    yield f"{stored['steps']['fixed']} steps of the fixed network take the MACs of"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
