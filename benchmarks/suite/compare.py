"""`tofa-edge compare`: what differs between results of `tofa-edge bench`, and what is noise.

Rows that two results share (the same subnet on the same engine) are compared by their medians;
results of two bundles share none, whatever the names. The noise of a row comes from the runs of
both, and from what two processes on one machine differ by anyway. Over all rows the typical ratio
counts: the median, which a few disturbed rows do not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tofa_edge.architecture.space import Subnet
from tofa_edge.benchmarks.result.bench_result import BenchResult
from tofa_edge.benchmarks.result.reading import read
from tofa_edge.errors import DataError, SubnetError
from tofa_edge.measurement.stopwatch import Latency

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
    first, *others = [(path, read(path)) for path in paths]
    return [_compared(first, other) for other in others]


def _compared(first: tuple[Path, BenchResult], other: tuple[Path, BenchResult]) -> Comparison:
    before, after = (_networks(result) for _, result in (first, other))
    digests = first[1].bundle.digest, other[1].bundle.digest
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
        (*_differing(first[1], other[1]), *_invalid(*first), *_invalid(*other)),
    )


def _networks(result: BenchResult) -> dict[str, Latency]:
    """Returns the latency of each network on an engine, by name; schemas are named alike."""
    found: dict[str, Latency] = {}
    for row in result.every_row:
        name = MIDDLE if row.size == "middle" else row.file or _named(row.subnet or "")
        if row.latency is not None:
            found[f"{name} on {row.configuration}"] = row.latency
    for learned in result.learned_from:
        found.setdefault(f"{_named(learned.subnet)} on {learned.engine}", learned.latency)
    return found


def _named(subnet: str) -> str:
    """Returns the short form of a subnet in JSON, and any other name as it is."""
    try:
        return str(Subnet.from_json(subnet))
    except SubnetError:
        return subnet


def _row(name: str, before: Latency, after: Latency) -> ComparedRow:
    error = float(np.hypot(np.hypot(before.relative_error, after.relative_error), BETWEEN))
    first, second = before.steady_ms, after.steady_ms
    return ComparedRow(name, first, second, second / first, error)


def _verdict(ratio: float, error: float) -> str:
    moved = float(np.log(ratio))
    if abs(moved) <= QUANTILE_95 * error:
        return "noise"
    return "slower" if moved > 0 else "faster"


def _invalid(path: Path, result: BenchResult) -> list[str]:
    """Returns a line about the invalid rows of a result."""
    rows = result.every_row
    invalid = [row for row in rows if row.latency and row.reasons]
    if not invalid:
        return []
    kinds = ", ".join(sorted({kind for row in invalid for kind in row.kinds}))
    return [f"{path}: {len(invalid)} of {len(rows)} rows are not valid: {kinds}"]


def _differing(first: BenchResult, other: BenchResult) -> list[str]:
    differences = []
    if first.device != other.device:
        differences.append("the devices differ")
    if first.bundle.digest != other.bundle.digest:
        differences.append("the bundles differ")
    old, new = ({**each.versions, "tofa_edge": each.tofa_edge} for each in (first, other))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            before, after = old.get(name, "nothing"), new.get(name, "nothing")
            differences.append(f"{name}: {before} before, {after} after")
    return differences
