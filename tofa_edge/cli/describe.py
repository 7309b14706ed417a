"""What `inspect`, `verify` and `evaluate` print about a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tofa_edge import backends
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cli.output import Table, table
from tofa_edge.selftest.records import engine_records
from tofa_edge.train.after.evaluation import Evaluation
from tofa_edge.trust.trust import Trust


def describe(path: Path) -> dict[str, object]:
    """Returns what a bundle holds, in the order to print."""
    bundle = Bundle.open(path)
    space = bundle.space
    low, high = (macs(layers(space, s)) / 1e6 for s in (space.smallest(), space.largest()))
    photos = bundle.calibration_count + bundle.check_count
    names = ", ".join(bundle.classes[:10]) + (", …" if len(bundle.classes) > 10 else "")
    untrained = bundle.provenance.get("epochs") == 0
    return {
        "bundle": str(path),
        "size_mb": round(sum(bundle.member_sizes.values()) / 1e6, 2),
        "digest": bundle.digest,
        "classes": f"{len(bundle.classes)}: {names}",
        "space": space.name,
        "subnets": f"{space.count():.2e}",
        "resolutions": ", ".join(map(str, space.resolutions)),
        "mmacs": f"{low:.1f} to {high:.1f}",
        "weights": "16 bits" if bundle.half_precision else "32 bits",
        "temperature": round(bundle.temperature, 3),
        "photos": f"{photos}: {bundle.calibration_count} for calibration, {bundle.check_count} "
        "labelled for checking; whoever has the file can see them",
        "finalists": _finalists(bundle),
        "smallest_subnet": space.smallest().to_json(),
        "largest_subnet": space.largest().to_json(),
        **({"note": "not trained as a supernet: use the largest subnet only"} if untrained else {}),
        **{
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in bundle.provenance.items()
        },
    }


def _finalists(bundle: Bundle) -> str:
    listed = bundle.listed_finalists
    if not listed:
        return "none: devices predict accuracy"
    low, high = (end(each.accuracy for each in listed) for end in (min, max))
    ready = sum(each.has_arrays for each in listed)
    return f"{len(listed)}, tested at {low:.1%} to {high:.1%}; {ready} need no calibration"


class EngineCheck(NamedTuple):
    """Whether an engine computes a bundle's golden cases; `right` is None if it cannot run here."""

    engine: str
    right: bool | None
    reason: str


def engine_checks(path: Path, trust: Trust | None = None) -> list[EngineCheck]:
    """Returns for each backend whether it computes a bundle's golden cases here.

    Args:
        path: of the bundle.
        trust: what its signature must say; by default this device's policy.
    """
    bundle = Bundle.open(path, trust)
    bundle.verify()
    checks, records = [], engine_records(bundle, again=True)
    for name, backend in backends.backends().items():
        missing = backend.missing()
        if missing is not None:
            checks.append(EngineCheck(name, None, f"not available: {missing}"))
            continue
        faults = "; ".join(map(str, records[name].faults))
        checks.append(EngineCheck(name, not faults, faults or "computes the golden cases"))
    return checks


def evaluations_table(evaluations: list[Evaluation]) -> Table:
    """Returns a table of what subnets do on labelled photos."""
    rows = (
        (
            row.name,
            str(row.subnet.resolution),
            f"{row.macs / 1e6:.1f}",
            f"{row.accuracy:.1%}",
            "{:.1%} to {:.1%}".format(*row.interval),
            f"{row.calibration_error:.1%}",
        )
        for row in evaluations
    )
    columns = ("subnet", "pixels", "MMACs", "accuracy", "95 % interval", "calibration error")
    return table(f"{evaluations[0].photos} photos", *columns, rows=rows)


def confusion_table(evaluation: Evaluation, classes: Sequence[str]) -> Table:
    """Returns how many photos of each class a subnet takes for which."""
    rows = [(n, *map(str, c)) for n, c in zip(classes, evaluation.confusion, strict=True)]
    title = f"{evaluation.name} subnet: rows are true classes, columns are predicted ones"
    return table(title, "class", *classes, words=classes, rows=rows)


def evaluations_as_json(evaluations: list[Evaluation]) -> list[dict[str, object]]:
    """Returns the same for machines, with confusion matrices."""
    return [
        {
            **dataclasses.asdict(row),
            "subnet": row.subnet.to_json(),
            "confusion": row.confusion.tolist(),
        }
        for row in evaluations
    ]
