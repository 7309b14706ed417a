"""`tofa-edge compare`: what differs between results of `tofa-edge bench`, and what is noise.

Rows that two results share (the same subnet on the same engine) are compared by their medians;
results of two bundles share none, whatever the names. The noise of a row comes from the runs of
both, and from what two processes on one machine differ by anyway. Over all rows the typical ratio
counts: the median, which a few disturbed rows do not move.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.space import Subnet
from tofa_edge.benchmarks.report.reading import content
from tofa_edge.benchmarks.suite.fields import engine_name
from tofa_edge.errors import DataError, SubnetError
from tofa_edge.measurement.stopwatch import SLOWED

BETWEEN = 0.02  # relative: two measurements of one network in two processes on one machine
COMMON = 0.01  # relative: what moves all rows of a run alike
QUANTILE_95 = 1.96
MIDDLE = "the middle subnet"


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One network on one engine in two results.

    Attributes:
        name: which.
        before_ms: its median in the first result, on a steady machine.
        after_ms: in the other.
        ratio: after over before.
        error: relative standard error of the ratio.
    """

    name: str
    before_ms: float
    after_ms: float
    ratio: float
    error: float

    @property
    def verdict(self) -> str:
        """Returns "slower", "faster" or "noise"."""
        return _verdict(self.ratio, self.error)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A result against the first one.

    Attributes:
        before: file of the first result.
        after: file of the other.
        rows: what both have.
        ratio: the typical one, after over before.
        error: its relative standard error.
        differing: what else differs: device, software, bundle, in words; and what does not count.
    """

    before: Path
    after: Path
    rows: tuple[ComparedRow, ...]
    ratio: float
    error: float
    differing: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Returns "slower", "faster" or "noise"."""
        return _verdict(self.ratio, self.error)

    def is_slower_than(self, allowed: float) -> bool:
        """Whether it is slower by more than allowed, 0.05 for 5 %, and that is no noise.

        Args:
            allowed: a share of the latency before.
        """
        return self.verdict == "slower" and self.ratio > 1 + allowed

    def __str__(self) -> str:
        low, high = (
            np.exp(np.log(self.ratio) + sign * QUANTILE_95 * self.error) for sign in (-1, 1)
        )
        verdict = {"noise": "no difference beyond noise"}.get(self.verdict, self.verdict)
        return (
            f"{self.after} against {self.before}: {verdict}; {self.ratio:.3f} × the time "
            f"({low:.3f} to {high:.3f} with 95 %), {len(self.rows)} networks in both"
        )


def compare(paths: Sequence[Path]) -> list[Comparison]:
    """Returns each result against the first.

    Args:
        paths: of files that `tofa-edge bench` wrote, two or more.

    Raises:
        DataError: there is one file only, one is no such result, or two have no network in common,
            as those of different bundles.
    """
    if len(paths) < 2:
        raise DataError(f"wanted two results or more to compare, got {len(paths)}")
    first, *others = [(path, content(path)) for path in paths]
    return [_compared(first, other) for other in others]


def _compared(first: tuple[Path, dict[str, Any]], other: tuple[Path, dict[str, Any]]) -> Comparison:
    try:
        before, after = (_networks(result) for _, result in (first, other))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{first[0]} or {other[0]} lacks what bench writes: {error!r}") from error
    digests = _digest(first[1]), _digest(other[1])
    if None not in digests and digests[0] != digests[1]:
        raise DataError(
            f"{first[0]} and {other[0]} have no network in common: the bundles differ "
            "(their digests); compare results of one bundle"
        )
    shared = [name for name in before if name in after]
    if not shared:
        raise DataError(f"{first[0]} and {other[0]} have no network on an engine in common")
    rows = tuple(_row(name, before[name], after[name]) for name in shared)
    logs = np.log([row.ratio for row in rows])
    spread = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
    own = float(np.median([row.error for row in rows]))
    standard_error = 1.2533 * max(spread, own) / len(rows) ** 0.5  # of a median
    return Comparison(
        first[0],
        other[0],
        rows,
        float(np.exp(np.median(logs))),
        float(np.hypot(standard_error, COMMON)),
        (*_differing(first[1], other[1]), *_invalid(first), *_invalid(other)),
    )


def _networks(result: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Returns the median and its relative error of each network on an engine, by name.

    Schema 2 is named as schema 1 names it.
    """
    rows = []
    if result["schema"] == 2:
        for row in (*result["rows"], *result["front"]):
            subnet = json.dumps(row["subnet"], separators=(",", ":"))
            name = MIDDLE if row.get("size") == "middle" else _named(subnet)
            rows.append((name, engine_name(row), row))
    else:
        rows += [(MIDDLE, row["engine"], row) for row in result["engines"]]
        learned = (*result.get("learned_from", ()), *result.get("front", ()))
        rows += [
            (_named(str(r["subnet"])), r["engine"], r)
            for r in learned
            if r.get("engine") is not None
        ]
    return {
        f"{name} on {e}": _steady(r["latency"]) for name, e, r in rows if r["latency"] is not None
    }


def _named(subnet: str) -> str:
    """Returns the short form of a subnet in JSON, and any other name as it is."""
    try:
        return str(Subnet.from_json(subnet))
    except SubnetError:
        return subnet


def _digest(result: Mapping[str, Any]) -> object:
    """Returns the digest of the bundle that was measured; None where the result does not tell."""
    bundle = result.get("bundle")
    return bundle.get("digest") if isinstance(bundle, Mapping) else None


def _steady(latency: Mapping[str, Any]) -> tuple[float, float]:
    slowdown = float(latency["slowdown"])
    median = float(latency["p50_ms"]) / (slowdown if slowdown > SLOWED else 1.0)
    if not 0 < median < float("inf"):
        raise ValueError(f"a median of {median} ms")
    return median, float(latency["relative_error"])


def _row(name: str, before: tuple[float, float], after: tuple[float, float]) -> ComparedRow:
    error = float(np.sqrt(before[1] ** 2 + after[1] ** 2 + BETWEEN**2))
    return ComparedRow(name, before[0], after[0], after[0] / before[0], error)


def _verdict(ratio: float, error: float) -> str:
    moved = float(np.log(ratio))
    if abs(moved) <= QUANTILE_95 * error:
        return "noise"
    return "slower" if moved > 0 else "faster"


def _invalid(named: tuple[Path, dict[str, Any]]) -> list[str]:
    """Returns a line about the invalid rows of a result; schema 1 has no reasons."""
    path, result = named
    rows = [*result.get("rows", ()), *result.get("front", ())]
    invalid = [row for row in rows if row.get("latency") and row.get("reasons")]
    if not invalid:
        return []
    words = (reason.partition(":")[0] for row in invalid for reason in row["reasons"])
    kinds = ", ".join(sorted(set(words)))
    return [f"{path}: {len(invalid)} of {len(rows)} rows are not valid: {kinds}"]


def _differing(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    differences = []
    if first.get("device") != other.get("device"):
        differences.append("the devices differ")
    if _digest(first) != _digest(other):
        differences.append("the bundles differ")
    versions = [dict(r.get("versions", {}), tofa_edge=r.get("tofa_edge")) for r in (first, other)]
    for name in sorted(versions[0].keys() | versions[1].keys()):
        old, new = (each.get(name, "nothing") for each in versions)
        if old != new:
            differences.append(f"{name}: {old} before, {new} after")
    return differences
