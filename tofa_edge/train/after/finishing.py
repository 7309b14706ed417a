"""What follows training: subnets are tested, probabilities made honest, the bundle packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.train.after.integer_drop import integer_drop
from tofa_edge.train.after.packing import Contents, pack
from tofa_edge.train.after.tested import evaluate_subnets
from tofa_edge.train.config import OnStep, Progress, Report, TrainingConfig
from tofa_edge.train.data.photos import Photos
from tofa_edge.train.data.sources import read_some
from tofa_edge.train.run.early_stopping import EarlyStopping
from tofa_edge.train.run.subnet_accuracy import accuracy, fit_temperature
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.once_for_all import load_once_for_all
from tofa_edge.train.supernet.supernet import Supernet

IMAGENET_CROP = 0.875  # how EfficientNet-Lite's published accuracies were measured
TESTING = "testing subnets"


def pack_trained(
    out: Path,
    config: TrainingConfig,
    supernet: Supernet,
    photos: Photos,
    roles: Mapping[str, IndexArray],
    seconds: float,
    on_step: OnStep,
) -> Report:
    """Writes the bundle of a trained supernet, and returns what it is worth.

    Args:
        out: the bundle to write.
        config: how it was trained.
        supernet: on the CPU.
        photos: all of them.
        roles: indices of photos, (N,), by "train", "validation" and "check".
        seconds: that the training took.
        on_step: called after each tested subnet.

    Raises:
        BundleError: the bundle cannot be written there.
    """
    trained, validated = roles["train"], roles["validation"]
    check = roles["check"][: config.check_photos]
    images, labels = photos.images[validated], photos.labels[validated]
    seen = photos.images[trained[:CALIBRATION_IMAGES]]
    logits = EarlyStopping(images, labels, seen).logits(supernet)
    accuracies = {name: accuracy(found, labels) for name, found in logits.items()}
    temperature = fit_temperature(np.stack(list(logits.values())), labels)
    predictor = None
    if len(labels):
        predictor = _predictor(supernet, config, photos, roles, temperature, on_step)
    contents = Contents(
        photos.classes,
        photos.images[trained[: config.calibration_photos]],
        photos.images[check],
        photos.labels[check],
        temperature,
        predictor,
    )
    provenance = {f"accuracy_{name}": share for name, share in accuracies.items()}
    if predictor is not None:
        provenance |= {"predictor_error": predictor.error, "predictor_tau": predictor.tau}
        provenance |= {"integer_drop": predictor.integer_drop}
    provenance |= {"epochs": config.epochs}
    provenance |= {"pretrain_epochs": config.pretrain_epochs if config.is_plain else 0}
    provenance |= {"quantisation_aware_epochs": config.quantisation_aware_epochs}
    provenance |= {"photos_trained_on": len(trained), "photos_validated_on": len(validated)}
    pack(out, config, supernet, contents, provenance)
    return Report(out, accuracies, seconds)


def _predictor(
    supernet: Supernet,
    config: TrainingConfig,
    photos: Photos,
    roles: Mapping[str, IndexArray],
    temperature: float,
    on_step: OnStep,
) -> AccuracyPredictor | None:
    if not config.predictor_subnets:
        return None
    validated = roles["validation"]

    def told(number: int, count: int, seconds: float) -> None:
        on_step(Progress(number, count, (), seconds, number / seconds, TESTING))

    whole = (supernet.space, supernet.to_arrays(), supernet.preprocessing)
    unlabelled = photos.images[roles["train"]]
    tested = evaluate_subnets(
        *whole,
        unlabelled,
        photos.images[validated],
        photos.labels[validated],
        config.predictor_subnets,
        config.seed,
        told,
    )
    rounding = integer_drop(*whole, unlabelled, tested.encodings, temperature)
    predictor = tested.predictor()
    return predictor if rounding is None else replace(predictor, rounding=rounding)


def bundle_as_is(data: Path | None, out: Path, config: TrainingConfig) -> Report:
    """Bundles a pretrained network with its own classes and all its resolutions.

    Args:
        data: photos for calibration, as for `train`; None ships none.
        out: the bundle to write.
        config: what it starts from.

    Raises:
        TrainingError: the start has no pretrained weights, or they are not installed.
        DataError: the photos cannot be read.
        BundleError: the bundle cannot be written there.
    """
    if not config.is_plain and config.pretrained is None:
        raise TrainingError(f"--epochs 0 wants pretrained weights, {config.start} has none")
    if config.pretrained is None:
        space, arrays = load_lite(config.start)
        preprocessing = LITE_PREPROCESSING
    else:
        space, arrays, preprocessing = load_once_for_all(Path(config.pretrained))
    supernet = Supernet(space, replace(preprocessing, crop=IMAGENET_CROP))
    supernet.load_arrays(arrays)
    size = space.resolutions[-1]
    calibration = np.zeros((0, size, size, 3), np.uint8)
    if data is not None:
        calibration = read_some(data, size, config.calibration_photos, config.seed)
    classes = [f"imagenet {index}" for index in range(space.classes)]
    pack(out, config, supernet, Contents(classes, calibration), {"epochs": 0})
    return Report(out, {}, 0.0)
