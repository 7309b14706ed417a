"""What frozen pretrained networks say of every image: looked at once, larger than students see it.

A small input is cheap on the device and hard to recognise; the teacher need not share that fate. It
looks at each image once, whole and at 192 px or more, and what it says is kept: its logits and
features teach all subnets before there is a task, and a probe on its features gives the task's
first targets. On the 10,000 CIFAR-10-JPEG images with 25 labels a class, such a probe is right on
66 % at 128 px with EfficientNet-Lite0, 71 % at 192 px, and 75 % together with Lite2
(`benchmarks/studies/transfer.py`); Lite1 adds a point
(`benchmarks/studies/initial_pseudo_labels.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.layers import LOGITS, POOLED
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import OnStep, Progress
from tofa_edge.train.data.augment import resize
from tofa_edge.train.distributed import ALONE, Processes
from tofa_edge.train.objective.objectives import computes_bfloat16
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

TEACHER_RESOLUTION = 192  # at least: a pretrained network sees little in smaller images
TEACHER_FEATURES = "looking"
BATCH = 64


@dataclass(frozen=True, eq=False)
class TeacherOutputs:
    """What a teacher says of images.

    Attributes:
        logits: of its own classes, float32, (N, 1000).
        features: pooled, what its classifier reads, float32, (N, channels).
    """

    logits: Tensor
    features: Tensor


def teacher_resolution(largest: int) -> int:
    """Returns the size in pixels at which a teacher looks at images of students up to `largest`."""
    return max(TEACHER_RESOLUTION, largest)


def run_teacher(
    name: str,
    images: ImageArray,
    device: torch.device,
    on_step: OnStep = lambda progress: None,
    processes: Processes = ALONE,
    resolution: int | None = None,
) -> TeacherOutputs:
    """Returns what a pretrained network says of images; in bfloat16 where a machine computes so.

    Args:
        name: "lite0", "lite1" or "lite2".
        images: uint8, (N, S, S, 3).
        device: to compute on.
        on_step: called after each 64 images.
        processes: that share the work; all return all of it.
        resolution: to look at, in pixels; by default `teacher_resolution` of the images.

    Raises:
        TrainingError: the network's weights are not installed.
    """
    space, arrays = load_lite(name)
    teacher = Supernet(space, LITE_PREPROCESSING).requires_grad_(False)
    teacher.load_arrays(arrays)
    teacher = teacher.to(device)
    size = resolution or teacher_resolution(images.shape[1])
    subnet = replace(space.largest(), resolution=size)
    half = torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device.type))
    begun, parts = time.perf_counter(), list(_batches(images, processes))
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for number, part in enumerate(parts, 1):
        pixels = torch.from_numpy(part).to(device).permute(0, 3, 1, 2).float()
        with torch.no_grad(), half:
            values = teacher(
                resize(pixels, size),
                subnet,
                statistics="stored",
                outputs=(LOGITS, POOLED),
            )
        for kept, value in zip(found, values, strict=True):
            kept.append(value.float().flatten(1).cpu())
        seconds = time.perf_counter() - begun
        speed = number * BATCH / seconds
        on_step(Progress(number, len(parts), (), seconds, speed, f"{TEACHER_FEATURES} ({name})"))
    logits, features = (_gathered(torch.cat(kept), len(images), processes) for kept in found)
    return TeacherOutputs(logits, features)


def run_teachers(
    names: Sequence[str],
    images: ImageArray,
    device: torch.device,
    on_step: OnStep = lambda progress: None,
    processes: Processes = ALONE,
) -> dict[str, TeacherOutputs]:
    """Returns what several pretrained networks say of images, by name; see `run_teacher`.

    Args:
        names: of pretrained networks.
        images: uint8, (N, S, S, 3).
        device: that computes.
        on_step: told of progress.
        processes: that share the images.
    """
    return {name: run_teacher(name, images, device, on_step, processes) for name in names}


def _batches(images: ImageArray, processes: Processes) -> Iterator[ImageArray]:
    mine = images[processes.rank :: processes.world]
    for start in range(0, len(mine), BATCH):
        yield mine[start : start + BATCH]


def _gathered(mine: Tensor, count: int, processes: Processes) -> Tensor:
    """Returns the rows of all processes: each adds its own to zeros."""
    if processes.world == 1:
        return mine
    every = torch.zeros(count, mine.shape[1])
    every[processes.rank :: processes.world] = mine
    return processes.mean(every) * processes.world
