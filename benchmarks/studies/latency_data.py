"""Public latency measurements as candidates and latencies: readers of the sets, no judgement.

Each reader returns a `LatencySet`: what every network costs by kind (from its architecture) and
what it took on every device. Features follow the published macro architectures; parts that all
networks share (stem, head) are constant columns.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.architecture.work import Column


@dataclass(frozen=True)
class LatencySet:
    """One public set.

    Attributes:
        features: costs of each network, (N, D).
        columns: the kind of cost, the operator and the place of each column, (D,).
        devices: names, (M,).
        latency_ms: (N, M); NaN where nothing was measured.
        summed: whether a device's column is a sum of per-block measurements, (M,).
        accuracy: of each network in per cent, (N,); empty where the set has none.
    """

    features: DoubleArray
    columns: tuple[Column, ...]
    devices: tuple[str, ...]
    latency_ms: DoubleArray
    summed: tuple[bool, ...]
    accuracy: DoubleArray

    def column(self, device: str) -> DoubleArray:
        column: DoubleArray = self.latency_ms[:, self.devices.index(device)]
        return column

    def known(self, devices: Iterable[str]) -> DoubleArray:
        """Returns the logarithms of some devices' latencies, (N, devices); of none, (N, 0)."""
        chosen = [self.devices.index(device) for device in devices]
        return np.log(np.ascontiguousarray(self.latency_ms[:, chosen]))


