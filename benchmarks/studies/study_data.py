"""The images of the studies of training: to train on, to develop with, to test once.

Protocols compare on the development set, 5,000 images that nothing is trained on; the test images
are for what is claimed in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.benchmarks.studies.zip_photos import names_of, read_photos
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import Arrays
from tofa_edge.train.data.named_sets import elpv, fashion_mnist
from tofa_edge.train.data.photos import resized
from tofa_edge.train.run.subnet_accuracy import accuracy, subnet_logits

TRAIN, VALIDATION = "train", "validation"
DEVELOPMENT, TEST = "development", "test"  # sets that accuracies are of
POOL = 10_000  # training images at most, most of them unlabelled
FASHION_POOL = 3000  # of training and of testing: enough to see a difference
DEVELOPMENT_IMAGES = 5000
VALIDATED, ELPV_VALIDATED = 1000, 150
ELPV_PART = 0.25  # of the photos that have a label: to test, and as many to develop with
RESOLUTION = 64

Labelled = tuple[ImageArray, IndexArray]
Right = NDArray[np.bool_]  # whether images are classified right


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in memory.

    Attributes:
        classes: names.
        images: to train on, uint8, (N, S, S, 3), in mixed order.
        labels: class indices, −1 where there is none, (N,).
        test_images: that accuracies are of, uint8, (M, S, S, 3): of the test or development set.
        test_labels: class indices, (M,).
        validation: labelled images that neither train nor test, at least 100, and their labels.
        tested_on: which of the two.
    """

    classes: tuple[str, ...]
    images: ImageArray
    labels: IndexArray
    test_images: ImageArray
    test_labels: IndexArray
    validation: Labelled
    tested_on: str = TEST

    @property
    def resolution(self) -> int:
        """The size of the images in pixels."""
        return int(self.images.shape[1])

    def at(self, resolution: int) -> Data:
        """Returns the same images in another size, in pixels."""
        if resolution == self.resolution:
            return self
        images, tested, validated = (
            resized(each, resolution)
            for each in (self.images, self.test_images, self.validation[0])
        )
        validation = (validated, self.validation[1])
        return replace(self, images=images, test_images=tested, validation=validation)

    def right(self, space: SearchSpace, subnet: Subnet, arrays: Arrays) -> Right:
        """Returns whether a subnet, calibrated with training images, is right on each image."""
        logits = self._logits(space, subnet, arrays)
        right: Right = logits.argmax(axis=1) == self.test_labels
        return right

    def accuracy(self, space: SearchSpace, subnet: Subnet, arrays: Arrays) -> float:
        """Returns the accuracy of a subnet, calibrated with training images."""
        return accuracy(self._logits(space, subnet, arrays), self.test_labels)

    def _logits(self, space: SearchSpace, subnet: Subnet, arrays: Arrays) -> FloatArray:
        seen = self.images[:CALIBRATION_IMAGES]
        return subnet_logits(space, subnet, arrays, LITE_PREPROCESSING, seen, self.test_images)


def read_data(source: Path, resolution: int = RESOLUTION, tested_on: str = TEST) -> Data:
    """Returns the images of a zip, or of the named sets "elpv" and "fashion-mnist".

    Args:
        source: a zip `*/{train,test}/<class>/*.jpg`, of which 10,000 images train; or a name.
        resolution: the size of the images in pixels.
        tested_on: "development" or "test": what accuracies are of. Training images are the same.
    """
    read = {"elpv": _elpv, "fashion-mnist": _fashion_mnist}.get(str(source))
    classes, parts = read() if read else _zip(source)
    train, tested, validation = (
        (resized(images, resolution), labels)
        for images, labels in (parts[name] for name in (TRAIN, tested_on, VALIDATION))
    )
    return Data(classes, *train, *tested, validation, tested_on)


def _zip(path: Path) -> tuple[tuple[str, ...], dict[str, Labelled]]:
    parts = _divided(*_read(path, "train"), POOL)
    return _classes(path), {**parts, TEST: _read(path, "test")}


def _fashion_mnist() -> tuple[tuple[str, ...], dict[str, Labelled]]:
    classes, images, labels = fashion_mnist("train")
    _, tested, test_labels = fashion_mnist("t10k")
    test = _divided(tested, test_labels, FASHION_POOL)[TRAIN]
    return classes, {**_divided(images, labels, FASHION_POOL), TEST: test}


def _elpv() -> tuple[tuple[str, ...], dict[str, Labelled]]:
    classes, images, labels = elpv()
    order = _order(len(labels))
    known = order[labels[order] >= 0]
    count = int(ELPV_PART * len(known))
    ends = (count, 2 * count, 2 * count + ELPV_VALIDATED)
    chosen = dict(zip((TEST, DEVELOPMENT, VALIDATION), np.split(known, ends), strict=False))
    chosen[TRAIN] = order[~np.isin(order, known[: ends[-1]])]
    return classes, {name: (images[part], labels[part]) for name, part in chosen.items()}


def _divided(images: ImageArray, labels: IndexArray, pool: int) -> dict[str, Labelled]:
    """Returns images to train on, to develop with and to validate with, in mixed order."""
    ends = (pool, pool + DEVELOPMENT_IMAGES, pool + DEVELOPMENT_IMAGES + VALIDATED)
    parts = np.split(_order(len(labels)), ends)
    names = (TRAIN, DEVELOPMENT, VALIDATION)
    return {name: (images[p], labels[p]) for name, p in zip(names, parts, strict=False)}


def _classes(path: Path) -> tuple[str, ...]:
    return tuple(sorted({name.split("/")[-2] for name in names_of(path, "train")}))


def _read(path: Path, role: str) -> Labelled:
    classes: Sequence[str] = _classes(path)
    images, names = zip(*read_photos(path, names_of(path, role)), strict=True)
    labels = np.array([classes.index(name) for name in names], np.int64)
    return np.stack([np.asarray(image) for image in images]), labels


def _order(count: int) -> IndexArray:
    return np.random.default_rng(0).permutation(count)
