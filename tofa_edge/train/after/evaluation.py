"""How good a bundle's subnets are on photos with labels: accuracy, calibration, confusion."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.errors import BundleError, DataError
from tofa_edge.measurement.order_statistics import wilson
from tofa_edge.storage.files import check_place, whole_file
from tofa_edge.train.data.account.report import account
from tofa_edge.train.data.class_names import one_form
from tofa_edge.train.data.division import held_out
from tofa_edge.train.data.photos import UNLABELLED
from tofa_edge.train.data.reading import PLAIN, ReadingOptions
from tofa_edge.train.data.sources import decode_photos, list_photos
from tofa_edge.train.run.subnet_accuracy import log_softmax, subnet_logits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

CONFIDENCE_BINS = 15


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one subnet does on labelled photos.

    Attributes:
        name: "largest", "middle", "smallest" or "random N".
        subnet: which.
        macs: multiply-accumulates of one image.
        photos: how many.
        accuracy: 0..1.
        interval: that the true accuracy lies in with 95 % (Wilson, 1927).
        calibration_error: expected calibration error in 15 bins, 0..1 (Guo et al., ICML 2017),
            with the bundle's temperature.
        confusion: counts, row the label, column the prediction, int64, (classes, classes).
    """

    name: str
    subnet: Subnet
    macs: int
    photos: int
    accuracy: float
    interval: tuple[float, float]
    calibration_error: float
    confusion: IndexArray


def evaluate(
    bundle: Bundle,
    data: Path,
    random_subnets: int = 20,
    seed: int = 0,
    reading: ReadingOptions = PLAIN,
    overwrite: bool = False,
) -> list[Evaluation]:
    """Evaluates the largest, middle, smallest and some random subnets as a device would run them.

    Args:
        bundle: with calibration photos.
        data: labelled photos, as for training: a folder, a table, boxes, the name of a set. Class
            names must be the bundle's; photos without a label are left out. Where the data set
            gives its photos roles, those to test, or else to validate, are used alone.
        random_subnets: how many.
        seed: of their choice.
        reading: how tables, boxes and names of classes are read.
        overwrite: whether the table that `reading.report_data` names may replace a file.

    Raises:
        DataError: the photos cannot be read, none is labelled, or the bundle lacks a class.
        BundleError: the bundle is damaged or has no calibration photos.
    """
    reading.check_place(overwrite)
    space = bundle.space
    size = space.resolutions[-1]
    calibration = bundle.calibration_images(size, CALIBRATION_IMAGES)
    if not len(calibration):
        raise BundleError(
            f"{bundle.path}: no calibration photos in it to evaluate subnets with: train it with "
            "--calibration-photos of 1 or more"
        )
    images, labels = _labelled(bundle, data, size, reading, overwrite)
    rng = np.random.default_rng(seed)
    chosen = {"largest": space.largest(), "middle": space.middle(), "smallest": space.smallest()}
    chosen |= {f"random {number}": space.sample(rng) for number in range(1, random_subnets + 1)}
    whole = (bundle.supernet(), bundle.preprocessing, calibration, images)
    evaluations = []
    for name, subnet in chosen.items():
        logits = subnet_logits(space, subnet, *whole)
        cost = macs(layers(space, subnet))
        row = judged(name, subnet, cost, logits / bundle.temperature, labels)
        low, high = row.interval
        log.info(f"{name}: {row.accuracy:.1%} ({low:.1%} to {high:.1%}) at {cost / 1e6:.1f} MMACs")
        evaluations.append(row)
    return evaluations


def judged(
    name: str, subnet: Subnet, cost: int, logits: FloatArray, labels: IndexArray
) -> Evaluation:
    """Returns the evaluation of a subnet by its `logits` over the temperature, (N, classes).

    It has a `name`, a `cost` in MACs, and the images their `labels`, (N,).
    """
    guesses = logits.argmax(axis=1)
    right = guesses == labels
    confidence = np.exp(log_softmax(logits)).max(axis=1)
    confusion = np.zeros((logits.shape[1],) * 2, np.int64)
    np.add.at(confusion, (labels, guesses), 1)
    interval = wilson(int(right.sum()), len(labels))
    error = calibration_error(confidence, right)
    share = float(right.mean())
    return Evaluation(name, subnet, cost, len(labels), share, interval, error, confusion)


