"""What 8-bit integers bring and cost: speed, size, memory, accuracy, and what budgets make of it.

`python -m tofa_edge.benchmarks.studies.precision parts.tofa cifar10-jpeg.zip --out precision.json`
takes a trained bundle and the images that it was never shown. `--parts` names some of: speed (the
largest Lite0 at 160 px, one thread, precisions side by side), accuracy (20 subnets, 5,000 test
images, paired bootstrap), budgets (five tight ones, precision free and in float only). What was
measured is kept: started again, only what is missing is run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tofa_edge
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.benchmarks.studies.command import (
    Row,
    bootstrap_interval,
    options,
    random_subnets,
    store,
    stored,
)
from tofa_edge.benchmarks.studies.memory import measured_growth
from tofa_edge.benchmarks.studies.zip_photos import photos_to_test
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import drop, logits_of
from tofa_edge.cutting.calibration import MAX_CHUNK
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import ready
from tofa_edge.deployment.screen import side_by_side
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.records import passing_engines
from tofa_edge.selftest.specimens import calibrated, photos, random_supernet

SIZE, RANGE_PHOTOS = 160, 64
SUBNETS = 20
SHARES = (0.12, 0.18, 0.25, 0.35, 0.5)  # of what the largest takes in float: five tight budgets
PARTS = ("speed", "accuracy", "budgets")


def main() -> None:
    parts = {"nargs": "*", "default": PARTS, "choices": PARTS}
    threads, out = (1, "of the budgets"), Path("precision.json")
    given = options(__doc__, "bundle", "images", parts=parts, threads=threads, out=out)
    rows, bundle = stored(given.out), Bundle.open(given.bundle)
    measure: Mapping[str, Callable[[], Row]] = {
        "speed": partial(_speed, bundle),
        "accuracy": partial(_accuracy, bundle, given.images),
        "budgets": partial(_budgets, bundle, given.images, given.threads),
    }
    for part in given.parts:
        if part not in rows:
            rows[part] = {**measure[part](), "date": time.strftime("%Y-%m-%d")}
            store(given.out, rows)
        print(part, json.dumps(rows[part], indent=1), flush=True)


def _speed(bundle: Bundle) -> Row:
    """Returns medians, artefact sizes and growth of processes on each engine and precision."""
    space = efficientnet_lite0()
    subnet = Subnet(SIZE, space.largest().stages)
    network = calibrated(space, subnet, random_supernet(space, 0))
    images, by = photos(RANGE_PHOTOS, SIZE), calibrating_engine()
    begun = time.perf_counter()
    rounded = ready(network, Target(precision="int8"), images, by)
    quantising = time.perf_counter() - begun
    engines = [e for e in passing_engines(threads=1) if e.target.unit == "cpu"]
    runs, rows = {}, {}
    for engine in engines:
        begun, target = time.perf_counter(), engine.target
        artefact = engine.backend.build(rounded if target.is_integer else network, target)
        session = engine.backend.load(artefact, target)
        built = time.perf_counter() - begun
        runs[engine] = partial(session.run, images[:1])
        rows[str(engine)] = {"artefact_mb": len(artefact) / 1e6, "build_and_load_s": built}
    with measuring_turn():
        for engine, milliseconds in side_by_side(runs, rounds=20, drop=float("inf")):
            rows[str(engine)]["p50_ms"] = milliseconds
    for engine in engines:
        words = (engine.backend.name, engine.target.precision, bundle.space.largest())
        rows[str(engine)]["growth_mb"] = measured_growth(bundle.path, *words) / 1e6
    for engine in engines:
        row, same = rows[str(engine)], rows[str(Engine(engine.backend, Target()))]
        for name in ("p50_ms", "artefact_mb", "growth_mb"):
            row[f"{name}_over_fp32"] = row[name] / same[name]
    short = {name: {key: round(x, 4) for key, x in row.items()} for name, row in rows.items()}
    return {"input": SIZE, "quantising_64_images_s": round(quantising, 3), "engines": short}


def _accuracy(bundle: Bundle, images: Path) -> Row:
    """Returns by how much integers lower the accuracy of subnets on each engine, in points."""
    space, cutter, by = bundle.space, Cutter(bundle), calibrating_engine(bundle)
    drawn = random_subnets(space, 3, SUBNETS - 3)
    engines = [e for e in passing_engines(bundle, threads=1) if e.target.is_integer]
    exact: list[NDArray[np.bool_]] = []
    rounded: dict[str, list[NDArray[np.bool_]]] = {str(engine): [] for engine in engines}
    expected: dict[str, list[float]] = {str(engine): [] for engine in engines}
    for subnet in (space.largest(), space.middle(), space.smallest(), *drawn):
        shown, labels = photos_to_test(images, subnet.resolution)
        network, seen = cutter.network(subnet, by), cutter.images(subnet.resolution)
        exact.append(logits_of(network, by, shown).argmax(axis=1) == labels)
        for engine in engines:
            name, prepared = str(engine), ready(network, engine.target, seen, by)
            rounded[name].append(logits_of(prepared, engine, shown).argmax(axis=1) == labels)
            both = (logits_of(network, by, seen), logits_of(prepared, engine, seen))
            expected[name].append(drop(*both, bundle.temperature).expected)
    rows = {}
    for name, right in rounded.items():
        lost = np.array(exact).astype(float) - np.array(right)  # (subnets, images)
        rows[name] = {
            "mean_drop": _points(lost.mean()),
            "interval": [_points(bound) for bound in bootstrap_interval(lost.mean(axis=0))],
            "worst_drop": _points(lost.mean(axis=1).max()),
            "mean_drop_expected_without_labels": _points(np.mean(expected[name])),
        }
    mean = round(100 * float(np.mean(exact)), 2)
    return {"subnets": len(exact), "images": len(exact[0]), "fp32": mean, "engines": rows}


def _points(share: Any) -> float:
    return round(100 * float(share), 3)


def _budgets(bundle: Bundle, images: Path, threads: int) -> Row:
    """Returns the accuracy of what is deployed for tight budgets, on images never seen."""
    with tofa_edge.deploy(
        bundle, remember=False, options=tofa_edge.DeployOptions(precision="fp32", threads=threads)
    ) as model:
        assert model.explanation.chosen is not None
        whole = model.explanation.chosen.latency.p95_ms
    rows = []
    for share in SHARES:
        row: Row = {"budget_ms": round(share * whole, 3)}
        for name, precision in (("free", None), ("float", "fp32")):
            row[name] = _deployed(bundle, images, share * whole, threads, precision)
        rows.append(row)
        print(json.dumps(row), flush=True)
    both = [row for row in rows if "right" in row["free"] and "right" in row["float"]]
    gains = [100 * (row["free"]["right"] - row["float"]["right"]) for row in both]
    mean = round(float(np.mean(gains)), 2) if gains else None
    return {"threads": threads, "mean_gain": mean, "budgets": rows}


def _deployed(
    bundle: Bundle, images: Path, limit: float, threads: int, precision: str | None
) -> Row:
    wanted = tofa_edge.DeployOptions(threads=threads, precision=precision)
    try:
        model = tofa_edge.deploy(bundle, latency_ms=limit, remember=False, options=wanted)
    except tofa_edge.BudgetError as error:
        return {"refused": str(error)}
    with model:
        shown, labels = photos_to_test(images, model.input_size)
        parts = np.array_split(shown, -(-len(shown) // MAX_CHUNK))
        classes = np.array([p.index for part in parts for p in model.batch(part)])
        chosen = model.explanation.chosen
        assert chosen is not None
        return {
            "right": round(float((classes == labels).mean()), 4),
            "engine": str(model.engine),
            "mmacs": round(chosen.macs / 1e6, 1),
            "p95_ms": round(chosen.latency.p95_ms, 3),
        }


if __name__ == "__main__":
    main()
