"""What the studies share: images, the pretrained start, looks of the teachers, results on disk."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from PIL import Image

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.benchmarks.studies.provenance import made, store
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import Progress, TrainingConfig
from tofa_edge.train.data.named_sets import elpv, fashion_mnist
from tofa_edge.train.data.photos import resized
from tofa_edge.train.objective.teachers import TeacherOutputs, run_teacher
from tofa_edge.train.run.phases import pretrain_supernet
from tofa_edge.train.supernet.efficientnet_lite import load_lite, new_classifier
from tofa_edge.train.supernet.supernet import Supernet

POOL = 10_000  # training images at most, most of them unlabelled
FASHION_POOL = 3000  # of each role: enough to see a difference
ELPV_TEST = 0.25  # of the photos that have a label
RESOLUTION = 64
TEACHERS = ("lite0", "lite1", "lite2")
BASELINE = 128  # px: the frozen features that every table shows


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in memory.

    Attributes:
        classes: names.
        images: uint8, (N, S, S, 3), in mixed order.
        labels: class indices, (N,).
        test_images: uint8, (M, S, S, 3).
        test_labels: class indices, (M,).
    """

    classes: tuple[str, ...]
    images: ImageArray
    labels: IndexArray
    test_images: ImageArray
    test_labels: IndexArray


def read_data(source: Path) -> Data:
    """Returns the images of a zip, or of the named sets "elpv" and "fashion-mnist"."""
    if str(source) == "fashion-mnist":
        classes, images, labels = fashion_mnist()
        _, test_images, test_labels = fashion_mnist("t10k")
        return _data(classes, _some(images, labels), _some(test_images, test_labels))
    if str(source) == "elpv":
        classes, images, labels = elpv()
        order = _order(labels)
        known = order[labels[order] >= 0]
        test = known[: int(ELPV_TEST * len(known))]
        train = order[~np.isin(order, test)]
        return _data(classes, (images[train], labels[train]), (images[test], labels[test]))
    return read_zip(source)


def read_zip(path: Path) -> Data:
    """Returns the images of a zip `*/{train,test}/<class>/*.jpg`: 10,000 to train, all to test."""
    classes, (images, labels), (test_images, test_labels) = _read(path)
    chosen = _order(labels)[:POOL]
    return _data(classes, (images[chosen], labels[chosen]), (test_images, test_labels))


def validation_images(path: Path, count: int = 1000) -> tuple[ImageArray, IndexArray]:
    """Returns training images of a zip that `read_zip` leaves out, and their labels, (N,).

    Images are uint8, (N, S, S, 3).
    """
    _, (images, labels), _ = _read(path)
    chosen = _order(labels)[POOL : POOL + count]
    return resized(images[chosen], RESOLUTION), labels[chosen]


Labelled = tuple[ImageArray, IndexArray]


def _data(classes: tuple[str, ...], train: Labelled, test: Labelled) -> Data:
    images, test_images = (resized(part[0], RESOLUTION) for part in (train, test))
    return Data(classes, images, train[1], test_images, test[1])


def _some(images: ImageArray, labels: IndexArray) -> Labelled:
    chosen = _order(labels)[:FASHION_POOL]
    return images[chosen], labels[chosen]


def _read(path: Path) -> tuple[tuple[str, ...], Labelled, Labelled]:
    parts: dict[str, tuple[list[ImageArray], list[str]]] = {"train": ([], []), "test": ([], [])}
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".jpg"):
                _, role, label, _ = name.rsplit("/", 3)
                with Image.open(io.BytesIO(archive.read(name))) as image:
                    parts[role][0].append(np.asarray(image.convert("RGB")))
                parts[role][1].append(label)
    classes = tuple(sorted(set(parts["train"][1])))
    train, test = (
        (np.stack(images), np.array([classes.index(name) for name in names], np.int64))
        for images, names in parts.values()
    )
    return classes, train, test


def _order(labels: IndexArray) -> IndexArray:
    return np.random.default_rng(0).permutation(len(labels))


class Results:
    """Rows by name, kept in a file that is written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.rows = json.loads(path.read_text())["runs"]

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Makes a row, unless it is there."""
        if name in self.rows:
            return
        print(f"{name} …", flush=True)
        wall, cpu = time.perf_counter(), time.process_time()
        row = make()
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        self.rows[name] = {**row, **{key: round(value, 1) for key, value in took.items()}}
        store(
            self.path,
            {"made": made(), "threads": torch.get_num_threads(), "runs": self.rows},
        )
        print(json.dumps(self.rows[name]), flush=True)


