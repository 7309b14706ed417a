"""What 8-bit integers bring and cost: speed, size, memory, accuracy, and what budgets make of it.

`python -m tofa_edge.benchmarks.studies.precision parts.tofa cifar10-jpeg.zip --out precision.json`
takes a trained bundle and the images that it was never shown. `--parts` names some of: speed (the
largest Lite0 at 160 px, one thread, precisions side by side), accuracy (20 subnets, 5,000 test
images, paired bootstrap), budgets (five tight ones, precision free and in float only). What was
measured is kept: started again, only what is missing is run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tofa_edge
from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import decoded, distinct, sample
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.benchmarks.studies.memory import measured_growth
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.benchmarks.studies.zip_photos import photos_to_test
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import drop, logits_of
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import ready
from tofa_edge.deployment.screen import side_by_side
from tofa_edge.measurement.stopwatch import one_at_a_time
from tofa_edge.selftest.records import calibrating_engine, passing_engines
from tofa_edge.selftest.specimens import calibrated, photos, random_supernet

SIZE, RANGE_PHOTOS = 160, 64
SUBNETS, RESAMPLES, BATCH = 20, 2000, 64
SHARES = (0.12, 0.18, 0.25, 0.35, 0.5)  # of what the largest takes in float: five tight budgets
PARTS = ("speed", "accuracy", "budgets")


def main() -> None:
    """Measures what is missing, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, help="zip of */{train,test}/<class>/*.jpg")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--threads", type=int, default=1, help="of the budgets")
    parser.add_argument("--out", type=Path, default=Path("precision.json"))
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    bundle = Bundle.open(options.bundle)
    make: Mapping[str, Callable[[], Any]] = {
        "speed": partial(speed, bundle),
        "accuracy": partial(accuracy, bundle, options.images),
        "budgets": partial(budgets, bundle, options.images, options.threads),
    }
    for part in options.parts:
        if part not in found:
            found[part] = {**make[part](), "date": time.strftime("%Y-%m-%d")}
            found["made"] = made()
            options.out.write_text(json.dumps(found, indent=1))
        print(part, json.dumps(found[part], indent=1), flush=True)


def speed(bundle: Bundle) -> dict[str, Any]:
    """Returns medians, artefact sizes and growth of processes on each engine and precision."""
    space = efficientnet_lite0()
    subnet = Subnet(SIZE, space.largest().stages)
    network = calibrated(space, subnet, random_supernet(space, 0))
    images, by = photos(RANGE_PHOTOS, SIZE), calibrating_engine()
    begun = time.perf_counter()
    rounded = ready(network, Target(precision="int8"), images, by)
    quantising = time.perf_counter() - begun
    able = [e for e in passing_engines(threads=1) if e.target.unit == "cpu"]
    runs, rows = {}, {}
    for engine in able:
        begun = time.perf_counter()
        artefact = engine.backend.build(rounded if engine.target.is_integer else network,
                                        engine.target)  # fmt: skip
        session = engine.backend.load(artefact, engine.target)
        built = time.perf_counter() - begun
        runs[engine] = partial(session.run, images[:1])
        rows[str(engine)] = {"artefact_mb": len(artefact) / 1e6, "build_and_load_s": built}
    with one_at_a_time():
        for engine, milliseconds in side_by_side(runs, rounds=20, drop=float("inf")):
            rows[str(engine)]["p50_ms"] = milliseconds
    largest = bundle.space.largest()
    for engine in able:
        parts = (engine.backend.name, engine.target.precision)
        rows[str(engine)]["growth_mb"] = measured_growth(bundle.path, *parts, largest) / 1e6
    for engine in able:
        same = rows[str(Engine(engine.backend, Target()))]
        for name in ("p50_ms", "artefact_mb", "growth_mb"):
            rows[str(engine)][f"{name}_over_fp32"] = rows[str(engine)][name] / same[name]
    found = {name: {key: round(x, 4) for key, x in row.items()} for name, row in rows.items()}
    return {"input": SIZE, "quantising_64_images_s": round(quantising, 3), "engines": found}


