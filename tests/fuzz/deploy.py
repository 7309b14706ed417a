"""Deploys hostile bundles, and checks that each gives a network that works or one clear error.

    python -m tests.fuzz.deploy --cases 2000 --seed 0 --jobs 2 --resume cases.jsonl

Sizes and hashes of each bundle are in order; its space, weights, golden cases, predictor, photos,
words or finalists are not. Each is deployed in a process of its own, with 30 s of time and 1 GB of
memory for it and all it starts. Every case follows from the seed and its number alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz.hostile.case import Case, case, made
from tests.fuzz.watched import Ending, watched
from tofa_edge.benchmarks.studies.command import store

MOST_BYTES = 1_000_000_000
MOST_SECONDS = 30.0
MAX_SECONDS = 2.0  # that deploy may measure
MOST_MESSAGE = 600
OUTPUT_SHOWN = 800
KEPT = Path("build/fuzz_deploy")
MOST_KEPT_BYTES = 2_000_000_000
GOOD = ("deployed", "refused")
Deploys = Callable[[Path, Case], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        seed: of the run.
        number: of the case.
        case: in words.
        mutations: their names.
        what: was done to the bundle.
        verdict: "deployed", "refused", or the kind of failure.
        message: of the error, or what went wrong.
        seconds: that deploying took.
        peak_mb: of memory, in MB.
    """

    seed: int
    number: int
    case: str
    mutations: tuple[str, ...]
    what: str
    verdict: str
    message: str
    seconds: float
    peak_mb: int


def deployed(path: Path, which: Case) -> dict[str, Any]:
    """Deploys a bundle and asks the network for one prediction; returns what came of it."""
    import numpy as np

    import tofa_edge

    options = tofa_edge.DeployOptions(backend=which.engine, max_seconds=MAX_SECONDS)
    asked: dict[str, Any] = {"latency_ms": which.latency_ms, "options": options}
    found: dict[str, Any]
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            opened = tofa_edge.Bundle.open(path)
            if which.finalist and which.latency_ms is None and opened.listed_finalists:
                asked["subnet"] = opened.listed_finalists[0].subnet
            with tofa_edge.deploy(opened, remember=False, **asked) as model:
                shares = model(image).probabilities
                found = {"finite": bool(np.isfinite(shares).all()), "sum": float(shares.sum())}
        except tofa_edge.TofaError as error:
            found = {"error": type(error).__name__, "message": str(error)}
    return {**found, "warnings": [str(item.message) for item in caught]}


def judge(folder: Path, seed: int, number: int, work: Deploys = deployed) -> Outcome:
    """Makes a case within an empty folder, deploys it there, and judges what happens."""
    which, path = case(seed, number), folder / "case.tofa"
    for part in ("making", "deploying"):
        (folder / part).mkdir()
    making = watched(partial(_make, seed, which, path), folder / "making", 4 * MOST_BYTES, 60)
    if making.report is None:
        raise RuntimeError(f"case {seed} {number} was not made: {making.cause}: {making.output}")
    what = str(making.report["what"])
    ending = watched(lambda: work(path, which), folder / "deploying", MOST_BYTES, MOST_SECONDS)
    verdict, message = _verdict(ending)
    size = round(ending.peak_bytes / 1e6)
    words = (str(which), which.mutations, what, verdict, message)
    return Outcome(seed, number, *words, round(ending.seconds, 2), size)


def _make(seed: int, which: Case, path: Path) -> dict[str, Any]:
    content, what = made(seed, which)
    path.write_bytes(content)
    return {"what": what}


def _verdict(ending: Ending) -> tuple[str, str]:
    """Returns the kind of an ending, the worst first, and what is to be said of it."""
    report = ending.report
    if report is None:
        over = ending.cause.startswith("over")  # then the innermost call comes first
        return ending.cause, ending.output[:OUTPUT_SHOWN] if over else ending.output[-OUTPUT_SHOWN:]
    if ending.left:
        return "left behind", f"{', '.join(ending.left[:5])} after {report}"
    if "error" in report:
        message = report["message"]
        if not message.isprintable() or not 5 < len(message) <= MOST_MESSAGE:
            return "no clear line", f"{len(message)} characters: {message!a}"
    elif not report["finite"] or abs(report["sum"] - 1) > 1e-3:
        return "no probabilities", f"finite: {report['finite']}, sum {report['sum']}"
    if report["warnings"]:
        return "warning", "; ".join(dict.fromkeys(report["warnings"]))
    if "error" in report:
        return "refused", f"{report['error']}: {report['message']}"
    return "deployed", ""


