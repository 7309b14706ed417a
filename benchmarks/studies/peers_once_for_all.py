"""The once-for-all package's way to a file, timed in a process of its own (`peers` starts it).

The package imports torchvision and horovod for its data loaders; empty modules stand in for them.
"""

from __future__ import annotations

import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import torch

WIDTH, RESOLUTION = 1.0, 160
PARTS = ("datasets", "models", "models.utils", "transforms", "transforms.functional")
UNUSED = ("horovod", "horovod.torch", "torchvision", *(f"torchvision.{name}" for name in PARTS))


class Absent(types.ModuleType):
    """A module whose every name is an empty class."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (), {})


def network() -> Any:
    for name in UNUSED:
        sys.modules.setdefault(name, Absent(name))
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3

    return OFAMobileNetV3(
        n_classes=1000, bn_param=(0.1, 1e-5), dropout_rate=0.1, base_stage_width="proxyless",
        width_mult=WIDTH, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4],
    )  # fmt: skip


def randomised(model: Any) -> Any:
    """Returns a network of the package for inference, its values drawn anew from seed 0.

    Statistics and kernel matrices are as different as trained ones are.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("running_mean", "bn.bias")):
                value.normal_(0, 0.1)
            elif name.endswith(("running_var", "bn.weight")):
                value.uniform_(0.7, 1.3)
            elif name.endswith("_matrix"):
                value.add_(0.1 * torch.randn_like(value))
    return model.eval()


def main() -> None:
    checkpoint, settings, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
    newest = sys.argv[4] == "dynamo"
    begun = time.perf_counter()
    supernet = network()
    supernet.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    supernet.eval()
    ready, seconds = time.perf_counter() - begun, []
    image = torch.zeros(1, 3, RESOLUTION, RESOLUTION)
    for number, setting in enumerate(settings):
        start = time.perf_counter()
        supernet.set_active_subnet(**setting)
        subnet = supernet.get_active_subnet(preserve_weight=True).eval()
        torch.onnx.export(
            subnet, (image,), folder / f"theirs-{number}.onnx", dynamo=newest, verbose=False
        )
        seconds.append(time.perf_counter() - start)
    from tofa_edge.benchmarks.studies.command import memory_bytes  # so late: it would count

    print(json.dumps({"ready_s": ready, "seconds": seconds, "peak_mib": memory_bytes() / 2**20}))


if __name__ == "__main__":
    main()
