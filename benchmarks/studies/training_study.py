"""What studies of training share: images, the pretrained start, teacher features, subnets."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.benchmarks.studies.command import Results
from tofa_edge.benchmarks.studies.zip_photos import names_of, read_photos
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import Arrays
from tofa_edge.train.config import Progress, TrainingConfig
from tofa_edge.train.data.named_sets import elpv, fashion_mnist
from tofa_edge.train.data.photos import resized
from tofa_edge.train.objective.teachers import TeacherOutputs, run_teacher
from tofa_edge.train.run.phases import TrainingRun, pretrain_supernet
from tofa_edge.train.run.subnet_accuracy import accuracy, subnet_logits
from tofa_edge.train.supernet.efficientnet_lite import load_lite, new_classifier
from tofa_edge.train.supernet.supernet import Supernet

WORK = Path("study")
POOL = 10_000  # training images at most, most of them unlabelled
FASHION_POOL = 3000  # of each role: enough to see a difference
ELPV_TEST = 0.25  # of the photos that have a label
RESOLUTION = 64
TEACHERS = ("lite0", "lite1", "lite2")
BASELINE = 128  # px: the frozen features that every table shows

Labelled = tuple[ImageArray, IndexArray]


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

    def space(self) -> SearchSpace:
        return study_space(len(self.classes))

    def supernet(self, arrays: dict[str, FloatArray] | None) -> Supernet:
        return study_supernet(len(self.classes), arrays)

    def accuracy(self, space: SearchSpace, subnet: Subnet, arrays: Arrays) -> float:
        """Returns the accuracy of a subnet, calibrated with training images, on the test images."""
        seen = self.images[:CALIBRATION_IMAGES]
        logits = subnet_logits(space, subnet, arrays, LITE_PREPROCESSING, seen, self.test_images)
        return accuracy(logits, self.test_labels)


def read_data(source: Path) -> Data:
    """Returns the images of a zip, or of the named sets "elpv" and "fashion-mnist"."""
    if str(source) == "fashion-mnist":
        both = [fashion_mnist(role) for role in ("train", "t10k")]
        train, test = (_some(images, labels, FASHION_POOL) for _, images, labels in both)
        return _data(both[0][0], train, test)
    if str(source) == "elpv":
        classes, images, labels = elpv()
        order = _order(labels)
        known = order[labels[order] >= 0]
        test_part = known[: int(ELPV_TEST * len(known))]
        parts = (order[~np.isin(order, test_part)], test_part)
        return _data(classes, *((images[part], labels[part]) for part in parts))
    return read_zip(source)


def read_zip(path: Path) -> Data:
    """Returns the images of a zip `*/{train,test}/<class>/*.jpg`: 10,000 to train, all to test."""
    classes, train, test = _read(path)
    return _data(classes, _some(*train, POOL), test)


def validation_images(path: Path, count: int = 1000) -> Labelled:
    """Returns training images of a zip that `read_zip` leaves out, and their labels, (N,).

    Images are uint8, (N, S, S, 3).
    """
    _, (images, labels), _ = _read(path)
    chosen = _order(labels)[POOL : POOL + count]
    return resized(images[chosen], RESOLUTION), labels[chosen]


def _data(classes: tuple[str, ...], train: Labelled, test: Labelled) -> Data:
    images, test_images = (resized(part[0], RESOLUTION) for part in (train, test))
    return Data(classes, images, train[1], test_images, test[1])


def _some(images: ImageArray, labels: IndexArray, most: int) -> Labelled:
    chosen = _order(labels)[:most]
    return images[chosen], labels[chosen]


def _read(path: Path) -> tuple[tuple[str, ...], Labelled, Labelled]:
    roles = [list(read_photos(path, names_of(path, role))) for role in ("train", "test")]
    classes = tuple(sorted({name for _, name in roles[0]}))
    train, test = (
        (
            np.stack([np.asarray(photo) for photo, _ in photos]),
            np.array([classes.index(name) for _, name in photos], np.int64),
        )
        for photos in roles
    )
    return classes, train, test


def _order(labels: IndexArray) -> IndexArray:
    return np.random.default_rng(0).permutation(len(labels))


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
    pretrain_steps: int = 0
    steps: int = 0

    def results(self, name: str) -> Results:
        """Returns the finished runs of a file in the folder, which is made if need be."""
        self.work.mkdir(parents=True, exist_ok=True)
        return Results(self.work / name, threads=torch.get_num_threads())

    def teacher_outputs(self) -> tuple[TeacherOutputs, ...]:
        """Returns the teachers' logits and features of the training images."""
        return tuple(self._outputs(name, "train", None) for name in TEACHERS)

    def probe_features(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Returns the features that probes are fitted to, of training and test images, by name."""
        small, *large = (
            [self._outputs(name, role, size).features for role in ("train", "test")]
            for name, size in (("lite0", BASELINE), *((name, None) for name in TEACHERS))
        )
        joined = [torch.cat(parts, dim=1) for parts in zip(*large, strict=True)]
        return {"lite0 128 px": (small[0], small[1]), "teachers": (joined[0], joined[1])}

    def start(self) -> dict[str, FloatArray]:
        """Returns the arrays of the pretrained supernet, with ImageNet's classes."""
        path = self.work / f"pretrained-{self.pretrain_steps}.safetensors"
        if not path.exists():
            epochs = self.pretrain_steps / (len(self.data.images) // 64) + 1e-9
            config = TrainingConfig(pretrain_epochs=epochs, resolution=RESOLUTION)
            outputs, begun = self.teacher_outputs()[0], time.perf_counter()
            supernet = study_supernet(1000)
            supernet = pretrain_supernet(
                supernet, self.data.images, outputs, TrainingRun(config, show)
            )
            print(f"pretrained in {time.perf_counter() - begun:.0f} s", flush=True)
            save(supernet.to_arrays(), path)
        return dict(safetensors.numpy.load_file(path))

    def _outputs(self, name: str, role: str, size: int | None) -> TeacherOutputs:
        path = self.work / f"teacher-{name}-{size or 'large'}-{role}.safetensors"
        if not path.exists():
            images = self.data.images if role == "train" else self.data.test_images
            begun = time.perf_counter()
            outputs = run_teacher(name, images, torch.device("cpu"), resolution=size)
            print(f"{path.stem}: {time.perf_counter() - begun:.0f} s", flush=True)
            save({"logits": outputs.logits.numpy(), "features": outputs.features.numpy()}, path)
        arrays = safetensors.numpy.load_file(path)
        return TeacherOutputs(*(torch.from_numpy(arrays[name]) for name in ("logits", "features")))


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
    if progress.step % 50 == 0 or progress.step == progress.steps:
        losses = " ".join(f"{loss:.2f}" for loss in progress.losses)
        figures = " ".join(f"{name} {value:.2f}" for name, value in progress.metrics.items())
        text = f"{progress.phase} {progress.step}/{progress.steps}: {losses} {figures}"
        print(f"{text} ({progress.seconds:.0f} s)", flush=True)