class _Costs:
    """Collects columns of cost per network by kind, operator and place."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.columns: dict[Column, DoubleArray] = defaultdict(lambda: np.zeros(count))

    def add(self, kind: str, operator: str, place: str, cost: Any) -> None:
        key = Column(kind, operator, place)
        self.columns[key] = self.columns[key] + cost

    def convolution(
        self, place: str, operator: str, there: Any, inputs: Any, outputs: Any, taps: Any,
        size: int, stride: int = 1, groups: Any = 1,
    ) -> None:  # fmt: skip
        """Adds a convolution of `taps` = kernel², where `there` is 1."""
        after = size // stride
        kind = "depthwise" if operator.startswith("depthwise") else "dense"
        weights = inputs * outputs / groups * taps
        self.add(kind, operator, place, there * weights * after**2)
        moved = inputs * size**2 + outputs * after**2
        self.add("traffic", operator, place, there * moved)
        self.add("traffic", "weights", place, there * weights)
        self.add("layers", operator, place, there)

    def latencies(
        self,
        devices: Iterable[str],
        latency_ms: DoubleArray,
        summed: Iterable[bool] = (),
        accuracy: DoubleArray | None = None,
    ) -> LatencySet:
        used = {key: cost for key, cost in self.columns.items() if np.any(cost)}
        costs = [np.broadcast_to(cost, self.count).astype(np.float64) for cost in used.values()]
        features = np.stack(costs, axis=1) if costs else np.zeros((self.count, 0))
        names, known = tuple(map(str, devices)), np.zeros(0) if accuracy is None else accuracy
        flags = tuple(map(bool, summed)) or (False,) * len(names)
        return LatencySet(features, tuple(used), names, latency_ms.astype(np.float64), flags, known)


FBNET_STAGES = ((16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2),
                (352, 1, 1))  # fmt: skip  # channels, layers, stride


def help_fbnet(folder: Path) -> LatencySet:
    """5,000 FBNet architectures on 27 devices (Lee et al., NeurIPS 2021)."""
    stored = np.load(folder / "help_fbnet" / "fbnet_latency.npz")
    arch = stored["arch"].astype(int)
    kernel = np.array([3, 3, 3, 3, 5, 5, 5, 5, 1])
    expand = np.array([1, 1, 3, 6, 1, 1, 3, 6, 0])
    groups = np.array([1, 2, 1, 1, 1, 2, 1, 1, 1])
    costs, inputs, size, layer = _Costs(len(arch)), 16, 32, 0
    for stage, (outputs, depth, stride_of_first) in enumerate(FBNET_STAGES):
        for number in range(depth):
            stride = 1 if number else stride_of_first
            op = arch[:, layer]
            skipped, hidden, where = op == 8, inputs * expand[op], f"{stage}"
            costs.convolution(where, "pointwise", ~skipped, inputs, hidden, 1, size,
                              groups=groups[op])  # fmt: skip
            for taps in (3, 5):
                there = ~skipped & (kernel[op] == taps)
                costs.convolution(where, f"depthwise{taps}", there, hidden, hidden, taps**2, size,
                                  stride, np.maximum(hidden, 1))  # fmt: skip
            costs.convolution(where, "pointwise", ~skipped, hidden, outputs, 1, size // stride,
                              groups=groups[op])  # fmt: skip
            if inputs != outputs or stride > 1:
                costs.convolution(where, "pointwise", skipped, inputs, outputs, 1, size, stride)
            costs.add("layers", "grouped", where, ~skipped & (groups[op] == 2))
            inputs, size, layer = outputs, size // stride, layer + 1
    costs.convolution("head", "pointwise", 1, inputs, 1504, 1, size)
    return costs.latencies(stored["devices"], stored["latency_ms"], stored["additive_lut"])


NB201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def nb201(folder: Path) -> LatencySet:
    """15,625 NAS-Bench-201 cells on 27 devices (Lee et al., NeurIPS 2021)."""
    stored = np.load(folder / "nb201" / "nb201_latency.npz")
    arch = stored["arch"].astype(int)
    costs, live = _Costs(len(arch)), _live(arch)
    elements = 16 * 32**2 + 32 * 16**2 + 64 * 8**2
    macs = 16**2 * 32**2 + 32**2 * 16**2 + 64**2 * 8**2
    for name, op, taps in (("skip", 1, 0), ("one", 2, 1), ("three", 3, 9), ("pool", 4, 0)):
        for state, there in (("all", arch == op), ("live", (arch == op) & live)):
            count = there.sum(1)
            costs.add("dense", name, state, count * taps * macs)
            costs.add("traffic", name, state, count * elements)
            costs.add("layers", name, state, count)
    for edge in range(arch.shape[1]):
        costs.add("edges", f"{edge}", "live", (arch[:, edge] >= 2) & live[:, edge])
    costs.add("depth", "path", "live", _depth(arch))
    for kind, shared in (("dense", macs), ("traffic", elements), ("layers", 1), ("depth", 1),
                         ("edges", 1)):  # fmt: skip
        costs.add(kind, "shared", "shared", shared)
    return costs.latencies(stored["devices"], stored["latency_ms"])


def _live(arch: IndexArray) -> NDArray[np.bool_]:
    """Whether each edge lies on a path from the cell's input to its output without `none`."""
    present = arch != 0
    reached = [np.ones(len(arch), bool)] + [np.zeros(len(arch), bool) for _ in range(3)]
    for edge, (source, target) in enumerate(NB201_EDGES):
        reached[target] = reached[target] | (reached[source] & present[:, edge])
    needed = [np.zeros(len(arch), bool) for _ in range(3)] + [np.ones(len(arch), bool)]
    for edge, (source, target) in reversed(list(enumerate(NB201_EDGES))):
        needed[source] = needed[source] | (needed[target] & present[:, edge])
    edges = [
        reached[source] & present[:, edge] & needed[target]
        for edge, (source, target) in enumerate(NB201_EDGES)
    ]
    return np.stack(edges, axis=1)


def _depth(arch: IndexArray) -> DoubleArray:
    """The longest path of convolutions and poolings."""
    depth = [np.zeros(len(arch)) for _ in range(4)]
    for edge, (source, target) in enumerate(NB201_EDGES):
        longer = np.where(arch[:, edge] != 0, depth[source] + (arch[:, edge] >= 2), 0)
        depth[target] = np.maximum(depth[target], longer)
    return depth[3]


