"""The fields of a row as `bench` writes it, and its engine, subnet and latency from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.measurement.order_statistics import interval
from tofa_edge.measurement.stopwatch import Latency, Recording, percentiles

LATENCY = (
    "p50_ms", "p90_ms", "p95_ms", "p99_ms", "count", "relative_error", "slowdown", "flags",
)  # fmt: skip
FIGURES = (
    "latency", "curve_ms", "cold_start", "throughput", "peak_memory_bytes", "artefact_bytes",
    "energy", "accuracy", "parity", "layers",
)  # fmt: skip


def heading(role: str, subnet: Subnet, engine: Engine) -> dict[str, Any]:
    """Returns what stands in a row before anything is measured.

    Args:
        role: "engine", "front" or "largest at lower resolution".
        subnet: which.
        engine: that runs it.
    """
    return {
        "role": role,
        "engine": engine.backend.name,
        "device": engine.target.unit,
        "precision": engine.target.precision,
        "threads": engine.target.threads,
        "subnet": json.loads(subnet.to_json()),
        "resolution": subnet.resolution,
        "mmacs": None,
        "failed": None,
        "valid": False,
        "reasons": [],
        **dict.fromkeys(FIGURES),
    }


def engine_name(row: Mapping[str, Any]) -> str:
    """Returns the engine of a row as `str(Engine)` says it.

    Args:
        row: with at least its heading.
    """
    return f"{row['engine']} {row['device']} {row['precision']} {row['threads']}t"


def row_key(row: Mapping[str, Any]) -> str:
    """Returns what tells a row from the others: its engine and its subnet."""
    return f"{engine_name(row)} {subnet_of(row).to_json()}"


def subnet_of(row: Mapping[str, Any]) -> Subnet:
    """Returns the subnet of a row."""
    return Subnet.from_json(json.dumps(row["subnet"]))


def latency_of(row: Mapping[str, Any]) -> Latency:
    """Returns the latency of a row that has one."""
    fields = {name: row["latency"][name] for name in LATENCY}
    return Latency(**{**fields, "flags": tuple(fields["flags"])})


def latency_fields(recording: Recording) -> dict[str, Any]:
    """Returns a latency by the wall clock, as observed.

    It has intervals of 95 %, from order statistics; None where runs are few.
    """
    own, walls = recording.latency, percentiles(recording.seconds)
    found = rounded(replace(walls, slowdown=own.slowdown, flags=own.flags))
    values = milliseconds(recording)
    for percentile in (50, 95, 99):
        ends = interval(values, percentile)
        found[f"p{percentile}_interval_ms"] = ends and [round(end, 4) for end in ends]
    return found


def rounded(latency: Latency) -> dict[str, Any]:
    """Returns the fields of a latency, milliseconds to four decimals."""
    fields = {name: getattr(latency, name) for name in LATENCY}
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in fields.items()}


def milliseconds(recording: Recording) -> list[float]:
    """Returns the durations of runs in milliseconds."""
    return [1e3 * value for value in recording.seconds]
