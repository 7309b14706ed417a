"""`tofa-edge bench`: what a bundle does on this machine, as figures that can be kept and compared.

Every engine × precision × threads on one subnet, then the front of latency and accuracy, each point
predicted first and then measured. What the figures mean stands in `result_schema.json`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.backends.protocol import Engine
from tofa_edge.backends.registry import working
from tofa_edge.benchmarks.report.write import write_beside
from tofa_edge.benchmarks.suite.extras import (
    lasting,
    profile_fields,
    profile_of,
    scenarios,
    starts_and_memory,
)
from tofa_edge.benchmarks.suite.fields import engine_name, is_of
from tofa_edge.benchmarks.suite.front import measured_front
from tofa_edge.benchmarks.suite.row import QUICK, Effort, Measurer, measurer_of
from tofa_edge.benchmarks.suite.schedule import Schedule
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.profile import keep_first
from tofa_edge.device.machine import State, fingerprint, state
from tofa_edge.errors import BackendError, BundleError, ProfileError
from tofa_edge.measurement.stopwatch import one_at_a_time
from tofa_edge.selftest.records import engine_records, passing_engines
from tofa_edge.storage.files import whole_file
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
        engines: names of backends, or of targets as `str(Engine)` says them; empty for all.
        sustain_s: so long the fastest network runs without a pause; 0 for not at all.
        scenarios: whether MLPerf's are run.
    """

    quick: bool = False
    engines: tuple[str, ...] = ()
    sustain_s: float = 0.0
    scenarios: bool = True


def bench(bundle: Path, out: Path, options: BenchOptions = BenchOptions()) -> dict[str, Any]:
    """Measures a bundle on this machine and writes `bench-<bundle>-<date>.json` into a folder.

    Beside it lies the same as a page (`.html`), as Markdown and as CSV; see `report`.

    An interrupt (Ctrl-C) ends it; what was measured until then is written.

    Args:
        bundle: a `.tofa` file.
        out: folder, made if it is not there.
        wish: what to measure.

    Returns:
        what was written.

    Raises:
        BundleError: the bundle is damaged, or the folder cannot be written.
        BackendError: no engine works here, or none of those wanted.
    """
    opened = Bundle.open(bundle)
    _check_folder(out)
    begun = time.time()
    found = _head(opened, options, begun)
    schedule = Schedule(QUICK_SECONDS if options.quick else math.inf)
    try:
        with one_at_a_time() as alone:
            found["alone"] = alone
            _measure(found, opened, options, schedule, alone)
    except KeyboardInterrupt:
        found["interrupted"] = True
    found["skipped"] = schedule.skipped
    found["state_after"] = to_plain(state())
    found["seconds"] = round(time.time() - begun, 1)
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(begun))
    path = out / f"bench-{bundle.stem}-{name}.json"
    write_result(path, found)
    for written in (path, *write_beside(path)):
        log.info(f"wrote {written}")
    return found


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
    found: dict[str, Any], opened: Bundle, options: BenchOptions, schedule: Schedule, alone: bool
) -> None:
    engine_records(opened)
    offered = chosen_engines(passing_engines(opened), options.engines)
    log.info(f"{len(offered)} engines and thread counts: {', '.join(map(str, offered))}")
    measurer = measurer_of(opened, offered, alone)
    try:
        _everything(found, measurer, offered, options, schedule)
    finally:
        made = profile_of(found, measurer, offered, from_plain(State, found["state_before"]))
        found["profile"] = profile_fields(made)
    if made is not None and not options.quick and not options.engines:
        with contextlib.suppress(ProfileError):  # deployments do without
            keep_first(made)


def _everything(
    found: dict[str, Any],
    measurer: Measurer,
    offered: list[Engine],
    options: BenchOptions,
    schedule: Schedule,
) -> None:
    _rows(found, measurer, offered, options.quick, schedule)
    best = fastest_row(found["rows"])
    if best is None:
        return
    engine = next(e for e in offered if is_of(best, e))
    measured_front(found, measurer, engine, best, options.quick, schedule)
    if options.scenarios:
        scenarios(found, best, measurer, engine, options.quick, schedule)
    if options.sustain_s > 0:
        lasting(found, best, measurer, engine, options.sustain_s, schedule)


def _rows(
    found: dict[str, Any],
    measurer: Measurer,
    offered: list[Engine],
    quick: bool,
    schedule: Schedule,
) -> None:
    """Measures every engine; then starts and memory, each in processes of their own."""
    space = measurer.finisher.bundle.space
    subnets = {"middle": space.middle()} | ({} if quick else {"largest": space.largest()})
    schedule.part(len(offered) * len(subnets), ROWS_SHARE)
    for size, subnet in subnets.items():
        for engine in worth_first(offered):
            if not schedule.has_time(f"{engine} with the {size} subnet"):
                continue
            row = measurer.row("engine", subnet, engine, QUICK if quick else Effort())
            row["size"] = size
            found["rows"].append(row)
            schedule.done(told(row))
    able = [row for row in found["rows"] if not row["failed"]]
    able.sort(
        key=lambda row: (row["size"] != "middle", row["threads"] > 1, row["latency"]["p50_ms"])
    )
    schedule.part(len(able), STARTS_SHARE)
    starts_and_memory(able, measurer, offered, quick, schedule)


def worth_first(offered: Sequence[Engine]) -> Iterator[Engine]:
    """Yields engines so that an early end leaves something of each: one thread, float first.

    Args:
        offered: in any order.
    """
    yield from sorted(offered, key=lambda e: (e.target.threads > 1, e.target.is_integer))


def chosen_engines(offered: list[Engine], names: Sequence[str]) -> list[Engine]:
    """Returns the engines that were asked for, all without names.

    Args:
        offered: that work here.
        names: of backends, or as `str(Engine)` says it.

    Raises:
        BackendError: a name is of none that works here.
    """
    for name in names:
        if not any(_is_called(engine, name) for engine in offered):
            there = ", ".join(dict.fromkeys(str(engine) for engine in offered))
            raise BackendError(f"wanted engine {name!r}, those that work here are {there}")
    return [e for e in offered if not names or any(_is_called(e, name) for name in names)]


def fastest_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the row of the fastest engine with the middle subnet; None where all failed.

    Args:
        rows: of a result.
    """
    able = [row for row in rows if not row["failed"] and row["size"] == "middle"]
    return min(able, key=lambda row: float(row["latency"]["p50_ms"]), default=None)


def told(row: dict[str, Any]) -> str:
    """Returns a row in a line for people.

    Args:
        row: measured or failed.
    """
    name = engine_name(row)
    if row["failed"]:
        return f"{name}: failed, {row['failed']}"
    latency = row["latency"]
    verdict = "VALID" if row["valid"] else f"INVALID, {'; '.join(row['reasons'])}"
    return f"{name}: p50 {latency['p50_ms']:.2f} ms, p95 {latency['p95_ms']:.2f} ms; {verdict}"


def write_result(path: Path, found: dict[str, Any]) -> None:
    """Writes a result under a temporary name and renames it when it is complete.

    Args:
        path: of the file.
        found: the result.

    Raises:
        BundleError: the file cannot be written.
    """
    content = json.dumps(finite(found), indent=1, allow_nan=False).encode()
    try:
        with whole_file(path) as stream:
            stream.write(content)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror or error}") from error


def finite(value: Any) -> Any:
    """Returns JSON values with null for each number that is none: JSON has no NaN.

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
