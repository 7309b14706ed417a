"""How far engines are from the reference, and what writing a model costs.

    python -m tofa_edge.benchmarks.studies.engine_parity --bundle cifar.tofa --images cifar.zip

runs random subnets of Lite0, with random weights and calibrated statistics, on every engine that
works here; then test photos on three subnets of a trained bundle; then times both writers.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge import backends
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.tflite.float import write_tflite
from tofa_edge.benchmarks.studies.command import HELP, RESULTS, Row, options, random_subnets, store
from tofa_edge.benchmarks.studies.zip_photos import names_of, read_photos
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.images import decode, prepare
from tofa_edge.cutting.accuracy_drop import logits_of
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.golden import difference
from tofa_edge.selftest.records import passing_engines
from tofa_edge.selftest.small_bundle import smooth_photo
from tofa_edge.selftest.specimens import random_arrays

RESOLUTIONS = (48, 49, 64, 75, 80, 96)  # with odd ones: padding differs
CALIBRATION, COMPARED = 16, 4
TEST_PHOTOS = 1000
WRITTEN, REPEATS = 20, 3
REFERENCE = Engine(backends.backend("reference"), Target())


def main() -> None:
    out = RESULTS / "engine_parity.json"
    paths = {name: (Path, HELP[name]) for name in ("bundle", "images")}
    given = options(__doc__, subnets=200, **paths, out=out)
    engines = _first_on_cpu(passing_engines())
    result = {"writing_ms": _writing(), "random": _random_networks(engines, given.subnets)}
    if given.bundle and given.images:
        result["trained"] = _trained_networks(Bundle.open(given.bundle), given.images)
    store(given.out, result)
    print(json.dumps(result, indent=1))


def _first_on_cpu(engines: list[Engine]) -> list[Engine]:
    """Returns each backend's first target on the CPU."""
    first: dict[str, Engine] = {}
    for engine in engines:
        if engine.target.unit == "cpu":
            first.setdefault(engine.backend.name, engine)
    return list(first.values())


def _random_networks(engines: list[Engine], count: int) -> dict[str, Row]:
    """Returns by engine the difference of logits over the largest, in random Lite0 subnets."""
    space = dataclasses.replace(efficientnet_lite0(), resolutions=RESOLUTIONS)
    rng = np.random.default_rng(7)
    arrays, calibrating = random_arrays(space, rng), calibrating_engine()
    differences: dict[str, list[float]] = {str(engine): [] for engine in engines}
    for number, subnet in enumerate(random_subnets(space, 11, count), 1):
        photos = _noise_photos(CALIBRATION + COMPARED, subnet.resolution, rng)
        seen, compared = photos[COMPARED:], photos[:COMPARED]
        network = cut_network(space, subnet, arrays, LITE_PREPROCESSING, seen, calibrating)
        wanted = logits_of(network, REFERENCE, compared)
        for engine in engines:
            logits = logits_of(network, engine, compared)
            differences[str(engine)].append(difference(logits, wanted))
        if number % 20 == 0:
            print(number, {name: f"{max(d):.1e}" for name, d in differences.items()}, flush=True)
    return {name: {"subnets": len(d), **_summary(d)} for name, d in differences.items()}


def _trained_networks(bundle: Bundle, images: Path) -> dict[str, Row]:
    """Returns by engine on how many test photos the best class is the reference's."""
    engines, calibrating = _first_on_cpu(passing_engines(bundle)), calibrating_engine(bundle)
    cutter, space = Cutter(bundle), bundle.space
    rows: dict[str, Row] = {str(engine): {"photos": 0, "same": 0} for engine in engines}
    differences: dict[str, list[float]] = {name: [] for name in rows}
    names = names_of(images, "test")
    names = names[:: max(1, len(names) // TEST_PHOTOS)][:TEST_PHOTOS]
    for subnet in (space.smallest(), space.middle(), space.largest()):
        size, crop = subnet.resolution, bundle.preprocessing.crop
        photos = np.stack([prepare(photo, size, crop) for photo, _ in read_photos(images, names)])
        network = cutter.network(subnet, calibrating)
        wanted = logits_of(network, REFERENCE, photos)
        for engine in engines:
            logits, row = logits_of(network, engine, photos), rows[str(engine)]
            row["photos"] += len(photos)
            row["same"] += int((logits.argmax(1) == wanted.argmax(1)).sum())
            differences[str(engine)].append(difference(logits, wanted))
    return {name: {**row, **_summary(differences[name])} for name, row in rows.items()}


def _writing() -> dict[str, Row]:
    """Returns what writing subnets of Lite0 takes by format, ms: each the least of three times.

    By the clock, and of the processor's time: on a machine with other work the two differ.
    """
    space, rng = efficientnet_lite0(), np.random.default_rng(5)
    arrays, calibrating = random_arrays(space, rng), calibrating_engine()
    writers: dict[str, Callable[[Network], bytes]] = {"tflite": write_tflite, "onnx": write_onnx}
    times: dict[str, list[Any]] = {kind: [] for kind in writers}
    for subnet in (space.largest(), *random_subnets(space, 11, WRITTEN - 1)):
        photos = _noise_photos(CALIBRATION, subnet.resolution, rng)
        network = cut_network(space, subnet, arrays, LITE_PREPROCESSING, photos, calibrating)
        for kind, write in writers.items():
            repeats = [_milliseconds(write, network) for _ in range(REPEATS)]
            times[kind].append(np.min(repeats, axis=0))
    return {
        kind: {
            name: {
                "subnets": len(values),
                "median": round(float(np.median(values)), 1),
                "worst": round(float(max(values)), 1),
                "largest_subnet": round(float(values[0]), 1),
            }
            for name, values in zip(("clock", "processor"), np.transpose(rows), strict=True)
        }
        for kind, rows in times.items()
    }


def _noise_photos(count: int, size: int, rng: np.random.Generator) -> ImageArray:
    """Returns smooth coloured noise, uint8, (count, size, size, 3)."""
    return np.stack([decode(smooth_photo(rng, size), size, "noise", 1.0) for _ in range(count)])


def _summary(differences: list[float]) -> Row:
    figures = {"worst": max(differences), "median": np.median(differences)}
    return {f"{name}_difference": float(f"{value:.2e}") for name, value in figures.items()}


def _milliseconds(write: Callable[[Network], bytes], network: Network) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    write(network)
    return (time.perf_counter() - clock) * 1e3, (time.process_time() - processor) * 1e3


if __name__ == "__main__":
    main()
