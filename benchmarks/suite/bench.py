"""`tofa-edge bench`: what a bundle does on this machine, as figures that can be kept and compared.

Every engine × precision × threads on one subnet, then the front of latency and accuracy, each point
predicted first and then measured. What the figures mean stands in `result_schema.json`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.backends.protocol import Engine
from tofa_edge.backends.registry import working
from tofa_edge.benchmarks.report.write import SUFFIXES as PAGE_SUFFIXES
from tofa_edge.benchmarks.report.write import write_beside
from tofa_edge.benchmarks.suite.extras import (
    profile_of,
    run_sustained,
    scenarios,
    starts_and_memory,
)
from tofa_edge.benchmarks.suite.fields import engine_name
from tofa_edge.benchmarks.suite.front import measured_front
from tofa_edge.benchmarks.suite.row import QUICK, Effort, measurer_of
from tofa_edge.benchmarks.suite.schedule import Benchmark, Schedule
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.profile import keep
from tofa_edge.deployment.request import opened as bearable_bundle
from tofa_edge.device.machine import State, fingerprint, state
from tofa_edge.errors import BackendError, BundleError, ProfileError
from tofa_edge.interruption import interruption
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.selftest.records import engine_records, passing_engines
from tofa_edge.storage.files import sweep, whole_file
from tofa_edge.storage.plain import from_plain, to_plain

log = logging.getLogger(__name__)

SCHEMA = 2
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
    """

    quick: bool = False
    engines: tuple[str, ...] = ()
    sustain_s: float = 0.0
    scenarios: bool = True


def bench(bundle: Path, out: Path, options: BenchOptions = BenchOptions()) -> dict[str, Any]:
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
        BackendError: no engine works here, or one that was asked for does not.
    """
    opened = bearable_bundle(bundle)
    _check_folder(out)
    sweep(out, "bench-*")
    with interruption():  # until all is written
        result, path = _benched(opened, out, options)
        for written in (path, *write_beside(path)):
            log.info(f"wrote {written}")
    return result


def _benched(opened: Bundle, out: Path, options: BenchOptions) -> tuple[dict[str, Any], Path]:
    """Measures a bundle; returns the result and the file that it is written to."""
    begun = time.time()
    result = _head(opened, options, begun)
    schedule = Schedule(QUICK_SECONDS if options.quick else math.inf)
    try:
        with measuring_turn() as turn:
            result["alone"] = turn != "busy"
            _measure(result, opened, options, schedule)
    except KeyboardInterrupt:
        result["interrupted"] = True
    result |= {"skipped": schedule.skipped, "state_after": to_plain(state())}
    result["seconds"] = round(time.time() - begun, 1)
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(begun))
    path = _unused(out / f"bench-{opened.path.stem}-{name}.json")
    _write(path, result)
    return result, path


def _head(opened: Bundle, options: BenchOptions, begun: float) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "tofa_edge": __version__,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun)),
        "seconds": 0.0,
        "quick": options.quick,
        "interrupted": False,
        "bundle": {
            "name": opened.path.name,
            "digest": opened.digest,
            "classes": len(opened.classes),
        },
        "device": to_plain(fingerprint()),
        "state_before": to_plain(state()),
        "versions": {name: item.version() for name, item in working().items()},
        "python": platform.python_version(),
        "alone": True,
        "rows": [],
        "front": [],
        "mean_prediction_error": None,
        "sustained": None,
        "scenarios": [],
        "learned_from": [],
        "predicts_accuracy": False,
        "profile": None,
    }


def _measure(
    result: dict[str, Any], opened: Bundle, options: BenchOptions, schedule: Schedule
) -> None:
    engine_records(opened)
    engines = chosen_engines(passing_engines(opened), options.engines)
    log.info(f"{len(engines)} engines and thread counts: {', '.join(map(str, engines))}")
    measurer = measurer_of(opened, engines, result["alone"])
    run = Benchmark(result, measurer, engines, options.quick, schedule)
    try:
        _measure_all(run, options)
    finally:
        profile = profile_of(run, from_plain(State, result["state_before"]))
        if profile is not None:
            fields = {"schema_version": profile.schema_version}
            result["profile"] = fields | dict(to_plain(profile))
    if profile is not None and not options.quick and not options.engines:
        with contextlib.suppress(ProfileError):  # deployments do without
            keep(profile, first=True)


def _measure_all(run: Benchmark, options: BenchOptions) -> None:
    _rows(run)
    best = _fastest(run.result["rows"])
    if best is None:
        return
    measured_front(run, best)
    if options.scenarios:
        scenarios(run, best)
    if options.sustain_s > 0:
        run_sustained(run, best, options.sustain_s)


def _rows(run: Benchmark) -> None:
    """Measures every engine; then starts and memory, each in processes of their own."""
    space, schedule = run.measurer.bundle.space, run.schedule
    subnets = {"middle": space.middle()} | ({} if run.quick else {"largest": space.largest()})
    schedule.part(len(run.engines) * len(subnets), ROWS_SHARE)
    # an early end should leave something of each engine: one thread first, float first
    engines = sorted(run.engines, key=lambda e: (e.target.threads > 1, e.target.is_integer))
    for size, subnet in subnets.items():
        for engine in engines:
            if not schedule.has_time(f"{engine} with the {size} subnet"):
                continue
            row = run.measurer.row("engine", subnet, engine, QUICK if run.quick else Effort())
            row["size"] = size
            run.result["rows"].append(row)
            schedule.done(_summary(row))
    measured = [row for row in run.result["rows"] if not row["failed"]]
    measured.sort(
        key=lambda row: (row["size"] != "middle", row["threads"] > 1, row["latency"]["p50_ms"])
    )
    schedule.part(len(measured), STARTS_SHARE)
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


def _fastest(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the row of the fastest engine with the middle subnet; None where all failed."""
    measured = [row for row in rows if not row["failed"] and row["size"] == "middle"]
    return min(measured, key=lambda row: float(row["latency"]["p50_ms"]), default=None)


def _summary(row: dict[str, Any]) -> str:
    name, latency = engine_name(row), row["latency"]
    if row["failed"]:
        return f"{name}: failed, {row['failed']}"
    verdict = "VALID" if row["valid"] else f"INVALID, {'; '.join(row['reasons'])}"
    return f"{name}: p50 {latency['p50_ms']:.2f} ms, p95 {latency['p95_ms']:.2f} ms; {verdict}"


def _unused(path: Path) -> Path:
    """Returns a path, with a number if another result or its page has its name."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    suffixes = (path.suffix, *PAGE_SUFFIXES)

    def is_free(each: Path) -> bool:
        return not any(os.path.lexists(each.with_suffix(suffix)) for suffix in suffixes)

    return next(filter(is_free, itertools.chain([path], names)))


def _write(path: Path, result: dict[str, Any]) -> None:
    content = json.dumps(finite(result), indent=1, allow_nan=False).encode()
    try:
        with whole_file(path, overwrite=False) as stream:
            stream.write(content)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror or error}") from error


def finite(value: Any) -> Any:
    """Returns JSON values with null for each number that is not finite: JSON has no NaN.

    Args:
        value: as `json` takes it: nested lists and dictionaries.
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_called(engine: Engine, name: str) -> bool:
    return name in (engine.backend.name, str(engine))


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise BundleError(f"{out}: cannot be written: {error.strerror or error}") from error
