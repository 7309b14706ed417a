"""Figures as people read them: three digits, with their unit; a dash for what is unknown."""

from __future__ import annotations

from math import floor, log10

UNKNOWN = "–"
DIGITS, MOST_BEHIND = 3, 9  # figures; places behind the point


def digits(value: float | None) -> str:
    """Returns a number of three digits: 0.0624, 0.624, 6.24, 62.4, 624, 6,240."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    rounded = float(f"{value:.{DIGITS - 1}e}")
    behind = DIGITS - 1 - floor(log10(abs(rounded)))
    return f"{rounded:,.{max(0, min(behind, MOST_BEHIND))}f}"


def plain(value: float) -> str:
    """Returns a round number without zeros behind: 0.05, 20, 1,000."""
    return f"{value:,.9f}".rstrip("0").rstrip(".")


def with_unit(value: float | None, unit: str) -> str:
    """Returns a number of three digits and its unit."""
    return UNKNOWN if value is None else f"{digits(value)} {unit}"


def milliseconds(value: float | None) -> str:
    """Returns milliseconds with their unit."""
    return with_unit(value, "ms")


def percent(share: float | None) -> str:
    """Returns a share of 0 to 1 in per cent."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def megabytes(size_bytes: float | None) -> str:
    """Returns bytes in MB, millions of bytes."""
    return with_unit(None if size_bytes is None else size_bytes / 1e6, "MB")


def interval(bounds: tuple[float, float] | None) -> str:
    """Returns the two bounds of a 95 % interval, in milliseconds."""
    return UNKNOWN if bounds is None else f"{digits(bounds[0])} to {milliseconds(bounds[1])}"
