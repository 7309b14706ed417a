"""Reads results of `tofa-edge bench` for the report; nothing in them is trusted.

A result may come from another machine and another version. What is absent, of another type, or no
number that can be drawn becomes None.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tofa_edge.benchmarks.report.data import (
    COLD_START,
    OLD_COLD_START,
    Layer,
    Moment,
    Result,
    ResultRow,
    Scenario,
    Share,
    Sustained,
    kind_of,
)
from tofa_edge.benchmarks.report.values import (
    LONGEST,
    mapping,
    mappings,
    number,
    text,
    texts,
    whole,
)
from tofa_edge.errors import DataError

SCHEMAS = {1: "engines", 2: "rows"}  # and where each keeps its engines
ENGINE = re.compile(r"(?P<engine>.+) (?P<device>\S+) (?P<precision>\S+) (?P<threads>\d+)t")


def content(path: Path) -> dict[str, Any]:
    """Returns a result of `tofa-edge bench` as it was written, of any schema known.

    Args:
        path: of the file.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no result of tofa-edge bench: {error}") from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is not int or SCHEMAS.get(schema, "") not in values:
        known = ", ".join(map(str, SCHEMAS))
        raise DataError(f"{path} is no result of tofa-edge bench of schema {known}")
    return dict(values)


def read(path: Path) -> Result:
    """Returns a result of `tofa-edge bench` for the report."""
    values = content(path)
    bundle, device = mapping(values.get("bundle")), mapping(values.get("device"))
    old = [
        _row({"role": "engine", "failed": None if r.get("latency") else r.get("reason"), **r})
        for r in mappings(values.get("engines"))
    ]
    rows = [*old, *(_row(r) for r in mappings(values.get("rows")))]
    front = [_row({"role": "front", **r}) for r in mappings(values.get("front"))]
    return Result(
        path=path,
        device=device_name(device),
        bundle=text(bundle.get("name")) or "a bundle",
        digest=text(bundle.get("digest")),
        date=text(values.get("date")),
        seconds=number(values.get("seconds")),
        remarks=_remarks(values),
        engines=tuple(row for row in rows if row.role == "engine" and row.size != "largest"),
        largest=tuple(row for row in rows if row.role == "engine" and row.size == "largest"),
        front=tuple(row for row in front if row.role == "front"),
        lower=tuple(row for row in (*front, *rows) if row.role not in ("front", "engine")),
        predicts_accuracy=values.get("predicts_accuracy") is not False,
        prediction_error=number(values.get("mean_prediction_error")),
        cold_start_s=_parts(values.get("cold_start_s"), OLD_COLD_START),
        sustained=_sustained(values.get("sustained")),
        scenarios=tuple(_scenario(item) for item in mappings(values.get("scenarios"))),
        facts=tuple(_facts(values, device)),
    )


READERS: Mapping[object, Callable[[object], Any]] = {
    "float | None": number,
    "int | None": whole,
    "str | None": text,
}