def _one(keep: Path, work: Deploys, seed: int, number: int) -> Outcome:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcome = judge(folder, seed, number, work)
        if outcome.verdict not in GOOD:
            keep.mkdir(parents=True, exist_ok=True)
            if sum(item.stat().st_size for item in keep.iterdir()) < MOST_KEPT_BYTES:
                shutil.copy(folder / "case.tofa", keep / f"{seed}-{number}.tofa")
    return outcome


def run(
    seed: int, numbers: Sequence[int], jobs: int, keep: Path, work: Deploys = deployed
) -> Iterator[Outcome]:
    """Yields the outcomes of cases as they come; bundles that fail are kept in a folder."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process that forks has one thread
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_import)
    try:
        yield from pool.map(partial(_one, keep, work, seed), numbers)
    finally:
        pool.shutdown(cancel_futures=True)


def _import() -> None:
    """Imports what every case needs, so that forks have it; engines are left to the cases."""
    import tofa_edge.live.deploy
    import tofa_edge.selftest.records  # noqa: F401


def summary(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """Returns how often each verdict came, for each mutation and for all cases."""
    found: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        for name in (*outcome.mutations, "all"):
            found.setdefault(name, Counter())[outcome.verdict] += 1
    ordered = sorted(found, key=lambda name: (name == "all", name))
    return {name: dict(found[name].most_common()) for name in ordered}


def table(outcomes: Sequence[Outcome]) -> str:
    """Returns the summary as text: a line for each mutation, a column for each verdict."""
    rows = summary(outcomes)
    failures = sorted(rows["all"].keys() - set(GOOD))
    lines = [f"{'mutation':24}" + "".join(f"{title:>18}" for title in (*GOOD, *failures))]
    for name, counts in rows.items():
        cells = (counts.get(title, 0) for title in (*GOOD, *failures))
        lines.append(f"{name:24}" + "".join(f"{count:>18}" for count in cells))
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    largest = max(outcomes, key=lambda outcome: outcome.peak_mb)
    lines.append(f"slowest: case {slowest.number}, {slowest.seconds} s")
    lines.append(f"largest: case {largest.number}, {largest.peak_mb} MB")
    return "\n".join(lines)


def _resumed(path: Path | None, seed: int) -> list[Outcome]:
    if path is None or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        Outcome(**{**row, "mutations": tuple(row["mutations"])})
        for row in rows
        if row["seed"] == seed
    ]


def main(arguments: Sequence[str] | None = None, work: Deploys = deployed) -> int:
    """Runs the fuzzer; returns 1 if any case fails."""
    parser = argparse.ArgumentParser(description="Deploys hostile bundles.")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the cases to run")
    parser.add_argument("--resume", type=Path, help="file of outcomes: read, then added to")
    parser.add_argument("--keep", type=Path, default=KEPT, help="folder of bundles that fail")
    parser.add_argument("--out", type=Path, help="file for the summary")
    options = parser.parse_args(arguments)
    outcomes = _resumed(options.resume, options.seed)
    known = {outcome.number for outcome in outcomes}
    wanted = range(options.cases) if options.only is None else options.only
    left = [number for number in wanted if number not in known]
    for outcome in run(options.seed, left, options.jobs, options.keep, work):
        outcomes.append(outcome)
        if options.resume is not None:
            with options.resume.open("a") as stream:
                stream.write(json.dumps(asdict(outcome)) + "\n")
        if outcome.verdict not in GOOD or options.only is not None:
            print(_line(outcome), flush=True)
        elif sys.stderr.isatty():
            print(f"\r{len(outcomes)} of {len(known) + len(left)}", end="", file=sys.stderr)
    print(table(outcomes))
    if options.out is not None:
        store(options.out, {"seed": options.seed, "mutations": summary(outcomes)})
    return 1 if any(outcome.verdict not in GOOD for outcome in outcomes) else 0


def _line(outcome: Outcome) -> str:
    about = f"{outcome.seconds} s, {outcome.peak_mb} MB: {outcome.case}: {outcome.what}"
    again = f"--seed {outcome.seed} --only {outcome.number}"
    return f"{outcome.verdict.upper()} {again}: {about}\n  {outcome.message}"


if __name__ == "__main__":
    sys.exit(main())
