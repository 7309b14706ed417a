"""Results of many devices: one table of them, and a registry of device profiles.

The table has a row for each network on each engine of each device, the newest result of a device
first. The registry has one profile for each device, which `deploy` can be given as a start.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tofa_edge.benchmarks.report.reading import content
from tofa_edge.device_profiles.profile import Profile, from_json, save
from tofa_edge.errors import DataError, ProfileError
from tofa_edge.storage.files import check_place, whole_file

COLUMNS = (
    "device", "date", "bundle", "role", "engine", "unit", "precision", "threads", "resolution",
    "mmacs", "p50_ms", "p95_ms", "p99_ms", "runs", "images_per_s", "start_s", "peak_memory_mb",
    "joules_per_image", "accuracy", "verdict",
)  # fmt: skip

Row = dict[str, Any]


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
        paths: of results, schema 1 or 2; the first has no profile.
        out: folder, made if it is not there.
        overwrite: whether files there may be replaced.

    Returns:
        the files written.

    Raises:
        DataError: a result cannot be read, a file exists, or the folder cannot be written.
    """
    results = [(path, content(path)) for path in paths]
    results.sort(key=lambda pair: str(pair[1].get("date", "")), reverse=True)
    try:
        rows = [row for _, result in results for row in table_rows(result)]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"one of {len(paths)} results lacks what bench writes: {error!r}"
        ) from error
    profiles = _profiles(results)
    contents = {
        "table.json": json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False),
        "table.csv": as_csv(rows),
        "table.md": as_markdown(rows),
    }
    files = [out / name for name in (*contents, *(f"registry/{name}" for name in profiles))]
    try:
        (out / "registry").mkdir(parents=True, exist_ok=True)
        for path in files:
            check_place(path, overwrite, DataError)
        for name, table in contents.items():
            with whole_file(out / name, overwrite=overwrite) as stream:
                stream.write(table.encode())
        for name, profile in profiles.items():
            save(profile, out / "registry" / name, overwrite)
    except (OSError, ProfileError) as error:
        raise DataError(f"{out}: cannot be written: {error}") from error
    return files


def table_rows(result: Row) -> list[Row]:
    """Returns the rows of a table that a result adds, with `COLUMNS`; None where not known."""
    shared = {
        "device": device_name(result),
        "date": result.get("date"),
        "bundle": (result.get("bundle") or {}).get("name"),
    }
    if result["schema"] == 1:
        rows = _rows_of_schema_1(result)
    else:
        rows = [_figures(row) for row in (*result["rows"], *result["front"])]
    return [{name: {**shared, **row}.get(name) for name in COLUMNS} for row in rows]


def device_name(result: Row) -> str:
    """Returns what a device is called: its board, else its processor."""
    device = result.get("device") or {}
    processors = device.get("processors") or {}
    return str(device.get("board") or ", ".join(processors) or "unknown")


def as_csv(rows: Iterable[Row]) -> str:
    """Returns a table as comma-separated values with a heading."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(rows: Iterable[Row]) -> str:
    """Returns a table as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = ("" if row[name] is None else str(row[name]) for name in COLUMNS)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _figures(row: Row) -> Row:
    accuracy, peak = row["accuracy"], row["peak_memory_bytes"]
    speeds = [each["images_per_s"] for each in row["throughput"] or ()]
    verdict = f"failed: {row['failed']}" if row["failed"] else "; ".join(row["reasons"]) or "VALID"
    return {
        **{name: row[name] for name in ("role", "engine", "precision", "threads", "resolution")},
        "unit": row["device"],
        "mmacs": row["mmacs"],
        **_latency(row),
        "images_per_s": max(speeds, default=None),
        "start_s": (row["cold_start"] or {}).get("process_s"),
        "peak_memory_mb": None if peak is None else round(peak / 1e6, 1),
        "joules_per_image": (row["energy"] or {}).get("joules_per_image"),
        "accuracy": accuracy and round(accuracy["right"] / accuracy["of"], 4),
        "verdict": verdict,
    }


def _latency(row: Row) -> Row:
    latency = row["latency"] or {}
    figures = {name: latency.get(name) for name in ("p50_ms", "p95_ms", "p99_ms")}
    return figures | {"runs": latency.get("count")}


def _rows_of_schema_1(result: Row) -> list[Row]:
    rows = []
    for role, each in (("engine", result["engines"]), ("front", result.get("front", ()))):
        for row in each:
            backend, unit, precision, threads = (row["engine"].split(" ") + [None] * 3)[:4]
            threads = threads and int(threads.removesuffix("t"))
            verdict = "not judged" if row["latency"] else f"failed: {row.get('reason')}"
            target = {"unit": unit, "precision": precision, "threads": threads}
            figures = {"mmacs": row.get("mmacs"), **_latency(row), "verdict": verdict}
            rows.append({"role": role, "engine": backend, **target, **figures})
    return rows


def _profiles(results: Iterable[tuple[Path, Row]]) -> dict[str, Profile]:
    """Returns a profile for each device and search space by file name, from the newest result."""
    profiles: dict[str, Profile] = {}
    for path, result in results:
        if not result.get("profile"):
            continue
        try:
            profile = from_json(json.dumps(result["profile"]).encode(), str(path))
        except ProfileError as error:
            raise DataError(f"{path}: {error}") from error
        words = f"{profile.name} {profile.space or ''}".lower()
        name = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:80] or "unknown"
        number, file = 1, f"{name}.json"
        while file in profiles and profiles[file].fingerprint != profile.fingerprint:
            number += 1
            file = f"{name}-{number}.json"
        profiles.setdefault(file, profile)
    return profiles