@dataclass(frozen=True, eq=False)
class Study:
    """What the runs of a study share, made once and kept in its folder.

    Attributes:
        data: the images.
        work: the folder.
        pretrain_steps: of the pretrained start.
        steps: of a run.
    """

    data: Data
    work: Path
    pretrain_steps: int
    steps: int

    def teacher_outputs(self) -> tuple[TeacherOutputs, ...]:
        """Returns what the teachers say of the training images."""
        return tuple(self._look(name, "train", None) for name in TEACHERS)

    def engine_records(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Returns the features that probes are fitted to, of training and test images, by name."""
        both = [
            [self._look(name, role, size).features for role in ("train", "test")]
            for name, size in (("lite0", BASELINE), *((name, None) for name in TEACHERS))
        ]
        small, *large = both
        joined = [torch.cat(parts, dim=1) for parts in zip(*large, strict=True)]
        return {"lite0 128 px": (small[0], small[1]), "teachers": (joined[0], joined[1])}

    def start(self) -> dict[str, FloatArray]:
        """Returns the arrays of the pretrained supernet, with ImageNet's classes."""
        path = self.work / f"pretrained-{self.pretrain_steps}.safetensors"
        if not path.exists():
            epochs = self.pretrain_steps / (len(self.data.images) // 64) + 1e-9
            config = TrainingConfig(pretrain_epochs=epochs, resolution=RESOLUTION)
            seen = self.teacher_outputs()[0]
            begun = time.perf_counter()
            made = pretrain_supernet(study_supernet(1000), self.data.images, seen, config, show)
            print(f"pretrained in {time.perf_counter() - begun:.0f} s", flush=True)
            save(made.to_arrays(), path)
        return dict(safetensors.numpy.load_file(path))

    def _look(self, name: str, role: str, size: int | None) -> TeacherOutputs:
        path = self.work / f"look-{name}-{size or 'large'}-{role}.safetensors"
        if not path.exists():
            images = self.data.images if role == "train" else self.data.test_images
            begun = time.perf_counter()
            seen = run_teacher(name, images, torch.device("cpu"), resolution=size)
            print(f"{path.stem}: {time.perf_counter() - begun:.0f} s", flush=True)
            save({"logits": seen.logits.numpy(), "features": seen.features.numpy()}, path)
        stored = safetensors.numpy.load_file(path)
        return TeacherOutputs(
            torch.from_numpy(stored["logits"]), torch.from_numpy(stored["features"])
        )


def save(arrays: dict[str, FloatArray], path: Path) -> None:
    """Writes arrays as safetensors, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    safetensors.numpy.save_file(arrays, temporary)
    temporary.replace(path)


def subnets(space: SearchSpace) -> dict[str, Subnet]:
    """Returns the subnets that are tested: three named ones and five random ones."""
    rng = np.random.default_rng(7)
    named = {"largest": space.largest(), "middle": space.middle(), "smallest": space.smallest()}
    return {**named, **{f"random {number}": space.sample(rng) for number in range(5)}}


def study_space(classes: int) -> SearchSpace:
    """Returns the lite0 space up to 64 px."""
    space = efficientnet_lite0()
    resolutions = tuple(size for size in space.resolutions if size <= RESOLUTION)
    return replace(space, classes=classes, resolutions=resolutions)


def study_supernet(classes: int, arrays: dict[str, FloatArray] | None = None) -> Supernet:
    """Returns a lite0 supernet up to 64 px with a new classifier."""
    supernet = Supernet(study_space(classes), LITE_PREPROCESSING)
    kept = new_classifier(arrays or load_lite("lite0")[1], classes, np.random.default_rng(0))
    supernet.load_arrays(kept)
    return supernet


def show(progress: Progress) -> None:
    """Prints every fiftieth step."""
    if progress.step % 50 == 0 or progress.step == progress.steps:
        losses = " ".join(f"{loss:.2f}" for loss in progress.losses)
        figures = " ".join(f"{name} {value:.2f}" for name, value in progress.metrics.items())
        text = f"{progress.phase} {progress.step}/{progress.steps}: {losses} {figures}"
        print(f"{text} ({progress.seconds:.0f} s)", flush=True)