def accuracy(bundle: Bundle, images: Path) -> dict[str, Any]:
    """Returns by how much integers lower the accuracy of subnets on each engine, in points."""
    space, cutter, by = bundle.space, Cutter(bundle), calibrating_engine(bundle)
    drawn = distinct(space, sample(space, np.random.default_rng(3), SUBNETS - 3))
    subnets = [space.largest(), space.middle(), space.smallest(), *decoded(space, drawn)]
    able = [e for e in passing_engines(bundle, threads=1) if e.target.is_integer]
    exact: list[NDArray[np.bool_]] = []
    rounded: dict[str, list[NDArray[np.bool_]]] = {str(engine): [] for engine in able}
    guessed: dict[str, list[float]] = {str(engine): [] for engine in able}
    for subnet in subnets:
        shown, labels = photos_to_test(images, subnet.resolution)
        network = cutter.network(subnet, by)
        exact.append(logits_of(network, by, shown).argmax(axis=1) == labels)
        seen = cutter.images(subnet.resolution)
        for engine in able:
            made = ready(network, engine.target, seen, by)
            rounded[str(engine)].append(logits_of(made, engine, shown).argmax(axis=1) == labels)
            both = (logits_of(network, by, seen), logits_of(made, engine, seen))
            guessed[str(engine)].append(drop(*both, bundle.temperature).expected)
    rows = {}
    for name, right in rounded.items():
        lost = np.array(exact).astype(float) - np.array(right)  # (subnets, images)
        low, high = _interval(lost.mean(axis=0))
        rows[name] = {
            "mean_drop": round(100 * float(lost.mean()), 3),
            "interval": [round(100 * low, 3), round(100 * high, 3)],
            "worst_drop": round(100 * float(lost.mean(axis=1).max()), 3),
            "mean_drop_expected_without_labels": round(100 * float(np.mean(guessed[name])), 3),
        }
    mean = round(100 * float(np.mean(exact)), 2)
    return {"subnets": len(subnets), "images": len(exact[0]), "fp32": mean, "engines": rows}


def budgets(bundle: Bundle, images: Path, threads: int) -> dict[str, Any]:
    """Returns the accuracy of what is deployed for tight budgets, on images never seen."""
    with tofa_edge.deploy(bundle, precision="fp32", threads=threads, remember=False) as model:
        assert model.explanation.chosen is not None
        whole = model.explanation.chosen.latency.p95_ms
    rows = []
    for share in SHARES:
        row: dict[str, Any] = {"budget_ms": round(share * whole, 3)}
        for name, precision in (("free", None), ("float", "fp32")):
            row[name] = _deployed(bundle, images, share * whole, threads, precision)
        rows.append(row)
        print(json.dumps(row), flush=True)
    gains = [100 * (row["free"]["right"] - row["float"]["right"]) for row in rows
             if "right" in row["free"] and "right" in row["float"]]  # fmt: skip
    mean = round(float(np.mean(gains)), 2) if gains else None
    return {"threads": threads, "mean_gain": mean, "budgets": rows}


def _deployed(
    bundle: Bundle, images: Path, limit: float, threads: int, precision: str | None
) -> dict[str, Any]:
    asked = {"threads": threads, "precision": precision}
    try:
        model = tofa_edge.deploy(bundle, latency_ms=limit, remember=False, **asked)  # type: ignore[arg-type]
    except tofa_edge.BudgetError as error:
        return {"refused": str(error)}
    with model:
        shown, labels = photos_to_test(images, model.input_size)
        parts = np.array_split(shown, -(-len(shown) // BATCH))
        found = np.array([p.index for part in parts for p in model.batch(part)])
        chosen = model.explanation.chosen
        assert chosen is not None
        return {
            "right": round(float((found == labels).mean()), 4),
            "engine": str(model.engine),
            "mmacs": round(chosen.macs / 1e6, 1),
            "p95_ms": round(chosen.latency.p95_ms, 3),
        }


def _interval(values: DoubleArray) -> tuple[float, float]:
    """Returns the 95 % interval of a mean over images, by resampling them."""
    rng = np.random.default_rng(0)
    means = [rng.choice(values, len(values)).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
