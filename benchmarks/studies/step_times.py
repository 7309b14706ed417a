"""How long cutting, calibrating, calling and importing take; parts of `torch_parity`."""

from __future__ import annotations

import tempfile
import time
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
from tofa_edge.benchmarks.studies.command import Row, answer, in_turn
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.images import decode, encode, prepare, stack
from tofa_edge.cli.demo import imagenet_photos
from tofa_edge.cutting.calibration import calibrate
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut, fold
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.supernet.supernet import Supernet
from tofa_edge.train.trainer import train

CALIBRATION_MEMORY = """
import sys
import numpy as np
from dataclasses import replace
from tofa_edge.backends import Engine, Target, backends
from tofa_edge.selftest.specimens import random_arrays
from tofa_edge.cutting.calibration import calibrate
from tofa_edge.architecture.layers import layers
from tofa_edge.benchmarks.studies.command import memory_bytes
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.architecture.zoo import named
from tofa_edge.network.slicing import cut
space = named("lite0")
network = layers(space, space.largest())
arrays = cut(network, random_arrays(space, np.random.default_rng(0)))
engine = Engine(backends()[sys.argv[1]], Target())
small = replace(space.largest(), resolution=48)
images = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), dtype=np.uint8)
calibrate(layers(space, small), arrays, images[:4, :48, :48], LITE_PREPROCESSING, engine)
before = memory_bytes()
calibrate(network, arrays, images, LITE_PREPROCESSING, engine)
print([memory_bytes() - before, before])
"""
IMPORT = "import numpy, time; t = time.perf_counter(); from tofa_edge import deploy"


def photos(size: int, count: int) -> ImageArray:
    """Returns `count` random crops of foolbox's photos, uint8, (count, size, size, 3)."""
    large = [prepare(path, 320) for path in imagenet_photos()]
    rng = np.random.default_rng(0)
    crops = []
    for index in range(count):
        side = int(rng.integers(160, 321))
        top, left = rng.integers(0, 321 - side, 2)
        crops.append(prepare(large[index % len(large)][top : top + side, left : left + side], size))
    return np.stack(crops)


def engines(reference: bool = True) -> dict[str, Engine]:
    """Returns every working engine on one thread, perhaps without the reference."""
    kept = {
        name: backend for name, backend in working().items() if reference or name != "reference"
    }
    return {name: Engine(backend, Target()) for name, backend in kept.items()}


def cutting_speed(supernet: Supernet) -> Row:
    """Returns the median ms to cut a random subnet, write it and load it, by engine."""
    rng, space, arrays = np.random.default_rng(3), supernet.space, supernet.to_arrays()
    medians = {}
    for name, engine in engines(reference=False).items():

        def load(engine: Engine = engine) -> None:
            network = layers(space, space.sample(rng))
            engine.load(fold(network, cut(network, arrays), LITE_PREPROCESSING)).close()

        load()  # imports the engine
        medians[name] = round(float(in_turn([load], 1, 30)[0, 0]), 1)
    return medians


def calibration_speed(supernet: Supernet) -> Row:
    """Returns the seconds that 512 photos at 64 px take, and their decoding, by engine."""
    space = supernet.space
    network = layers(space, replace(space.largest(), resolution=64))
    stored = [encode(Image.fromarray(image), 224) for image in photos(224, 512)]
    seconds = {}
    for name, engine in engines().items():
        begin = time.perf_counter()
        images = stack([decode(content, 64, "photo") for content in stored], 64)
        decoded = time.perf_counter()
        arrays = cut(network, supernet.to_arrays())
        calibrate(network, arrays, images, LITE_PREPROCESSING, engine)
        spent = {"calibrating": time.perf_counter() - decoded, "decoding": decoded - begin}
        seconds[name] = {part: round(value, 2) for part, value in spent.items()}
    return seconds


def calibration_memory() -> Row:
    """Returns the peak memory of 64 photos at 224 px, in a process of its own, by engine.

    "extra" MB beyond "before", what the process had needed for a small network, of 2**20 bytes.
    """
    rows = {}
    for name in engines():
        sizes = answer("-c", CALIBRATION_MEMORY, name)
        rows[name] = dict(zip(("extra", "before"), (round(s / 2**20) for s in sizes), strict=True))
    return rows


def call_overhead() -> Row:
    """Returns p50 of `model(x)` and of the bare session on its own input, in turn, by engine."""
    rows: Row = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lite0.tofa"
        train(None, path, TrainingConfig(epochs=0))
        for name in engines(reference=False):
            bundle, rows[name] = Bundle.open(path), {}
            for size in (48, 224):
                subnet = replace(bundle.space.largest(), resolution=size)
                frames = list(photos(size, 16))
                with tofa_edge.deploy(
                    bundle,
                    subnet=subnet,
                    options=tofa_edge.DeployOptions(backend=name, threads=1, calibration=frames),
                ) as model:
                    rows[name][f"{size} px"] = _overhead(model, frames[0])
    return rows


def _overhead(model: Any, image: ImageArray) -> Row:
    bare, batch = model._session.run, image[np.newaxis]
    if hasattr(model._session, "_session"):  # onnxruntime: go below our own session
        session = model._session._session
        bare = lambda x: session.run(None, {"images": x})  # noqa: E731
    bare_ms, model_ms = np.median(in_turn([lambda: bare(batch), lambda: model(image)], 300), axis=1)
    return {"model": round(float(model_ms), 3), "bare": round(float(bare_ms), 3)}


def import_cost() -> float:
    """Returns the median ms that `from tofa_edge import deploy` takes beyond numpy."""
    code = f"{IMPORT}; print((time.perf_counter() - t) * 1e3)"
    return float(round(sorted(answer("-c", code) for _ in range(7))[3], 1))
