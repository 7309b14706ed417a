"""How far engines are from the reference, and what writing a model costs.

`python -m tofa_edge.benchmarks.studies.engine_parity --bundle cifar.tofa --images cifar10-jpeg.zip` runs
random subnets of Lite0, with random weights and calibrated statistics, on every engine that works
here; then test photos on three subnets of a trained bundle; then times both writers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.encodings import decoded, distinct, sample
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.tflite.float import write_tflite
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.images import decode
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.selftest.golden import difference
from tofa_edge.selftest.records import calibrating_engine, passing_engines
from tofa_edge.selftest.small_bundle import smooth_photo
from tofa_edge.selftest.specimens import random_arrays

RESOLUTIONS = (48, 49, 64, 75, 80, 96)  # with odd ones: padding differs
CALIBRATION, COMPARED = 16, 4
TEST_PHOTOS, CHUNK = 1000, 50
WRITTEN, REPEATS = 20, 3

Found = dict[str, Any]


def main() -> None:
    """Writes one file of results and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subnets", type=int, default=200)
    parser.add_argument("--bundle", type=Path, help="a trained one")
    parser.add_argument("--images", type=Path, help="zip of …/test/CLASS/NAME.jpg")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engine_parity.json"))
    options = parser.parse_args()
    engines = first_targets(passing_engines())
    found: Found = {
        "made": made(),
        "writing_ms": writing(),
        "random": random_networks(engines, options.subnets),
    }
    if options.bundle and options.images:
        found["trained"] = trained_networks(options.bundle, options.images)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def first_targets(engines: list[Engine]) -> list[Engine]:
    """Returns each backend's first target on the CPU."""
    found: dict[str, Engine] = {}
    for engine in engines:
        if engine.target.unit == "cpu":
            found.setdefault(engine.backend.name, engine)
    return list(found.values())


def random_networks(engines: list[Engine], count: int) -> dict[str, Found]:
    """Returns by engine the difference of logits over the largest, in random Lite0 subnets."""
    space = dataclasses.replace(efficientnet_lite0(), resolutions=RESOLUTIONS)
    rng = np.random.default_rng(7)
    arrays, calibrating = random_arrays(space, rng), calibrating_engine()
    differences: dict[str, list[float]] = {str(engine): [] for engine in engines}
    for number, subnet in enumerate(drawn(space, count), 1):
        photos = photographs(CALIBRATION + COMPARED, subnet.resolution, rng)
        network = cut_network(
            space, subnet, arrays, LITE_PREPROCESSING, photos[COMPARED:], calibrating
        )
        wanted = logits_of(reference(), network, photos[:COMPARED])
        for engine in engines:
            logits = logits_of(engine, network, photos[:COMPARED])
            differences[str(engine)].append(difference(logits, wanted))
        if number % 20 == 0:
            print(number, {name: f"{max(d):.1e}" for name, d in differences.items()}, flush=True)
    return {name: {"subnets": len(d), **_spread(d)} for name, d in differences.items()}


def trained_networks(path: Path, images: Path) -> dict[str, Found]:
    """Returns by engine on how many test photos the best class is the reference's."""
    bundle = Bundle.open(path)
    engines, calibrating = first_targets(passing_engines(bundle)), calibrating_engine(bundle)
    cutter, space = Cutter(bundle), bundle.space
    found: dict[str, Found] = {str(engine): {"photos": 0, "same": 0} for engine in engines}
    worst: dict[str, list[float]] = {name: [] for name in found}
    for subnet in (space.smallest(), space.middle(), space.largest()):
        photos = test_photos(images, subnet.resolution, bundle.preprocessing.crop)
        network = cutter.network(subnet, calibrating)
        wanted = logits_of(reference(), network, photos)
        for engine in engines:
            logits, row = logits_of(engine, network, photos), found[str(engine)]
            row["photos"] += len(photos)
            row["same"] += int((logits.argmax(1) == wanted.argmax(1)).sum())
            worst[str(engine)].append(difference(logits, wanted))
    return {name: {**row, **_spread(worst[name])} for name, row in found.items()}


def writing() -> dict[str, Found]:
    """Returns what writing subnets of Lite0 takes by format, ms: each the least of three times.

    By the clock, and of the processor's time: on a machine with other work the two differ.
    """
    space, rng = efficientnet_lite0(), np.random.default_rng(5)
    arrays, calibrating = random_arrays(space, rng), calibrating_engine()
    writers: dict[str, Callable[[Network], bytes]] = {"tflite": write_tflite, "onnx": write_onnx}
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in writers}
    for subnet in (space.largest(), *drawn(space, WRITTEN - 1)):
        photos = photographs(CALIBRATION, subnet.resolution, rng)
        network = cut_network(space, subnet, arrays, LITE_PREPROCESSING, photos, calibrating)
        for kind, write in writers.items():
            taken = [_milliseconds(write, network) for _ in range(REPEATS)]
            clock, processor = map(min, zip(*taken, strict=True))
            times[kind].append((clock, processor))
    return {
        kind: {
            name: {
                "subnets": len(taken),
                "median": round(float(np.median(values)), 1),
                "worst": round(max(values), 1),
                "largest_subnet": round(values[0], 1),
            }
            for name, values in zip(("clock", "processor"), zip(*taken, strict=True), strict=True)
        }
        for kind, taken in times.items()
    }


def drawn(space: SearchSpace, count: int) -> list[Subnet]:
    """Returns random subnets, no two the same."""
    return decoded(space, distinct(space, sample(space, np.random.default_rng(11), count)))


def reference() -> Engine:
    """Returns what all engines are compared with."""
    return Engine(backends.backend("reference"), Target())


def logits_of(engine: Engine, network: Network, images: ImageArray) -> FloatArray:
    """Returns a network's logits, (N, classes), computed in chunks of at most 50 images.

    Args:
        images: uint8, (N, S, S, 3).
    """
    session = engine.load(network)
    try:
        starts = range(0, len(images), CHUNK)
        return np.concatenate([session.run(images[s : s + CHUNK])[LOGITS] for s in starts])
    finally:
        session.close()


def photographs(count: int, size: int, rng: np.random.Generator) -> ImageArray:
    """Returns smooth coloured noise, uint8, (count, size, size, 3)."""
    return np.stack([decode(smooth_photo(rng, size), size, "noise", 1.0) for _ in range(count)])


def test_photos(path: Path, size: int, crop: float) -> ImageArray:
    """Returns 1,000 test photos spread over all classes, uint8, (1000, size, size, 3)."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if "/test/" in n and n.endswith(".jpg"))
        chosen = names[:: max(1, len(names) // TEST_PHOTOS)][:TEST_PHOTOS]
        return np.stack([decode(archive.read(name), size, name, crop) for name in chosen])


def _spread(values: list[float]) -> Found:
    return {"worst_difference": _short(max(values)), "median_difference": _short(np.median(values))}


def _short(value: float | np.floating[Any]) -> float:
    return float(f"{value:.2e}")


def _milliseconds(write: Callable[[Network], bytes], network: Network) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    write(network)
    return (time.perf_counter() - clock) * 1e3, (time.process_time() - processor) * 1e3


if __name__ == "__main__":
    main()
