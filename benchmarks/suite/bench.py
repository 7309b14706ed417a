"""`tofa-edge bench`: what a bundle does on this machine, as figures that can be kept and compared.

Every engine × precision × threads on one subnet, then the front of latency and accuracy, each point
predicted first and then measured. What the figures mean stands in `result_schema.json`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tofa_edge._version import __version__
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.backends.registry import working
from tofa_edge.benchmarks.report.write import SUFFIXES as PAGE_SUFFIXES
from tofa_edge.benchmarks.report.write import write_beside
from tofa_edge.benchmarks.result.bench_result import BenchedBundle, BenchResult
from tofa_edge.benchmarks.result.reading import write
from tofa_edge.benchmarks.result.row import Row, Size
from tofa_edge.benchmarks.suite.against import Against, OtherNetwork, measured_against
from tofa_edge.benchmarks.suite.extras import (
    profile_of,
    run_sustained,
    scenarios,
    starts_and_memory,
)
from tofa_edge.benchmarks.suite.fields import summary
from tofa_edge.benchmarks.suite.front import measured_front
from tofa_edge.benchmarks.suite.row import QUICK, Effort, measurer_of
from tofa_edge.benchmarks.suite.schedule import Benchmark, Findings, Schedule
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.profile import keep
from tofa_edge.deployment.request import opened as bearable_bundle
from tofa_edge.device.machine import State, fingerprint, state
from tofa_edge.errors import BackendError, BundleError, ProfileError
from tofa_edge.interruption import interruption
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.selftest.records import engine_records, passing_engines
from tofa_edge.storage.files import printable, sweep

log = logging.getLogger(__name__)

QUICK_SECONDS = 108.0  # two minutes, less what starting and the last step take
ROWS_SHARE, STARTS_SHARE = 0.45, 0.6  # of the time, at which these parts must be done


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured besides the rows and the front.

    Attributes:
        quick: all within two minutes.
        engines: names of backends, or of engines as in `str(Engine)`; empty for all.
        sustain_s: how long the fastest network runs without a pause; 0 for not at all.
        scenarios: whether MLPerf's are run.
        against: external networks, measured in the same run.
    """

    quick: bool = False
    engines: tuple[str, ...] = ()
    sustain_s: float = 0.0
    scenarios: bool = True
    against: tuple[Against, ...] = ()


def bench(bundle: Path, out: Path, options: BenchOptions = BenchOptions()) -> BenchResult:
    """Measures a bundle on this machine and writes `bench-<bundle>-<date>.json` into a folder.

    Beside it lies the same as a page (`.html`), as Markdown and as CSV; see `report`. An interrupt
    (Ctrl-C, SIGTERM, SIGHUP) ends it; what was measured until then is written.

    Args:
        bundle: a `.tofa` file.
        out: folder, made if it does not exist.
        options: what to measure.

    Returns:
        what was written.

    Raises:
        BundleError: the bundle is damaged, or the folder cannot be written.
        BackendError: no engine works here, or one that was asked for does not; a network to compare
            with is none, or its engine does not work here.
        DataError: the result cannot be written.
    """
    opened = bearable_bundle(bundle)
    _check_folder(out)
    others = tuple(OtherNetwork.open(each) for each in options.against)
    sweep(out, "bench-*")
    with interruption():  # until all is written
        result, path = _benched(opened, out, options, others)
        for written in (path, *write_beside(path)):
            log.info(f"wrote {written}")
    return result


def _benched(
    opened: Bundle, out: Path, options: BenchOptions, others: Sequence[OtherNetwork]
) -> tuple[BenchResult, Path]:
    """Measures a bundle; returns the result and the file that it is written to."""
    begun, found, interrupted, before = time.time(), Findings(), False, state()
    schedule = Schedule(QUICK_SECONDS if options.quick else math.inf)
    try:
        with measuring_turn() as turn:
            found.alone = turn != "busy"
            _measure(found, opened, options, others, schedule, before)
    except KeyboardInterrupt:
        interrupted = True
    result = BenchResult(
        tofa_edge=__version__,
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun)),
        command=_command(opened, options),
        bundle=BenchedBundle(_shown(opened.path.name), opened.digest, len(opened.classes)),
        device=fingerprint(),
        versions={name: item.version() for name, item in working().items()},
        rows=tuple(found.rows),
        front=tuple(found.front),
        against=tuple(found.against),
        python=platform.python_version(),
        state_before=before,
        state_after=state(),
        seconds=round(time.time() - begun, 1),
        quick=options.quick,
        alone=found.alone,
        interrupted=interrupted,
        skipped=tuple(schedule.skipped),
        predicts_accuracy=found.predicts_accuracy,
        mean_prediction_error=found.mean_prediction_error,
        learned_from=tuple(found.learned_from),
        sustained=found.sustained,
        scenarios=tuple(found.scenarios),
        profile=found.profile,
    )
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(begun))
    path = _unused(out / f"bench-{opened.path.stem}-{name}.json")
    write(result, path)
    return result, path


