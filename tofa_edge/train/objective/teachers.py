"""Teachers: frozen pretrained networks that compute features and logits of every image once.

A small input is cheap on the device and hard to recognise; the teacher need not share that fate. It
is run on each image once, whole and at 192 px or more, and its outputs are kept: they teach all
subnets before there is a task, and a linear probe on its features gives the task's initial
pseudo-labels. On the 10,000 CIFAR-10-JPEG images with 25 labels a class, such a probe is right on
66 % at 128 px with EfficientNet-Lite0, 71 % at 192 px, and 75 % together with Lite2
(`benchmarks/studies/transfer.py`); Lite1 adds a point
(`benchmarks/studies/initial_pseudo_labels.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.layers import LOGITS, POOLED
from tofa_edge.architecture.space import Subnet
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import OnStep, counted, silent, teacher_features
from tofa_edge.train.data.augment import resize
from tofa_edge.train.distributed import ALONE, Processes
from tofa_edge.train.objective.features import room_for_rows
from tofa_edge.train.objective.objectives import computes_bfloat16
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

TEACHER_RESOLUTION = 192  # at least: a pretrained network recognises little in smaller images
BATCH = 64


@dataclass(frozen=True, eq=False)
class TeacherOutputs:
    """What a teacher computes of images: in float32, of very many in float16 and on disk.

    Attributes:
        logits: of its own classes, (N, 1000).
        features: pooled, what its classifier reads, (N, channels).
    """

    logits: Tensor
    features: Tensor


def teacher_resolution(largest: int) -> int:
    """Returns the input size in pixels of a teacher of students up to `largest`."""
    return max(TEACHER_RESOLUTION, largest)


def run_teachers(
    names: Sequence[str],
    logits_of: str,
    images: ImageArray,
    device: torch.device,
    on_step: OnStep,
    processes: Processes,
    place: Path | None = None,
) -> dict[str, TeacherOutputs]:
    """Returns the outputs of several pretrained networks by name, as `run_teacher` does.

    Only one keeps its logits, (N, 1000): of a large set they take as much memory as features.

    Args:
        names: of the networks.
        logits_of: whose logits are kept; those of the others are (0, 1000).
        images: as for `run_teacher`, as are `device`, `on_step`, `processes` and `place`.

    Raises:
        TrainingError: as by `run_teacher`.
    """
    outputs = {}
    for name in names:
        made = run_teacher(name, images, device, on_step, processes, place=place)
        outputs[name] = made if name == logits_of else replace(made, logits=made.logits[:0].clone())
    return outputs


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen pretrained network, on the device to compute on.

    Attributes:
        network: its weights.
        subnet: the whole of it, at the input size in pixels.
    """

    network: Supernet
    subnet: Subnet

    @classmethod
    def load(cls, name: str, device: torch.device, resolution: int) -> Teacher:
        """Returns a pretrained network.

        Args:
            name: "lite0", "lite1" or "lite2".
            device: to compute on.
            resolution: input size in pixels.

        Raises:
            TrainingError: its weights are not installed.
        """
        space, arrays = load_lite(name)
        network = Supernet(space, LITE_PREPROCESSING).requires_grad_(False)
        network.load_arrays(arrays)
        return cls(network.to(device), replace(space.largest(), resolution=resolution))

    def __call__(self, images: Tensor) -> TeacherOutputs:
        """Returns its outputs for images, in bfloat16 where a machine computes so.

        Args:
            images: pixel values 0..255, (N, 3, S, S), on its device.
        """
        kind = images.device.type
        half = torch.autocast(kind, torch.bfloat16, enabled=computes_bfloat16(kind))
        pixels = resize(images.float(), self.subnet.resolution)
        with torch.no_grad(), half:
            values = self.network(pixels, self.subnet, "stored", outputs=(LOGITS, POOLED))
        return TeacherOutputs(*(value.float().flatten(1) for value in values))


def run_teacher(
    name: str,
    images: ImageArray,
    device: torch.device,
    on_step: OnStep = silent,
    processes: Processes = ALONE,
    resolution: int | None = None,
    place: Path | None = None,
) -> TeacherOutputs:
    """Returns a pretrained network's outputs for images; in bfloat16 where a machine computes so.

    Args:
        name: "lite0", "lite1" or "lite2".
        images: uint8, (N, S, S, 3).
        device: to compute on.
        on_step: called after each 64 images.
        processes: that share the work; all return all of it.
        resolution: input size in pixels; by default `teacher_resolution` of the images.
        place: folder for outputs that are large for the memory; None for that of temporary files.

    Raises:
        TrainingError: the network's weights are not installed.
    """
    size = resolution or teacher_resolution(images.shape[1])
    teacher = Teacher.load(name, device, size)
    mine = torch.from_numpy(images[processes.rank :: processes.world])
    outputs: list[Tensor] = []
    done = 0
    for part in counted(teacher_features(name), torch.split(mine, BATCH), on_step, BATCH):
        made = teacher(part.to(device).permute(0, 3, 1, 2))
        rows = [made.logits.cpu(), made.features.cpu()]
        if not outputs:
            outputs = [room_for_rows(len(mine), row.shape[1], f"outputs of {name}", place)
                       for row in rows]  # fmt: skip
        for output, row in zip(outputs, rows, strict=True):
            output[done : done + len(row)] = row
        done += len(rows[0])
    return TeacherOutputs(*(processes.gather(value, len(images)) for value in outputs))
