"""How long cutting, calibrating, calling and importing take; parts of `spine.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import tofa_edge
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.layers import layers
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.registry import working
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.images import decode, encode, prepare, stack
from tofa_edge.cli.demo import imagenet_photos
from tofa_edge.cutting.calibration import calibrate
from tofa_edge.measurement.stopwatch import percentiles
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut, fold
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.supernet.supernet import Supernet
from tofa_edge.train.trainer import train

Figures = Mapping[str, Any]


def photos(size: int, count: int) -> ImageArray:
    """Returns `count` random crops of foolbox's photos, uint8, (count, size, size, 3)."""
    large = [prepare(path, 320) for path in imagenet_photos()]
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        side = int(rng.integers(160, 321))
        top, left = rng.integers(0, 321 - side, 2)
        made.append(prepare(large[index % len(large)][top : top + side, left : left + side], size))
    return np.stack(made)


def engines() -> dict[str, Engine]:
    """Returns every working engine on one thread."""
    return {name: Engine(backend, Target()) for name, backend in working().items()}


def cutting_speed(supernet: Supernet) -> Figures:
    """Returns the median ms to cut a random subnet, write it and load it, by engine."""
    rng, space, arrays = np.random.default_rng(3), supernet.space, supernet.to_arrays()
    found = {}
    for name, engine in engines().items():
        if name == "reference":
            continue
        seconds = []
        for turn in range(31):
            subnet = space.sample(rng)
            begin = time.perf_counter()
            network = layers(space, subnet)
            folded = fold(network, cut(network, arrays), LITE_PREPROCESSING)
            engine.load(folded).close()
            if turn:  # the first imports the engine
                seconds.append(time.perf_counter() - begin)
        found[name] = round(percentiles(seconds).p50_ms, 1)
    return found


def calibration_speed(supernet: Supernet) -> Figures:
    """Returns the seconds that 512 photos at 64 px take, and their decoding, by engine."""
    space = supernet.space
    subnet = replace(space.largest(), resolution=64)
    network, arrays = layers(space, subnet), supernet.to_arrays()
    stored = [encode(Image.fromarray(image), 224) for image in photos(224, 512)]
    found = {}
    for name, engine in engines().items():
        begin = time.perf_counter()
        images = stack([decode(content, 64, "photo") for content in stored], 64)
        decoded = time.perf_counter()
        calibrate(network, cut(network, arrays), images, LITE_PREPROCESSING, engine)
        end = time.perf_counter()
        found[name] = {
            "calibrating": round(end - decoded, 2),
            "decoding": round(decoded - begin, 2),
        }
    return found


def calibration_memory() -> Figures:
    """Returns the peak memory of 64 photos at 224 px, in a process of its own, by engine.

    "extra" MB beyond "before", what the process had needed for a small network, of 2**20 bytes.
    """
    return {name: _calibration_memory(name) for name in engines()}


def _calibration_memory(name: str) -> Figures:
    code = f"""
import numpy as np
from dataclasses import replace
from tofa_edge.backends import Engine, Target, backends
from tofa_edge.selftest.specimens import random_arrays
from tofa_edge.cutting.calibration import calibrate
from tofa_edge.architecture.layers import layers
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.architecture.zoo import named
from tofa_edge.network.slicing import cut
def high_water():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
space = named("lite0")
network = layers(space, space.largest())
arrays = cut(network, random_arrays(space, np.random.default_rng(0)))
engine = Engine(backends()[{name!r}], Target())
small = replace(space.largest(), resolution=48)
images = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), dtype=np.uint8)
calibrate(layers(space, small), arrays, images[:4, :48, :48], LITE_PREPROCESSING, engine)
before = high_water()
calibrate(network, arrays, images, LITE_PREPROCESSING, engine)
after = high_water()
print(after - before, before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    extra, before = (round(int(word) / 1024) for word in done.stdout.split())
    return {"extra": extra, "before": before}


def call_overhead() -> Figures:
    """Returns p50 of `model(x)` and of the bare session on its own input, in turn, by engine."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lite0.tofa"
        train(None, path, TrainingConfig(epochs=0))
        for name in engines():
            if name == "reference":
                continue
            bundle = Bundle.open(path)
            for resolution in (48, 224):
                subnet = replace(bundle.space.largest(), resolution=resolution)
                frames = list(photos(resolution, 16))
                model = tofa_edge.deploy(
                    bundle, subnet=subnet, backend=name, threads=1, calibration=frames
                )
                with model:
                    found.setdefault(name, {})[f"{resolution} px"] = _overhead(model, frames[0])
    return found


def _overhead(model: Any, image: ImageArray) -> Figures:
    bare, batch = model._session.run, image[np.newaxis]
    if hasattr(model._session, "_session"):  # onnxruntime: go below our own session
        session = model._session._session
        bare = lambda x: session.run(None, {"images": x})  # noqa: E731
    pairs = []
    for _ in range(300):
        begin = time.perf_counter()
        bare(batch)
        middle = time.perf_counter()
        model(image)
        pairs.append((middle - begin, time.perf_counter() - middle))
    base, ours = (percentiles(column).p50_ms for column in zip(*pairs, strict=True))
    return {"model": round(ours, 3), "bare": round(base, 3)}


def import_cost() -> float:
    """Returns the median ms that `from tofa_edge import deploy` takes beyond numpy."""
    code = "import numpy, time; t = time.perf_counter(); from tofa_edge import deploy"
    code += "; print((time.perf_counter() - t) * 1e3)"
    times = []
    for _ in range(7):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        times.append(float(done.stdout))
    return round(sorted(times)[3], 1)