MNASNET_STAGES = ((16, 1), (24, 2), (40, 2), (80, 2), (112, 1), (192, 2), (320, 1))
ACCELERATORS = {
    "zcu102": "latency_zcu102",
    "vck190": "latency_vck190",
    "rtx3090": "throughput_3090",
    "a100": "throughput_a100",
    "tpuv2": "throughput_tpuv2",
    "tpuv3": "throughput_tpuv3",
}
ACCELERATOR_FAMILIES = (("zcu102", "vck190"), ("rtx3090", "a100"), ("tpuv2", "tpuv3"))


def accel_nasbench(folder: Path) -> LatencySet:
    """5,138 MnasNet-like networks on six accelerators, end to end (Ahmad et al.).

    Throughputs (images a second) count as latencies of one image.
    """
    with gzip.open(folder / "accel_nasbench" / "anb_mnasnet_perf.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))

    def read(name: str) -> DoubleArray:
        return np.array([float(row[name] or "nan") for row in rows])

    costs, inputs, size = _Costs(len(rows)), 32, 112
    costs.convolution("stem", "stem", 1, 3, 32, 9, 224, 2)
    for stage, (outputs, stride_of_first) in enumerate(MNASNET_STAGES):
        expand, kernel, depth, gated = (
            read(f"block{stage}_{choice}") for choice in ["e", "k", "l", "se"]
        )
        for number in range(4):
            stride, where = 1 if number else stride_of_first, f"{stage}"
            there, hidden = depth > number, inputs * expand
            costs.convolution(where, "pointwise", there & (expand > 1), inputs, hidden, 1, size)
            for taps in (3, 5):
                costs.convolution(where, f"depthwise{taps}", there & (kernel == taps), hidden,
                                  hidden, taps**2, size, stride, hidden)  # fmt: skip
            after = size // stride
            squeezed = there & (gated > 0)
            costs.add("traffic", "squeeze", where, squeezed * 2 * hidden * after**2)
            costs.add("layers", "squeeze", where, squeezed)
            costs.convolution(where, "pointwise", there, hidden, outputs, 1, after)
            inputs, size = outputs, after
    costs.convolution("head", "pointwise", 1, inputs, 1280, 1, size)
    latencies = [
        1e3 / read(name) if name.startswith("throughput") else read(name)
        for name in ACCELERATORS.values()
    ]
    latency, accuracy = np.stack(latencies, axis=1), read("val_top1_proxy")
    return costs.latencies(ACCELERATORS, latency, accuracy=accuracy)


CLASSIFIERS = (
    "squeezenet", "mobilenet", "mobilenet_v2", "mobilenet_v3", "shufflenet", "shufflenet_v2",
    "mnasnet", "proxylessnasnet", "efficientnet_b0", "efficientnetv2_b0", "regnety_400m",
    "googlenet", "resnet18", "alexnet", "vgg16", "resnet50", "squeezenet_int8", "mobilenet_int8",
    "googlenet_int8", "resnet18_int8", "vgg16_int8", "resnet50_int8",
)  # fmt: skip


def ncnn_boards(folder: Path) -> LatencySet:
    """22 classification networks on the CPUs of boards (ncnn's benchmark table).

    One setting a board, the one with the most threads; boards that lack a network are left out.
    Minimum times, because contributed runs were cooled and loaded differently.
    """
    with gzip.open(folder / "ncnn_bench" / "ncnn_bench.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["gpu_device"] == "-1.0"]
    table: dict[tuple[str, int, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["model"] in CLASSIFIERS and float(row["min_ms"]) > 0:
            setting = (row["device"], int(row["num_threads"]), row["run_id"])
            table[setting][row["model"]] = float(row["min_ms"])
    complete = sorted(key for key, seen in table.items() if len(seen) == len(CLASSIFIERS))
    last = {device: (device, threads, run) for device, threads, run in complete}
    latency = np.array([[table[key][model] for key in last.values()] for model in CLASSIFIERS])
    return _Costs(len(CLASSIFIERS)).latencies(last, latency)
