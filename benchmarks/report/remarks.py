"""What a report says of a whole result: what limits it, and what is known of the machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tofa_edge.benchmarks.result.bench_result import BenchResult

LONGEST = 160  # characters of a remark or a fact


def remarks(result: BenchResult) -> tuple[str, ...]:
    """Returns what to know of a result as a whole: interrupted, not alone, throttled, quick."""
    words = []
    if result.interrupted:
        words.append("interrupted: what was measured until then")
    if not result.alone:
        words.append("another process measured at the same time")
    for when, state in (("before", result.state_before), ("after", result.state_after)):
        words += [f"{word} {when} measuring" for word in (state and state.throttled_now) or ()]
    if result.skipped:
        words.append(_listed(f"no time for {len(result.skipped)} measurements: ", result.skipped))
    if result.quick:
        words.append("quick: fewer repeats")
    words += dict.fromkeys(f"{row.name}: {note}" for row in result.against for note in row.notes)
    return tuple(words)


def facts(result: BenchResult) -> tuple[tuple[str, str], ...]:
    """Returns what is known of machine and software: pairs of what and a text."""
    known: list[tuple[str, object]] = [("command", result.command), *_fields(result.device, "")]
    known += _fields(result.state_before, " before") + _fields(result.state_after, " after")
    known += [("tofa-edge", result.tofa_edge), ("python", result.python), *result.versions.items()]
    rows = [(name, _short(_shown(value))) for name, value in known if value is not None]
    return tuple(dict.fromkeys(row for row in rows if row[1]))


def _fields(value: object, when: str) -> list[tuple[str, object]]:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return []
    names = [field.name for field in dataclasses.fields(value)]
    return [(f"{name.replace('_', ' ')}{when}", getattr(value, name)) for name in names]


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _listed(heading: str, items: Sequence[str]) -> str:
    """Returns a heading and as many items as fit, one at least, and how many more there are."""
    for shown in range(min(len(items), LONGEST), 0, -1):
        more = f", and {len(items) - shown} more" if shown < len(items) else ""
        line = f"{heading}{', '.join(items[:shown])}{more}"
        if len(line) <= LONGEST:
            break
    return _short(line)
