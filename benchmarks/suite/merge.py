"""Results of many devices: one table of them, and a registry of device profiles.

The table has a row for each network on each engine of each device, the newest result of a device
first. The registry has one profile for each device, which `deploy` can be given as a start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from tofa_edge.benchmarks.report.tables import Table, csv_lines
from tofa_edge.benchmarks.result.bench_result import BenchResult
from tofa_edge.benchmarks.result.reading import read
from tofa_edge.benchmarks.result.row import Row
from tofa_edge.device_profiles.profile import Profile, save
from tofa_edge.errors import DataError, ProfileError
from tofa_edge.storage.files import check_place, whole_file


@dataclass(frozen=True, slots=True)
class MergedRow:
    """One network on one engine of one device; None where not known."""

    device: str
    date: str
    bundle: str
    role: str
    engine: str
    unit: str
    precision: str
    threads: int
    network: str | None
    resolution: int | None
    mmacs: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    observed_p95_ms: float | None
    runs: int | None
    images_per_s: float | None
    start_s: float | None
    peak_memory_mb: float | None
    joules_per_image: float | None
    accuracy: float | None
    verdict: str


COLUMNS = tuple(field.name for field in fields(MergedRow))


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Returns files, and in place of a folder the results in it, by name.

    Raises:
        DataError: a folder has none.
    """
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("**/bench-*.json")) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path}: wanted a folder with results of bench (bench-*.json)")
        files += inside
    return files


def merged(paths: Sequence[Path], out: Path, overwrite: bool = False) -> list[Path]:
    """Writes table.json, table.csv, table.md and a folder "registry" with profiles.

    Args:
        paths: of results; those of schema 1 have no profile.
        out: folder, made if it is not there.
        overwrite: whether files there may be replaced.

    Returns:
        the files written.

    Raises:
        DataError: a result cannot be read, a file exists, or the folder cannot be written.
    """
    results = sorted(map(read, paths), key=lambda result: result.date, reverse=True)
    rows = [row for result in results for row in merged_rows(result)]
    profiles = _profiles(results)
    table = Table("Results", COLUMNS, tuple(tuple(map(_cell, astuple(row))) for row in rows))
    contents = {
        "table.json": json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False),
        "table.csv": csv_lines(COLUMNS, map(astuple, rows)),
        "table.md": table.markdown(),
    }
    files = [out / name for name in (*contents, *(f"registry/{name}" for name in profiles))]
    try:
        (out / "registry").mkdir(parents=True, exist_ok=True)
        for path in files:
            check_place(path, overwrite, DataError)
        for name, text in contents.items():
            with whole_file(out / name, overwrite=overwrite) as stream:
                stream.write(text.encode())
        for name, profile in profiles.items():
            save(profile, out / "registry" / name, overwrite)
    except (OSError, ProfileError) as error:
        raise DataError(f"{out}: cannot be written: {error}") from error
    return files


def merged_rows(result: BenchResult) -> list[MergedRow]:
    """Returns what a `result` adds to the table."""
    return [_merged(result, row) for row in result.every_row]


def _merged(result: BenchResult, row: Row) -> MergedRow:
    latency, runs_on = row.latency_ms, row.configuration
    timed, start = row.latency, row.cold_start
    return MergedRow(
        device=result.device_name,
        date=result.date,
        bundle=result.bundle.name,
        role=row.role,
        engine=runs_on.engine,
        unit=runs_on.unit,
        precision=runs_on.precision,
        threads=runs_on.threads,
        network=row.file or row.subnet,
        resolution=row.resolution,
        mmacs=row.mmacs,
        p50_ms=latency.get(50),
        p95_ms=latency.get(95),
        p99_ms=latency.get(99),
        observed_p95_ms=None if timed is None else timed.observed_ms(95),
        runs=None if timed is None else timed.count,
        images_per_s=max(row.images_per_s.values(), default=None),
        start_s=None if start is None else start.process_s,
        peak_memory_mb=row.peak_memory_bytes and round(row.peak_memory_bytes / 1e6, 1),
        joules_per_image=row.joules_per_image,
        accuracy=None if row.right_share is None else round(row.right_share, 4),
        verdict=row.verdict,
    )


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _profiles(results: Iterable[BenchResult]) -> dict[str, Profile]:
    """Returns a profile for each device and search space by file name, from the newest result."""
    profiles: dict[str, Profile] = {}
    for profile in (result.profile for result in results):
        if profile is None:
            continue
        words = f"{profile.name} {profile.space or ''}".lower()
        name = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:80] or "unknown"
        number, file = 1, f"{name}.json"
        while file in profiles and profiles[file].fingerprint != profile.fingerprint:
            number += 1
            file = f"{name}-{number}.json"
        profiles.setdefault(file, profile)
    return profiles
