"""Device profiles from figures that others published: priors until a device is measured.

`python -m tofa_edge.benchmarks.studies.published_profiles ncnn_bench.csv.gz --out device_profiles`

The table is that of ncnn's benchmark/README.md, one row a network and run: device (a heading of
that file), num_threads, gpu_device (-1 for the CPU), loop_count, model, min_ms, max_ms, avg_ms.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tofa_edge.benchmarks.studies.command import options
from tofa_edge.device.machine import Fingerprint
from tofa_edge.device_profiles.profile import PUBLISHED, MeasuredTarget, Measurement, Profile, save
from tofa_edge.errors import ProfileError
from tofa_edge.storage.files import safe_name

REVISION = "a4d2ea1d4422c9e849f166fd7a4aefb52f942f6a"
SOURCE = f"https://github.com/Tencent/ncnn/blob/{REVISION}/benchmark/README.md"
LICENCE = "BSD-3-Clause, (c) Tencent"
DATE = "2026-11-24"  # when the table was read; the runs themselves are not dated
NOTES = (
    "Contributed over years by users of the board, with different ncnn versions, compilers, "
    "systems and cooling; not measured by us.",
    "p50_ms is the mean of the runs; log_standard_error is estimated from their least and "
    "greatest. Weights are zeros. "
    "Where a run took 1.2 times the fastest, the flag is uneven.",
    "fp16: ncnn computes in half precision where the processor can; fp32 elsewhere.",
    "mmacs are counted from the benchmark's own network files or quoted from the networks' papers.",
)

ROUNDING_MS = 0.005  # the table has two digits after the point
UNEVEN = 1.2  # times the fastest run: something disturbed the slowest

V8_0 = ("asimd",)
V8_2 = ("asimd", "fphp", "asimdhp")
V8_2_DOT = (*V8_2, "asimddp")
GPU = {name: (f"NVIDIA {name} GPU (Jetson)",) for name in ("Maxwell", "Pascal", "Volta", "Ampere")}


def _board(
    name: str,
    processors: Mapping[str, int],
    clock_mhz: float | None,
    features: tuple[str, ...],
    accelerators: tuple[str, ...] = (),
) -> Fingerprint:
    return Fingerprint(
        board=name,
        architecture="aarch64",
        cpu_bits=64,
        processors=processors,
        features=features,
        cores=sum(processors.values()),
        maximum_clock_mhz=clock_mhz if clock_mhz is None else float(clock_mhz),
        accelerators=accelerators,
    )


# By the beginnings of the headings that speak of the board; clocks are those of the headings, names
# those of the boards' device trees.
BOARDS: Mapping[tuple[str, ...], Fingerprint] = {
    ("Raspberry Pi 3 Model B+ ",): _board(
        "Raspberry Pi 3 Model B Plus", {"Cortex-A53": 4}, 1400, V8_0
    ),
    ("Raspberry Pi 4 Model B ",): _board("Raspberry Pi 4 Model B", {"Cortex-A72": 4}, 1800, V8_0),
    ("Raspberry Pi 5 Broadcom BCM2712, Cortex", "Raspberry Pi 5 Broadcom BCM2712, Video"): _board(
        "Raspberry Pi 5 Model B", {"Cortex-A76": 4}, 2400, V8_2_DOT
    ),
    ("Raspberry Pi Zero 2 W ",): _board("Raspberry Pi Zero 2 W", {"Cortex-A53": 4}, 1000, V8_0),
    ("NVIDIA Jetson Nano",): _board(
        "NVIDIA Jetson Nano", {"Cortex-A57": 4}, None, V8_0, GPU["Maxwell"]
    ),
    ("NVIDIA Jetson TX2 NX",): _board(
        "NVIDIA Jetson TX2 NX", {"NVIDIA Denver 2": 2, "Cortex-A57": 4}, 2000, V8_0, GPU["Pascal"]
    ),
    ("NVIDIA Jetson AGX Xavier",): _board(
        "NVIDIA Jetson AGX Xavier", {"NVIDIA Carmel": 8}, 2200, V8_2, GPU["Volta"]
    ),
    ("NVIDIA Jetson Orin Nano",): _board(
        "NVIDIA Jetson Orin Nano", {"Cortex-A78AE": 6}, None, V8_2_DOT, GPU["Ampere"]
    ),
    ("NVIDIA Jetson AGX Orin",): _board(
        "NVIDIA Jetson AGX Orin", {"Cortex-A78AE": 12}, 2200, V8_2_DOT, GPU["Ampere"]
    ),
}


# Only classification. Counted from benchmark/*.param (weights × positions of their output):
# mobilenet_v3, shufflenet_v2, mnasnet, proxylessnasnet. The others from the papers: Howard et al.
# 2017 (table 4), Sandler et al. 2018 (table 4), Tan and Le 2019 (table 2), Radosavovic et al. 2020
# (0.4 GF), Szegedy et al. 2015 (section 5), He et al. 2016 (table 1 and section 3.3).
# Our name for each, and millions of MACs; None where nobody says.
NETWORKS: Mapping[str, tuple[str, float | None]] = {
    "squeezenet": ("squeezenet 227", None),
    "mobilenet": ("mobilenet_v1 1.0 224", 569),
    "mobilenet_v2": ("mobilenet_v2 1.0 224", 300),
    "mobilenet_v3": ("mobilenet_v3 large 1.0 224 (ncnn)", 246),
    "shufflenet": ("shufflenet_v1 224", None),
    "shufflenet_v2": ("shufflenet_v2 1.0 224", 145),
    "mnasnet": ("mnasnet_b1 1.0 224", 314),
    "proxylessnasnet": ("proxylessnas 224 (ncnn)", 336),
    "efficientnet_b0": ("efficientnet_b0 224", 390),
    "efficientnetv2_b0": ("efficientnetv2_b0 224", None),
    "regnety_400m": ("regnety_400m 224", 400),
    "googlenet": ("googlenet 224", 1500),
    "resnet18": ("resnet18 224", 1800),
    "resnet50": ("resnet50 224", 3800),
    "alexnet": ("alexnet 227", None),
    "vgg16": ("vgg16 224", 15300),
    "vision_transformer": ("vision_transformer", None),
}

Row = Mapping[str, str]


def expected_range(count: int) -> float:
    """Returns the mean range of `count` standard normal draws (Tippett, Biometrika 1925)."""
    points = np.linspace(-8, 8, 3201)
    below = np.array([0.5 + 0.5 * math.erf(point / math.sqrt(2)) for point in points])
    return float((1 - below**count - (1 - below) ** count).sum() * (points[1] - points[0]))


def profiles(rows: Iterable[Row], date: str = DATE) -> list[Profile]:
    """Returns the profile of each board in `BOARDS` that the table speaks of."""
    table = list(rows)
    try:
        boards = [
            _profile(board, [row for row in table if row["device"].startswith(headings)], date)
            for headings, board in BOARDS.items()
        ]
    except (KeyError, ValueError) as error:
        raise ProfileError(f"wanted the columns of ncnn's table, got {error}") from error
    return [profile for profile in boards if profile.targets]


def _profile(board: Fingerprint, rows: list[Row], date: str) -> Profile:
    grouped: dict[tuple[str, str, int], list[Measurement]] = {}
    for row in rows:
        quantised = row["model"].endswith("_int8")
        network = NETWORKS.get(row["model"].removesuffix("_int8"))
        if network is None:  # a detector
            continue
        unit = "cpu" if float(row["gpu_device"]) < 0 else "gpu"
        half = unit == "gpu" or "asimdhp" in (board.features or ())
        precision = "int8" if quantised else "fp16" if half else "fp32"
        key = (unit, precision, int(row["num_threads"]))
        grouped.setdefault(key, []).append(_measurement(*network, row))
    return Profile(
        name=f"{board.board}, ncnn",
        fingerprint=board,
        provenance=PUBLISHED,
        date=date,
        source=SOURCE,
        licence=LICENCE,
        notes=NOTES,
        targets=tuple(
            MeasuredTarget("ncnn", *key, tuple(measurements))
            for key, measurements in sorted(grouped.items())
        ),
    )


def _measurement(network: str, mmacs: float | None, row: Row) -> Measurement:
    runs = int(row["loop_count"])
    least, greatest = float(row["min_ms"]), float(row["max_ms"])
    widest = math.log((greatest + ROUNDING_MS) / (least - ROUNDING_MS))
    deviation = widest / expected_range(runs)
    return Measurement(
        p50_ms=float(row["avg_ms"]),
        log_standard_error=float(f"{deviation / math.sqrt(runs):.2g}"),
        runs=runs,
        network=network,
        mmacs=None if mmacs is None else float(mmacs),
        flags=("mean", "uneven") if greatest > UNEVEN * least else ("mean",),
    )


def read(path: Path) -> list[Row]:
    """Returns the rows of a CSV file, perhaps compressed by gzip."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        return list(csv.DictReader(io.StringIO(text)))
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise ProfileError(f"{path}: cannot be read as CSV: {error}") from error


def file_name(profile: Profile) -> str:
    return safe_name("_".join(profile.name.lower().replace(",", "").split())) + ".json"


def main() -> None:
    date = (DATE, "when the table was read, YYYY-MM-DD")
    given = options(__doc__, "table", out=Path("device_profiles"), date=date)
    for profile in profiles(read(given.table), given.date):
        path = given.out / file_name(profile)
        save(profile, path)
        count = sum(len(target.measurements) for target in profile.targets)
        print(f"{path}: {len(profile.targets)} targets, {count} measurements")


if __name__ == "__main__":
    main()