def calibration_error(confidence: FloatArray, right: NDArray[np.bool_]) -> float:
    """Returns the mean gap of `confidence` and shares `right`, (N,) both, over bins, 0..1."""
    bins = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    gaps = np.bincount(bins, confidence - right, minlength=CONFIDENCE_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def check_plot(path: Path, overwrite: bool = False) -> None:
    """Checks that `plot` can write an image, before minutes of evaluation are lost.

    Args:
        path: of the image file; its suffix says the format, such as .png, .svg, .pdf or .jpg.
        overwrite: whether a file of that name may be replaced.

    Raises:
        DataError: matplotlib is not installed or cannot write that format, the file exists, the
            folder is missing or not writable, or `path` is a folder.
    """
    formats = _figure().canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats:
        wanted = ", ".join(f".{name}" for name in sorted(formats))
        got = path.suffix or "none"
        raise DataError(f"{path}: wanted a suffix that matplotlib can write ({wanted}), got {got}")
    check_place(path, overwrite, DataError)


def plot(
    evaluations: list[Evaluation],
    classes: tuple[str, ...],
    path: Path,
    overwrite: bool = False,
) -> None:
    """Draws accuracy over MACs and the largest subnet's confusion matrix; needs matplotlib.

    Args:
        evaluations: of one subnet each.
        classes: names, in the order of the confusion matrix.
        path: of the image file.
        overwrite: whether a file of that name may be replaced.

    Raises:
        DataError: matplotlib is not installed, or the file exists or cannot be written.
    """
    check_plot(path, overwrite)
    figure = _figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_accuracies(left, evaluations)
    _draw_confusion(right, evaluations[0].confusion, classes)
    try:
        with whole_file(path, overwrite=overwrite) as stream:
            figure.savefig(stream, dpi=130, format=path.suffix.lower().removeprefix("."))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the plot cannot be written: {error}") from error


def _draw_accuracies(axes: Axes, evaluations: list[Evaluation]) -> None:
    costs = np.array([row.macs / 1e6 for row in evaluations])
    accuracies = 100 * np.array([row.accuracy for row in evaluations])
    ends = 100 * np.array([row.interval for row in evaluations]).T
    errors = np.abs(ends - accuracies)
    axes.errorbar(costs, accuracies, errors, fmt="o", ms=4, lw=1, capsize=2)
    for row, cost, height in zip(evaluations, costs, accuracies, strict=True):
        if not row.name.startswith("random"):
            axes.annotate(row.name, (cost, height), xytext=(6, -12), textcoords="offset points")
    axes.set(xlabel="MMACs of one image", ylabel="accuracy, %", xscale="log")
    axes.set_title(f"{evaluations[0].photos} photos, intervals of 95 %", loc="left", fontsize=10)
    axes.grid(alpha=0.3)


def _draw_confusion(axes: Axes, confusion: IndexArray, classes: tuple[str, ...]) -> None:
    rows = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    axes.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes)) if len(classes) <= 30 else []
    axes.set_xticks(places, [classes[i] for i in places], rotation=90)
    axes.set_yticks(places, [classes[i] for i in places])
    if len(classes) <= 12:
        for row, column in np.ndindex(rows.shape):
            dark = rows[row, column] > 0.5
            axes.text(
                column, row, f"{100 * rows[row, column]:.0f}", ha="center", va="center",
                fontsize=8, color="white" if dark else "black",
            )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="label")
    axes.set_title("largest subnet: share of each class, %", loc="left", fontsize=10)


def _figure(**options: Any) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("plots need matplotlib: pip install matplotlib") from error
    return Figure(**options)


def _labelled(
    bundle: Bundle, data: Path, size: int, reading: ReadingOptions, overwrite: bool
) -> tuple[ImageArray, IndexArray]:
    photos = decode_photos(held_out(list_photos(data, 1, reading)), size, peak=bundle.peak)
    account(photos.listed, reading, overwrite=overwrite)
    known = photos.labels != UNLABELLED
    known_names = [one_form(name) for name in bundle.classes]
    strange = sorted({*photos.classes} - {*known_names})
    if strange:
        raise DataError(
            f"{data}: classes {', '.join(strange[:5])} are not the bundle's: "
            f"{', '.join(bundle.classes[:10])}"
        )
    if not known.any():
        raise DataError(f"{data}: no photo in it has a label")
    places = np.array([known_names.index(one_form(name)) for name in photos.classes], np.int64)
    return photos.images[known], places[photos.labels[known]]
