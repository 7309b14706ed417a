"""What is chosen beside other programs, is it within the budget, and how long does a start take?

`python -m tofa_edge.benchmarks.studies.busy_machine BUNDLE... --out busy_machine.json` deploys
for budgets between what the smallest and the largest subnet take, on a quiet machine and beside
three loops that keep it busy, and measures each choice again in a process of its own. An
unfinished run goes on where it was; `--part quiet` does one part and stops.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.backends.support import usable_cores
from tofa_edge.benchmarks.studies.command import Results, Row, answer, parser
from tofa_edge.benchmarks.studies.planted_faults import busy_cores
from tofa_edge.bundle.bundle import Bundle

ENGINES = ("onnxruntime", "tflite", "openvino")
LOOPS, WORKERS, WARM_STARTS = 3, 6, 5
LOWEST, HIGHEST = 1.2, 1.1  # budgets, over the latency of the smallest and the largest subnet
TOLERANCE = 1.05  # of the budget
POINT = 0.01  # of accuracy
CHOICE = ("subnet", "backend", "precision", "threads")
ONE = """
import json, sys, time
import numpy as np, tofa_edge
from tofa_edge.backends import backend
from tofa_edge.live import deploy
from tofa_edge.measurement.stopwatch import Stopwatch, timed
asked = json.loads(sys.argv[1])
if asked.get("backend"):
    backend(asked["backend"]).targets()
imported = time.perf_counter()
subnet = asked.get("subnet") and tofa_edge.Subnet.from_json(asked["subnet"])
limits = {name: asked[name] for name in ("latency_ms", "latency") if name in asked}
budget = tofa_edge.Budget(**limits, **({"max_accuracy_drop": None} if subnet else {}))
names = [name for name in ("backend", "threads", "precision") if asked.get(name)]
options = tofa_edge.DeployOptions(**{name: asked[name] for name in names})
remember = asked.get("remember", False)
try:
    model = tofa_edge.deploy(
        asked["bundle"], budget=budget, subnet=subnet, options=options, remember=remember
    )
except tofa_edge.BudgetError as error:
    sys.exit(print(json.dumps({"refused": str(error)})))
with model:
    spent, chosen = time.perf_counter() - imported, model.explanation.chosen
    target = model.engine.target
    row = {
        "subnet": model.subnet.to_json(), "backend": model.engine.backend.name,
        "precision": target.precision, "threads": target.threads, "accuracy": chosen.accuracy,
        "mmacs": chosen.macs / 1e6, "p50_ms": chosen.latency.p50_ms,
        "p95_ms": chosen.latency.p95_ms, "deploy_s": spent,
    }
    if asked.get("again"):
        image = np.random.default_rng(1).integers(0, 256, (model.input_size,) * 2 + (3,), np.uint8)
        call = lambda: model(image)
        row["again_ms"] = Stopwatch(least_runs=200, most_runs=400, seconds=2).time(call).p95_ms
        row["observed_ms"] = 1e3 * float(np.quantile(timed(call, 400), 0.95))