def _optional(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a dataclass that may be None, from values of the same names."""
    kept = [field for field in dataclasses.fields(kind) if field.type in READERS]
    return {field.name: READERS[field.type](values.get(field.name)) for field in kept}


def device_name(facts: Mapping[str, Any]) -> str:
    """Returns what people call a machine: its board, else its processor and cores."""
    board = text(facts.get("board"))
    if board:
        return board
    names = [text(name) for name in mapping(facts.get("processors"))]
    cores = number(facts.get("allowed_cores")) or number(facts.get("cores"))
    processor = " + ".join(name for name in names if name) or text(facts.get("architecture"))
    counted = f", {cores:.0f} cores" if cores else ""
    return f"{processor or 'an unnamed machine'}{counted}"


def _row(values: Mapping[str, Any]) -> ResultRow:
    latency, parity = mapping(values.get("latency")), mapping(values.get("parity"))
    latency_ms = {p: v for p in (50, 90, 95, 99) if (v := number(latency.get(f"p{p}_ms")))}
    same, of = number(parity.get("same_class")), number(parity.get("of"))
    subnet = _subnet(values.get("subnet"))
    resolution = number(values.get("resolution")) or _resolution(subnet)
    bounds = {p: _interval(latency.get(f"p{p}_interval_ms")) for p in latency_ms}
    rates = {
        number(item.get("batch")): number(item.get("images_per_s"))
        for item in mappings(values.get("throughput"))
    }
    fields = _optional(ResultRow, values) | {
        "role": text(values.get("role")) or "engine",
        **_engine(values),
        "subnet": subnet,
        "resolution": int(resolution) if resolution else None,
        "failed": text(values.get("failed")) or (None if latency_ms else "not measured"),
        "reasons": _reasons(values, latency),
        "latency_ms": latency_ms,
        "interval_ms": {p: pair for p, pair in bounds.items() if pair},
        "count": whole(latency.get("count")),
        "curve_ms": _curve(values.get("curve_ms"), latency_ms),
        "cold_start_s": _parts(values.get("cold_start"), COLD_START),
        "images_per_s": {int(batch): rate for batch, rate in rates.items() if batch and rate},
        "joules_per_image": number(mapping(values.get("energy")).get("joules_per_image")),
        "accuracy": _share(mapping(values.get("accuracy"))),
        "same_class": same / of if same is not None and of else None,
        "layers": _layers(values.get("layers")),
    }
    return ResultRow(**fields)


def _reasons(values: Mapping[str, Any], latency: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns why a row is invalid, with the flags of its latency that its reasons lack."""
    reasons = texts(values.get("reasons"))
    kinds = set(map(kind_of, reasons))
    reasons += [flag for flag in texts(latency.get("flags")) if kind_of(flag) not in kinds]
    if values.get("valid") is False and not reasons:
        reasons = ["not valid"]
    return tuple(dict.fromkeys(reasons))


def _engine(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns engine, device, precision and threads; schema 1 has them in one text."""
    name = text(values.get("engine")) or "an engine"
    old = ENGINE.fullmatch(name)
    if old:
        return old.groupdict() | {"threads": int(old["threads"]) or None}
    return {"engine": name, "threads": whole(values.get("threads")) or None}


def _remarks(values: Mapping[str, Any]) -> tuple[str, ...]:
    remarks = []
    if values.get("interrupted") is True:
        remarks.append("interrupted: what was measured until then")
    if values.get("alone") is False:
        remarks.append("another process measured at the same time")
    for when in ("before", "after"):
        for word in texts(mapping(values.get(f"state_{when}")).get("throttled_now")):
            remarks.append(f"{word} {when} measuring")
    skipped = texts(values.get("skipped"))
    if skipped:
        remarks.append(_listed(f"no time for {len(skipped)} measurements: ", skipped))
    if values.get("quick") is True:
        remarks.append("quick: fewer repeats")
    return tuple(remarks)


def _listed(heading: str, items: Sequence[str]) -> str:
    """Returns a heading and as many items as fit, one at least, and how many more there are."""
    for shown in range(min(len(items), LONGEST), 0, -1):
        more = f", and {len(items) - shown} more" if shown < len(items) else ""
        line = f"{heading}{', '.join(items[:shown])}{more}"
        if len(line) <= LONGEST:
            break
    return line


def _facts(values: Mapping[str, Any], device: Mapping[str, Any]) -> list[tuple[str, str]]:
    shown: list[tuple[str, object]] = [*device.items()]
    for when in ("before", "after"):
        state = mapping(values.get(f"state_{when}"))
        shown += [(f"{key} {when}", value) for key, value in state.items()]
    shown += [("tofa-edge", values.get("tofa_edge")), ("python", values.get("python"))]
    shown += mapping(values.get("versions")).items()
    rows = [(text(str(key).replace("_", " ")), _shown(value)) for key, value in shown]
    return list(dict.fromkeys((key, value) for key, value in rows if key and value))


def _shown(value: object) -> str | None:
    if isinstance(value, Mapping):
        return text(", ".join(f"{key}: {item}" for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return text(", ".join(str(item) for item in value))
    return None if value is None else text(str(value))


def _curve(value: object, latency_ms: Mapping[int, float]) -> tuple[tuple[float, float], ...]:
    points = []
    for pair in value if isinstance(value, list) else ():
        if isinstance(pair, list) and len(pair) == 2:
            percent, ms = number(pair[0]), number(pair[1])
            if percent is not None and percent <= 100 and ms:
                points.append((percent, ms))
    return tuple(sorted(points)) or tuple((float(p), ms) for p, ms in latency_ms.items())


def _interval(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return (low, high) if low and high and low <= high else None


def _share(values: Mapping[str, Any]) -> Share | None:
    right, of = number(values.get("right")), number(values.get("of"))
    if right is None or not of or right > of:
        return None
    return Share(right / of, number(values.get("low")), number(values.get("high")), int(of))


def _layers(value: object) -> tuple[Layer, ...]:
    return tuple(
        Layer(text(item.get("name")) or "a layer", number(item.get("mmacs")), ms)
        for item in mappings(value)
        if (ms := number(item.get("ms"))) is not None
    )


def _sustained(value: object) -> Sustained | None:
    values = mapping(value)
    moments = tuple(
        Moment(at_s=at, throttled=bool(item.get("throttled")), **_optional(Moment, item))
        for item in mappings(values.get("points"))
        if (at := number(item.get("at_s"))) is not None
    )
    row = _row(values)
    return Sustained(row.configuration, moments, row.reasons) if moments else None


def _scenario(values: Mapping[str, Any]) -> Scenario:
    row, name = _row(values), text(values.get("scenario")) or "a scenario"
    return Scenario(name, row.configuration, reasons=row.reasons, **_optional(Scenario, values))


def _parts(value: object, names: Sequence[str]) -> dict[str, float]:
    values = mapping(value)
    seconds = {name: number(values.get(f"{name}_s", values.get(name))) for name in names}
    return {name: spent for name, spent in seconds.items() if spent is not None}


def _subnet(value: object) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value, separators=(",", ":"))
    return value if isinstance(value, str) else ""


def _resolution(subnet: str) -> float | None:
    try:
        return number(mapping(json.loads(subnet)).get("resolution"))
    except (ValueError, RecursionError):
        return None
