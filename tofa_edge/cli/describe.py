"""What `inspect`, `verify`, `evaluate` and `bench` say of a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from tofa_edge import backends
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cli.output import table
from tofa_edge.selftest.records import engine_records
from tofa_edge.train.after.evaluation import Evaluation


def describe(path: Path) -> dict[str, object]:
    """Returns what a bundle holds, in the order to print."""
    bundle = Bundle.open(path)
    space = bundle.space
    ends = [macs(layers(space, subnet)) / 1e6 for subnet in (space.smallest(), space.largest())]
    photos = bundle.calibration_count + bundle.check_count
    shown = ", ".join(bundle.classes[:10]) + (", …" if len(bundle.classes) > 10 else "")
    untrained = bundle.provenance.get("epochs") == 0
    return {
        "bundle": str(path),
        "size_mb": round(sum(bundle.member_sizes.values()) / 1e6, 2),
        "digest": bundle.digest,
        "classes": f"{len(bundle.classes)}: {shown}",
        "space": space.name,
        "subnets": f"{space.count():.2e}",
        "resolutions": ", ".join(map(str, space.resolutions)),
        "mmacs": f"{ends[0]:.1f} to {ends[1]:.1f}",
        "weights": "16 bits" if bundle.half_precision else "32 bits",
        "temperature": round(bundle.temperature, 3),
        "photos": f"{photos}: {bundle.calibration_count} for calibration, {bundle.check_count} "
        "labelled for checking; whoever has the file can see them",
        "smallest_subnet": space.smallest().to_json(),
        "largest_subnet": space.largest().to_json(),
        **({"note": "not trained as a supernet: use the largest subnet only"} if untrained else {}),
        **{
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in bundle.provenance.items()
        },
    }


@dataclass(frozen=True, slots=True)
class VerifyOutcome:
    """Whether an engine computes a bundle's golden cases; None where it is not installed.

    Attributes:
        engine: the backend's name.
        right: whether it does; None where it is not installed.
        reason: in words.
    """

    engine: str
    right: bool | None
    reason: str


def prove_engines(path: Path) -> list[VerifyOutcome]:
    """Returns for each backend whether it computes a bundle's golden cases here."""
    bundle = Bundle.open(path)
    bundle.verify()
    verdicts, records = [], engine_records(bundle, again=True)
    for name, backend in backends.backends().items():
        reason = backend.missing()
        if reason is not None:
            verdicts.append(VerifyOutcome(name, None, f"not here: {reason}"))
            continue
        faults = "; ".join(map(str, records[name].faults))
        verdicts.append(VerifyOutcome(name, not faults, faults or "computes the golden cases"))
    return verdicts


def evaluations_table(evaluations: list[Evaluation]) -> Table:
    """Returns a table of what subnets do on labelled photos."""
    made = table(
        f"{evaluations[0].photos} photos", "subnet", "pixels", "MMACs", "accuracy", "95 % interval",
        "calibration error",
    )  # fmt: skip
    for row in evaluations:
        low, high = row.interval
        made.add_row(
            row.name,
            str(row.subnet.resolution),
            f"{row.macs / 1e6:.1f}",
            f"{row.accuracy:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{row.calibration_error:.1%}",
        )
    return made


def confusion_table(evaluation: Evaluation, classes: Sequence[str]) -> Table:
    """Returns how many photos of each class a subnet takes for which."""
    title = f"{evaluation.name} subnet: photos of the class at the left, taken for the one on top"
    names = [escape(name) for name in classes]
    made = table(title, "class", *names, words=names)
    for name, counts in zip(names, evaluation.confusion, strict=True):
        made.add_row(name, *(str(count) for count in counts))
    return made


def bench_tables(found: dict[str, Any]) -> Iterator[Table]:
    """Yields what `bench` found: its engines, then its front."""
    from tofa_edge.benchmarks.suite.fields import engine_name

    columns = ("engine", "p50 ms", "p95 ms", "p99 ms", "runs", "verdict")
    made = table("engines, with the middle subnet", *columns, words=("verdict",))
    for row in found["rows"]:
        if row["size"] == "middle":
            made.add_row(engine_name(row), *_figures(row))
    yield made
    accuracy = "accuracy" if found["predicts_accuracy"] else "log MACs over the largest's"
    error = found["mean_prediction_error"]
    off = "nothing of it was measured" if error is None else f"predicted p95 off by {error:.1%}"
    made = table(
        f"front, {off}{' on average' if error is not None else ''}",
        "px", "MMACs", accuracy, "predicted", *columns[1:], "", words=("verdict", ""),
    )  # fmt: skip
    for row in found["front"]:
        made.add_row(
            str(row["resolution"]),
            f"{row['mmacs']:.1f}",
            f"{row['expected_accuracy']:.1%}"
            if found["predicts_accuracy"]
            else f"{row['expected_accuracy']:.2f}",
            f"{row['predicted_p95_ms']:.2f}",
            *_figures(row),
            "largest, smaller images" if row["role"] != "front" else "",
        )
    yield made


def _figures(row: dict[str, Any]) -> list[str]:
    """Returns percentiles, runs and verdict of a row."""
    latency = row["latency"]
    if latency is None:
        return ["", "", "", "", f"failed: {row['failed']}"]
    figures = [f"{latency[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
    verdict = "VALID" if row["valid"] else "; ".join(row["reasons"])
    return [*figures, str(latency["count"]), verdict]


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
