"""Reads results of `tofa-edge bench` for the report; nothing in them is trusted.

A result may come from another machine and another version. What is absent, of another type, or no
number that can be drawn becomes None.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
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
from tofa_edge.errors import DataError

SCHEMAS = (1, 2)
LONGEST = 160  # characters of a text that a result brings
ENGINE = re.compile(r"(?P<name>.+) (?P<device>\S+) (?P<precision>\S+) (?P<threads>\d+)t")


def read(path: Path) -> Result:
    """Returns a result of `tofa-edge bench`, of any schema known."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no result of tofa-edge bench: {error}") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if isinstance(schema, bool) or schema not in SCHEMAS or not ({"engines", "rows"} & set(found)):
        known = ", ".join(map(str, SCHEMAS))
        raise DataError(f"{path} is no result of tofa-edge bench of schema {known}")
    return _result(path, found)


def number(value: object) -> float | None:
    """Returns a finite number that is not negative, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and 0 <= found < 1e15 else None


def text(value: object) -> str | None:
    """Returns text of bounded length without control characters, None for anything else."""
    if not isinstance(value, str):
        return None
    shown = "".join(c if c.isprintable() else " " for c in value[: LONGEST + 1]).strip()
    return shown[:LONGEST] + "…" if len(shown) > LONGEST else shown or None


def _result(path: Path, found: Mapping[str, Any]) -> Result:
    bundle, facts = _mapping(found.get("bundle")), _mapping(found.get("device"))
    old = [
        _row({"role": "engine", "failed": None if r.get("latency") else r.get("reason"), **r})
        for r in _mappings(found.get("engines"))
    ]
    rows = [*old, *(_row(r) for r in _mappings(found.get("rows")))]
    front = [_row({"role": "front", **r}) for r in _mappings(found.get("front"))]
    predicts = found.get("predicts_accuracy") is not False
    return Result(
        path=path,
        device=device_name(facts),
        bundle=text(bundle.get("name")) or "a bundle",
        digest=text(bundle.get("digest")),
        date=text(found.get("date")),
        seconds=number(found.get("seconds")),
        remarks=_remarks(found),
        engines=tuple(row for row in rows if row.role == "engine" and row.size != "largest"),
        largest=tuple(row for row in rows if row.role == "engine" and row.size == "largest"),
        front=tuple(row for row in front if row.role == "front"),
        lower=tuple(row for row in (*front, *rows) if row.role not in ("front", "engine")),
        predicts_accuracy=predicts,
        prediction_error=number(found.get("mean_prediction_error")),
        cold_start_s=_parts(found.get("cold_start_s"), OLD_COLD_START),
        sustained=_sustained(found.get("sustained")),
        scenarios=tuple(_scenario(item) for item in _mappings(found.get("scenarios"))),
        facts=tuple(_facts(found, facts)),
    )


def device_name(facts: Mapping[str, Any]) -> str:
    """Returns what people call a machine: its board, else its processor and cores."""
    board = text(facts.get("board"))
    if board:
        return board
    names = [text(name) for name in _mapping(facts.get("processors"))]
    cores = number(facts.get("allowed_cores")) or number(facts.get("cores"))
    processor = " + ".join(name for name in names if name) or text(facts.get("architecture"))
    counted = f", {cores:.0f} cores" if cores else ""
    return f"{processor or 'an unnamed machine'}{counted}"


def _row(found: Mapping[str, Any]) -> ResultRow:
    latency = _mapping(found.get("latency"))
    engine, parts = _engine(found)
    measured = {p: v for p in (50, 90, 95, 99) if (v := number(latency.get(f"p{p}_ms")))}
    parity = _mapping(found.get("parity"))
    same, of = number(parity.get("same_class")), number(parity.get("of"))
    words = _texts(found.get("reasons"))
    told = {kind_of(word) for word in words}
    words += [word for word in _texts(latency.get("flags")) if kind_of(word) not in told]
    throughput = _mappings(found.get("throughput"))
    subnet = _subnet(found.get("subnet"))
    resolution = number(found.get("resolution")) or _resolution(subnet)
    if found.get("valid") is False and not words:
        words = ["not valid"]
    return ResultRow(
        role=text(found.get("role")) or "engine",
        size=text(found.get("size")),
        engine=engine,
        device=parts.get("device"),
        precision=parts.get("precision"),
        threads=int(parts["threads"]) if parts.get("threads") else None,
        subnet=subnet,
        resolution=int(resolution) if resolution else None,
        mmacs=number(found.get("mmacs")),
        failed=text(found.get("failed")) or (None if measured else "not measured"),
        reasons=tuple(dict.fromkeys(words)),
        latency_ms=measured,
        interval_ms={
            p: bounds for p in measured if (bounds := _interval(latency.get(f"p{p}_interval_ms")))
        },
        count=_whole(latency.get("count")),
        curve_ms=_curve(found.get("curve_ms"), measured),
        cold_start_s=_parts(found.get("cold_start"), COLD_START),
        images_per_s={
            int(batch): rate
            for item in throughput
            if (batch := number(item.get("batch"))) and (rate := number(item.get("images_per_s")))
        },
        peak_memory_bytes=number(found.get("peak_memory_bytes")),
        artefact_bytes=number(found.get("artefact_bytes")),
        joules_per_image=number(_mapping(found.get("energy")).get("joules_per_image")),
        accuracy=_share(_mapping(found.get("accuracy"))),
        expected_accuracy=number(found.get("expected_accuracy")),
        predicted_p95_ms=number(found.get("predicted_p95_ms")),
        same_class=same / of if same is not None and of else None,
        largest_difference=number(parity.get("largest_difference")),
        layers=_layers(found.get("layers")),
        layers_how=text(found.get("layers_how")),
    )


def _engine(found: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    name = text(found.get("engine")) or "an engine"
    old = ENGINE.fullmatch(name)
    if old:
        return old["name"], old.groupdict()
    threads = _whole(found.get("threads"))
    parts = {"device": text(found.get("device")), "precision": text(found.get("precision"))}
    known = {key: value for key, value in parts.items() if value}
    return name, known | ({"threads": str(threads)} if threads else {})


def _remarks(found: Mapping[str, Any]) -> tuple[str, ...]:
    said = []
    if found.get("interrupted") is True:
        said.append("interrupted: what was measured until then")
    if found.get("alone") is False:
        said.append("another process measured at the same time")
    for when in ("before", "after"):
        for word in _texts(_mapping(found.get(f"state_{when}")).get("throttled_now")):
            said.append(f"{word} {when} measuring")
    skipped = _texts(found.get("skipped"))
    if skipped:
        said.append(_listed(f"no time for {len(skipped)} measurements: ", skipped))
    if found.get("quick") is True:
        said.append("quick: fewer repeats")
    return tuple(said)


def _listed(heading: str, items: Sequence[str]) -> str:
    """Returns a heading and as many items as fit, one at least, and how many more there are."""
    for shown in range(min(len(items), LONGEST), 0, -1):
        more = f", and {len(items) - shown} more" if shown < len(items) else ""
        line = f"{heading}{', '.join(items[:shown])}{more}"
        if len(line) <= LONGEST:
            break
    return line


def _facts(found: Mapping[str, Any], device: Mapping[str, Any]) -> list[tuple[str, str]]:
    shown: list[tuple[str, object]] = [*device.items()]
    for when in ("before", "after"):
        state = _mapping(found.get(f"state_{when}"))
        shown += [(f"{key} {when}", value) for key, value in state.items()]
    shown += [("tofa-edge", found.get("tofa_edge")), ("python", found.get("python"))]
    shown += _mapping(found.get("versions")).items()
    rows = [(text(str(key).replace("_", " ")), _shown(value)) for key, value in shown]
    return list(dict.fromkeys((key, value) for key, value in rows if key and value))


def _shown(value: object) -> str | None:
    if isinstance(value, Mapping):
        return text(", ".join(f"{key}: {item}" for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return text(", ".join(str(item) for item in value))
    return None if value is None else text(str(value))


def _curve(value: object, measured: Mapping[int, float]) -> tuple[tuple[float, float], ...]:
    found = []
    for pair in value if isinstance(value, list) else ():
        if isinstance(pair, list) and len(pair) == 2:
            percent, ms = number(pair[0]), number(pair[1])
            if percent is not None and percent <= 100 and ms:
                found.append((percent, ms))
    return tuple(sorted(found)) or tuple((float(p), ms) for p, ms in measured.items())


def _interval(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return (low, high) if low and high and low <= high else None


def _share(found: Mapping[str, Any]) -> Share | None:
    right, of = number(found.get("right")), number(found.get("of"))
    if right is None or not of or right > of:
        return None
    return Share(right / of, number(found.get("low")), number(found.get("high")), int(of))


def _layers(value: object) -> tuple[Layer, ...]:
    return tuple(
        Layer(text(item.get("name")) or "a layer", number(item.get("mmacs")), ms)
        for item in _mappings(value)
        if (ms := number(item.get("ms"))) is not None
    )


def _sustained(value: object) -> Sustained | None:
    found = _mapping(value)
    moments = tuple(
        Moment(
            at,
            number(item.get("p50_ms")),
            number(item.get("p95_ms")),
            number(item.get("temperature_c")),
            number(item.get("clock_mhz")),
            number(item.get("watts")),
            bool(item.get("throttled")),
        )
        for item in _mappings(found.get("points"))
        if (at := number(item.get("at_s"))) is not None
    )
    row = _row(found)
    return Sustained(row.configuration, moments, row.reasons) if moments else None


def _scenario(found: Mapping[str, Any]) -> Scenario:
    row = _row(found)
    return Scenario(
        text(found.get("scenario")) or "a scenario",
        row.configuration,
        text(found.get("failed")),
        row.reasons,
        _whole(found.get("queries")),
        number(found.get("p90_ms")),
        number(found.get("images_per_s")),
    )


def _parts(value: object, names: Sequence[str]) -> dict[str, float]:
    found = _mapping(value)
    seconds = {name: number(found.get(f"{name}_s", found.get(name))) for name in names}
    return {name: spent for name, spent in seconds.items() if spent is not None}


def _subnet(value: object) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value, separators=(",", ":"))
    return value if isinstance(value, str) else ""


def _resolution(subnet: str) -> float | None:
    try:
        return number(_mapping(json.loads(subnet)).get("resolution"))
    except (ValueError, RecursionError):
        return None


def _whole(value: object) -> int | None:
    found = number(value)
    return None if found is None else int(found)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [found for item in value if (found := text(item))] if isinstance(value, list) else []