def _command(opened: Bundle, options: BenchOptions) -> str:
    words = ["tofa-edge bench", _shown(opened.path.name), *["--quick"] * options.quick]
    words += [f"--engines {','.join(options.engines)}"] * bool(options.engines)
    words += [f"--sustain {options.sustain_s:g}"] * bool(options.sustain_s)
    words += ["--no-scenarios"] * (not options.scenarios)
    words += [f"--against {_shown(each.path.name)}" for each in options.against]
    return printable(" ".join(words), 1000)


def _shown(name: str) -> str:
    return printable(name, 120)


def _measure(
    found: Findings,
    opened: Bundle,
    options: BenchOptions,
    others: Sequence[OtherNetwork],
    schedule: Schedule,
    before: State,
) -> None:
    engine_records(opened)
    engines = chosen_engines(passing_engines(opened), options.engines)
    log.info(f"{len(engines)} engines and thread counts: {', '.join(map(str, engines))}")
    run = Benchmark(
        found, measurer_of(opened, engines, found.alone), engines, options.quick, schedule
    )
    try:
        _measure_all(run, options, others)
    finally:
        found.profile = profile_of(run, before)
    if found.profile is not None and not options.quick and not options.engines:
        with contextlib.suppress(ProfileError):  # deployments do without
            keep(found.profile, first=True)


def _measure_all(run: Benchmark, options: BenchOptions, others: Sequence[OtherNetwork]) -> None:
    _rows(run)
    measured_against(run, others)
    _starts(run)
    best = _fastest(run.found.rows)
    if best is None:
        return
    measured_front(run, best)
    if options.scenarios:
        scenarios(run, best)
    if options.sustain_s > 0:
        run_sustained(run, best, options.sustain_s)


def _rows(run: Benchmark) -> None:
    """Measures every engine."""
    space, schedule = run.measurer.bundle.space, run.schedule
    subnets: dict[Size, Subnet] = {"middle": space.middle()}
    if not run.quick:
        subnets["largest"] = space.largest()
    schedule.part(len(run.engines) * len(subnets), ROWS_SHARE)
    # an early end should leave something of each engine: one thread first, float first
    engines = sorted(run.engines, key=lambda e: (e.target.threads > 1, e.target.is_integer))
    for size, subnet in subnets.items():
        for engine in engines:
            if not schedule.has_time(f"{engine} with the {size} subnet"):
                continue
            row = run.measurer.row("engine", subnet, engine, QUICK if run.quick else Effort())
            run.found.rows.append(replace(row, size=size))
            schedule.done(summary(row))


def _starts(run: Benchmark) -> None:
    """Measures starts and memory, each in processes of their own."""
    measured = [row for row in run.found.rows if not row.failed]
    measured.sort(key=lambda r: (r.size != "middle", r.configuration.threads > 1, r.latency_ms[50]))
    run.schedule.part(len(measured), STARTS_SHARE)
    starts_and_memory(run, measured)


def chosen_engines(offered: list[Engine], names: Sequence[str]) -> list[Engine]:
    """Returns the engines that were asked for, all without names.

    Args:
        offered: that work here.
        names: of backends, or as in `str(Engine)`.

    Raises:
        BackendError: a name is of none that works here.
    """
    for name in names:
        if not any(_is_called(engine, name) for engine in offered):
            names_here = ", ".join(dict.fromkeys(map(str, offered)))
            raise BackendError(f"wanted engine {name!r}, those that work here are {names_here}")
    return [e for e in offered if not names or any(_is_called(e, name) for name in names)]


def _fastest(rows: Sequence[Row]) -> Row | None:
    """Returns the row of the fastest engine with the middle subnet; None where all failed."""
    measured = [row for row in rows if not row.failed and row.size == "middle"]
    return min(measured, key=lambda row: row.latency_ms[50], default=None)


def _unused(path: Path) -> Path:
    """Returns a path, with a number if another result or its page has its name."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    suffixes = (path.suffix, *PAGE_SUFFIXES)

    def is_free(each: Path) -> bool:
        return not any(os.path.lexists(each.with_suffix(suffix)) for suffix in suffixes)

    return next(filter(is_free, itertools.chain([path], names)))


def _is_called(engine: Engine, name: str) -> bool:
    return name in (engine.backend.name, str(engine))


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise BundleError(f"{out}: cannot be written: {error.strerror or error}") from error
