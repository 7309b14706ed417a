"""Results of former schemas in the present form, still unchecked: the codec reads them next.

Schema 1 (0.3) has one list of engines, each with its name in one text, and no reasons. Schema 2
(0.4) has rows whose subnets are objects and whose latencies are those of the wall clock.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tofa_edge.benchmarks.result.row_parts import kind_of
from tofa_edge.device.machine import Fingerprint, State
from tofa_edge.measurement.stopwatch import Latency

Fields = dict[str, Any]

ENGINE = re.compile(r"(\S+) (\S+) (\S+) (\d{1,4})t")
SAME = ("tofa_edge", "date", "python", "seconds", "quick", "alone", "interrupted", "skipped",
        "predicts_accuracy", "mean_prediction_error", "profile")  # fmt: skip
SAME_IN_ROWS = (
    "role", "size", "resolution", "mmacs", "failed", "curve_ms", "throughput", "artefact_bytes",
    "peak_memory_bytes", "cold_start", "cold_start_failed", "energy", "accuracy",
    "expected_accuracy", "predicted_p95_ms", "parity", "layers", "layers_how",
)  # fmt: skip
INTERVALS = ("p50_interval_ms", "p95_interval_ms", "p99_interval_ms")
SAME_IN_SCENARIOS = (
    "scenario", "failed", "reasons", "queries", "p90_ms", "images_per_s", "seconds",
)  # fmt: skip
SAME_IN_MOMENTS = (
    "at_s", "p50_ms", "p95_ms", "count", "temperature_c", "clock_mhz", "throttled", "watts",
)  # fmt: skip


def from_schema_1(values: Fields) -> Fields:
    """Returns the fields of a result from `values` of schema 1.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: they are no such result.
    """
    rows = [_old_row({"role": "engine", "size": "middle"}, row) for row in values["engines"]]
    front = [_old_row({"role": "front"}, row) for row in values.get("front", ())]
    return _shared(values) | {"rows": rows, "front": front}


def from_schema_2(values: Fields) -> Fields:
    """Returns the fields of a result from `values` of schema 2.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: they are no such result.
    """
    lists = {name: [_row(row) for row in values[name]] for name in ("rows", "front")}
    scenarios = [
        _picked(each, SAME_IN_SCENARIOS) | _configured(each) for each in values.get("scenarios", ())
    ]
    return _shared(values) | lists | _sustained(values.get("sustained")) | {"scenarios": scenarios}


def _shared(values: Fields) -> Fields:
    bundle = values.get("bundle") or {}
    before, after = (_known(State, values.get(f"state_{when}")) for when in ("before", "after"))
    learned = values.get("learned_from", ())
    return {
        "tofa_edge": "unknown",
        "date": "unknown",
        "command": "tofa-edge bench",
        **_picked(values, SAME),
        "bundle": {"name": "a bundle", **_picked(bundle, ("name", "digest", "classes"))},
        "device": _known(Fingerprint, values.get("device")),
        "versions": values.get("versions") or {},
        "state_before": before,
        "state_after": after,
        "learned_from": [
            {**_picked(each, ("subnet", "engine")), "latency": _latency(each["latency"])}
            for each in learned
            if "engine" in each
        ],
    }


def _old_row(fields: Fields, row: Fields) -> Fields:
    failed = _picked(row, ("reason",)).get("reason") or "not measured"
    name = ENGINE.fullmatch(row["engine"])
    if name is None:
        raise ValueError(f"wanted an engine, precision and threads, got {row['engine']!r}")
    engine, unit, precision, threads = name.groups()
    whole = {"unit": unit, "precision": precision, "threads": int(threads), "engine": engine}
    fields = {**_picked(row, SAME_IN_ROWS), **fields, "configuration": whole}
    if isinstance(row.get("subnet"), str):
        fields["subnet"] = row["subnet"]
        fields |= _picked(json.loads(row["subnet"]), ("resolution",))
    if not row["latency"]:
        return {**fields, "failed": failed}
    flags = row["latency"].get("flags", [])
    return {**fields, "latency": _latency(row["latency"]), "reasons": flags}


def _row(row: Fields) -> Fields:
    fields = _picked(row, SAME_IN_ROWS) | _configured(row)
    fields["role"] = row.get("role") or "front"
    fields["reasons"] = _reasons(row)
    latency = row.get("latency")
    if not latency:
        return {**fields, "failed": row.get("failed") or "not measured"}
    return {**fields, "latency": _latency(latency), **_picked(latency, INTERVALS)}


def _reasons(row: Fields) -> list[str]:
    """Returns why a row is invalid, with the flags of its latency that its reasons lack."""
    reasons = [*(row.get("reasons") or ())]
    kinds = set(map(kind_of, reasons))
    flags = (row.get("latency") or {}).get("flags", ())
    reasons += [flag for flag in flags if kind_of(flag) not in kinds]
    return reasons or ["not valid"] * (row.get("valid") is False and not row.get("failed"))


def _sustained(value: Fields | None) -> Fields:
    if value is None:
        return {}
    points = [_picked(each, SAME_IN_MOMENTS) for each in value["points"]]
    for point in points:
        if isinstance(point.get("throttled"), bool):
            point["throttled"] = ["throttled"] * point["throttled"]
    kept = {"seconds": value["seconds"], "reasons": value.get("reasons", []), "points": points}
    return {"sustained": kept | _configured(value)}


def _configured(row: Fields) -> Fields:
    """Returns the configuration of a row of schema 2, and its subnet as text."""
    subnet = row["subnet"]
    whole = {**_picked(row, ("engine", "precision", "threads")), "unit": row.get("device", "cpu")}
    text = subnet if isinstance(subnet, str) else json.dumps(subnet, separators=(",", ":"))
    return {"configuration": whole, "subnet": text}


def _latency(values: Fields) -> Fields:
    return _known(Latency, values)


def _known(kind: type[Any], values: Any) -> Fields:
    """Returns those of some values that a dataclass has fields for."""
    return _picked(values or {}, [field.name for field in dataclasses.fields(kind)])


def _picked(values: Mapping[str, Any], names: Sequence[str]) -> Fields:
    """Returns those of some fields that are there and known."""
    if not isinstance(values, Mapping):
        raise ValueError(f"wanted an object with fields, got {values!r:.60}")
    return {name: values[name] for name in names if values.get(name) is not None}