print(json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()}))
"""


@dataclass(frozen=True)
class BudgetSeries:
    """A bundle, the number of budgets, and the engine; none named takes all. 0 threads are free."""

    results: Results
    bundle: Path
    engine: str
    budgets: int
    threads: int

    @property
    def asked(self) -> Row:
        words = {"backend": self.engine, "threads": self.threads}
        return {"bundle": str(self.bundle)} | {name: word for name, word in words.items() if word}

    @property
    def name(self) -> str:
        threads = f"{self.threads} thread" if self.threads else "free threads"
        return f"{self.bundle.stem}, {self.engine or 'any engine'} on {threads}"

    def kept(self, part: str, number: int | str) -> Row:
        return self.results.rows.get(f"{self.name}, {part} {number}", {})

    def each(self, part: str, make: Callable[[int, float], Row], loops: int = 0) -> None:
        """Adds a row for each budget, between what is observed beside so many loops."""
        names = [f"{self.name}, {part} {number}" for number in range(self.budgets)]
        if all(name in self.results.rows for name in names):
            return
        for number, (name, budget) in enumerate(zip(names, self.limits(loops), strict=True)):
            row = partial(lambda n, b: {"budget_ms": b, **make(n, b)}, number, budget)
            self.results.once(name, row)

    def limits(self, loops: int = 0) -> list[float]:
        """Returns the budgets in ms; the first deployment tests the engines, beside all others.

        Beside `loops` they are between the observed latencies, else between own ones.
        """
        space, beside = Bundle.open(self.bundle).space, f" beside {loops}" if loops else ""
        name, figure = f"{self.name}, range{beside}", "observed_ms" if loops else "again_ms"
        prime(self.bundle, self.engine)

        def ends() -> Row:
            subnets = {"smallest_ms": space.smallest(), "largest_ms": space.largest()}
            words = {key: {**self.asked, "subnet": each.to_json()} for key, each in subnets.items()}
            with busy_cores(loops):
                return {key: one(again=True, **each)[figure] for key, each in words.items()}

        self.results.once(name, ends)
        row = self.results.rows[name]
        low, high = LOWEST * row["smallest_ms"], HIGHEST * row["largest_ms"]
        return [round(float(each), 4) for each in np.geomspace(low, high, self.budgets)]


def one(folder: str | None = None, **asked: Any) -> Row:
    """Returns what a deployment in a process of its own chose, with a cache in a folder."""
    environment = {**os.environ, "XDG_CACHE_HOME": folder} if folder else dict(os.environ)
    row: Row = answer("-c", ONE, json.dumps(asked), env=environment)
    return row


@cache
def prime(bundle: Path, engine: str) -> None:
    """Has the engines tested, so that no deployment that is timed does it."""
    smallest = Bundle.open(bundle).space.smallest().to_json()
    one(bundle=str(bundle), subnet=smallest, **({"backend": engine} if engine else {}))


def again(row: Row, bundle: Path) -> Row:
    """Returns the latency of what a row chose, measured in another process."""
    if "subnet" not in row:
        return {"refused": row.get("refused", "no choice to measure")}
    found = one(bundle=str(bundle), again=True, **{name: row[name] for name in CHOICE})
    return {name: found[name] for name in ("again_ms", "observed_ms")}


def chosen_and_again(subject: BudgetSeries, budget: float, **more: Any) -> Row:
    """Returns what is chosen for a budget, and how long that takes in another process."""
    row = one(latency_ms=budget, **subject.asked, **more)
    return {**row, **again(row, subject.bundle)}


def quiet(subject: BudgetSeries) -> None:
    """One thread, nothing beside, measured again."""
    subject.each("quiet", lambda _, budget: chosen_and_again(subject, budget))


def loaded(subject: BudgetSeries) -> None:
    """The same budgets beside three busy loops."""

    def make(_number: int, budget: float) -> Row:
        with busy_cores(LOOPS):
            return one(latency_ms=budget, **subject.asked)

    subject.each("loaded", make)


def measured_quiet(subject: BudgetSeries) -> None:
    """What was chosen beside the loops, measured without them."""
    chosen = partial(subject.kept, "loaded")
    subject.each("measured quiet", lambda number, _: again(chosen(number), subject.bundle))


def observed(subject: BudgetSeries) -> None:
    """Chosen by the observed latency beside the loops, and measured beside them again."""

    def make(_number: int, budget: float) -> Row:
        with busy_cores(LOOPS):
            return chosen_and_again(subject, budget, latency="observed")

    subject.each("observed", make, LOOPS)


def free(subject: BudgetSeries) -> None:
    """Any engine and number of threads, nothing beside, measured again."""
    subject.each("free", lambda _, budget: chosen_and_again(subject, budget))


def workers(subject: BudgetSeries) -> None:
    """Six processes that deploy at once from an empty cache, and one alone."""
    budgets = subject.limits()
    asked = {**subject.asked, "latency_ms": budgets[len(budgets) // 2], "remember": True}

    def at_once(count: int) -> tuple[float, list[Row]]:
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(count) as pool:
            rows = list(pool.map(lambda _: one(folder, **asked), range(count)))
        return time.perf_counter() - begun, rows

    def make() -> Row:
        (alone_s, _), (last_s, rows) = at_once(1), at_once(WORKERS)
        choices = {tuple(row.get(name) for name in (*CHOICE, "refused")) for row in rows}
        times = {"alone_s": round(alone_s, 2), "last_s": round(last_s, 2)}
        return {"distinct": len(choices), "refused": sum("refused" in row for row in rows), **times}

    subject.results.once(f"{subject.name}, workers", make)


def starts(subject: BudgetSeries) -> None:
    """The first deployment from an empty cache, then some that remember it."""
    budgets = subject.limits()
    asked = {**subject.asked, "latency_ms": budgets[len(budgets) // 2], "remember": True}

    def make() -> Row:
        with tempfile.TemporaryDirectory() as folder:
            first, *warm = [one(folder, **asked) for _ in range(1 + WARM_STARTS)]
        if any("refused" in row for row in (first, *warm)):
            return {"refused": "the budget in the middle"}
        later = [row["deploy_s"] for row in warm]
        return {"first_s": first["deploy_s"], "warm_s": round(float(np.median(later)), 3)}

    subject.results.once(f"{subject.name}, starts", make)


PARTS: dict[str, Callable[[BudgetSeries], None]] = {
    "quiet": quiet, "loaded": loaded, "measured quiet": measured_quiet, "observed": observed,
    "free": free, "workers": workers, "starts": starts,
}  # fmt: skip
FREE = ("free", "workers", "starts")


def rows_of(results: Results, part: str) -> dict[str, Row]:
    """Returns the rows of a part by bundle, engine and number of the budget."""
    split = ((name.rpartition(", "), row) for name, row in results.rows.items())
    found = {
        f"{of} {last.removeprefix(part)}".strip(): row
        for (of, _, last), row in split
        if last == part or last.rpartition(" ")[0] == part
    }
    return dict(sorted(found.items()))


def within(rows: dict[str, Row], figure: str, limit: float = 1.0) -> str:
    """Returns how many rows have a figure of at most the budget times a limit, in words."""
    chosen = [row for row in rows.values() if figure in row]
    kept = sum(row[figure] <= limit * row["budget_ms"] for row in chosen)
    refused = sum("refused" in row for row in rows.values())
    return f"{kept} of {len(chosen)}, {refused} budgets refused (wanted: all)"


def about_choices(results: Results) -> Iterator[str]:
    """Yields what was chosen beside the loops, with the limits that it is held against."""
    calm, busy = rows_of(results, "quiet"), rows_of(results, "loaded")
    pairs = [(calm[n], busy[n]) for n in calm.keys() & busy.keys() if "accuracy" in calm[n]]
    near = sum(row.get("accuracy", 0.0) >= one["accuracy"] - POINT for one, row in pairs)
    beside = f"one thread, {LOOPS} busy loops"
    words = f"expected accuracy within {100 * POINT:g} point of the quiet choice"
    yield f"{beside}: {words}: {near} of {len(pairs)} (wanted: all)"
    for rows, title in ((calm, "one thread, quiet"), (busy, beside)):
        seconds = [row["deploy_s"] for row in rows.values() if "deploy_s" in row] or [0.0]
        yield f"{title}: deployed in {np.median(seconds):.1f} s, at most {max(seconds):.1f} s"
    again_ms = within(rows_of(results, "measured quiet"), "again_ms")
    yield f"{beside}: chosen there, within the budget when quiet: {again_ms}"
    observed_ms = within(rows_of(results, "observed"), "observed_ms")
    yield f"{beside}: observed latency within the budget: {observed_ms}"


def about_starts(results: Results) -> Iterator[str]:
    """Yields what a whole machine chose, and how long starts take."""
    for part, title in (("quiet", "one thread, quiet"), ("free", "free threads, quiet")):
        rows = rows_of(results, part)
        shares = [row["again_ms"] / row["budget_ms"] for row in rows.values() if "again_ms" in row]
        if shares:
            used = f"median share of the budget {np.median(shares):.0%}"
            again_ms = within(rows, "again_ms", TOLERANCE)
            yield f"{title}: within {TOLERANCE} × the budget: {again_ms}; {used}"
    for name, row in rows_of(results, "workers").items():
        ratio = f"the last after {row['last_s'] / row['alone_s']:.1f} × the time of one"
        yield f"{name}: {WORKERS} at once: {row['distinct']} different choices (wanted: 1), {ratio}"
    for name, row in rows_of(results, "starts").items():
        if "refused" not in row:
            later = f"later {row['warm_s']:.2f} s beyond imports"
            yield f"{name}: first {row['first_s']:.1f} s, {later}"


def main() -> None:
    command = parser(
        __doc__, budgets=10, engine={"choices": ENGINES, "default": ""},
        part={"choices": tuple(PARTS)}, out=Path("benchmarks/results/busy_machine.json"),
    )  # fmt: skip
    command.add_argument("bundles", type=Path, nargs="+")
    given = command.parse_args()
    results = Results(given.out, cores=usable_cores())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # no profile of this machine helps
        for part, run in PARTS.items():
            for bundle in given.bundles if given.part in (None, part) else ():
                threads = 0 if part in FREE else 1
                run(BudgetSeries(results, bundle.resolve(), given.engine, given.budgets, threads))
    print("\n".join([*about_choices(results), *about_starts(results)]))


if __name__ == "__main__":
    main()
