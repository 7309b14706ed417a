"""What follows training: subnets are tested, probabilities calibrated, the bundle packed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from tofa_edge.architecture.arrays import FloatArray, IndexArray
from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.tables import tables
from tofa_edge.budget import MAX_ACCURACY_DROP
from tofa_edge.bundle.finalists import Finalist
from tofa_edge.bundle.manifest import Provenance
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.train.after import finalists, integer_drop, subnet_tests
from tofa_edge.train.after.packing import Contents, pack
from tofa_edge.train.after.ready_made import (
    FIT_SECONDS,
    MOST_FITTED,
    MOST_READY,
    chosen_for_arrays,
    with_ready_made,
)
from tofa_edge.train.config import (
    EVALUATION,
    FINALISTS,
    INTEGER_DROP,
    PREDICTOR,
    READY_MADE,
    TESTING,
    OnStep,
    Report,
    TrainingConfig,
)
from tofa_edge.train.data.photos import Photos
from tofa_edge.train.data.reading import PLAIN, ReadingOptions
from tofa_edge.train.data.sources import read_some
from tofa_edge.train.run.early_stopping import EarlyStopping
from tofa_edge.train.run.subnet_accuracy import accuracy, fit_temperature
from tofa_edge.train.run.time_estimate import PhaseCosts
from tofa_edge.train.supernet.start import read_weights
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)

IMAGENET_CROP = 0.875  # how EfficientNet-Lite's published accuracies were measured
PACKING_SECONDS = 1.0
PREDICTOR_SECONDS = 3.0  # with 240 subnets, two cores


@dataclass(frozen=True, eq=False)
class Taught:
    """What a supernet was trained with.

    Attributes:
        parts: the photos by role: "train", "validation" and "check".
        labels: that it learned of the photos to train on, −1 where unlabelled, (N,).
        pseudo_labels: initial ones of these, probabilities, (N, classes); None for none.
    """

    parts: Mapping[str, Photos]
    labels: IndexArray
    pseudo_labels: torch.Tensor | None = None


def pack_trained(
    out: Path,
    config: TrainingConfig,
    supernet: Supernet,
    taught: Taught,
    on_step: OnStep,
    own_classifiers: bool = True,
    notes: Provenance = MappingProxyType({}),
) -> dict[str, float]:
    """Writes the bundle of a trained supernet; returns the accuracy of its three named subnets.

    Args:
        out: the bundle to write.
        config: how it was trained.
        supernet: on the CPU.
        taught: what it was trained with.
        on_step: called after each evaluated subnet and each step of packing.
        own_classifiers: whether finalists get a classifier of their own where it is better.
        notes: more of where it comes from, by name.
    """
    parts = taught.parts
    trained, labels = parts["train"].images, parts["validation"].labels
    calibration = trained[:CALIBRATION_IMAGES]
    evaluation = EarlyStopping(parts["validation"].images, labels, calibration)
    logits = evaluation.logits(supernet, on_step)
    accuracies = {name: accuracy(each, labels) for name, each in logits.items()}
    temperature = fit_temperature(np.stack(list(logits.values())), labels)
    predictor: AccuracyPredictor | None = None
    tested: list[Finalist] = []
    if len(labels) and config.predictor_subnets:
        predictor = _predictor(supernet, config, parts, temperature, on_step)
        about = supernet, config, taught, temperature, predictor
        tested = _finalists(*about, on_step, own_classifiers)
    calibration, check = trained[: config.calibration_photos], parts["check"]
    images, check_labels = check.images[: config.check_photos], check.labels[: config.check_photos]
    measured = temperature, predictor, tested
    contents = Contents(check.classes, calibration, images, check_labels, *measured)
    counts = {"photos_trained_on": len(trained), "photos_validated_on": len(labels)}
    provenance = {**_provenance(config, accuracies, predictor), **counts, **notes}
    pack(out, config, supernet, contents, provenance, on_step)
    return accuracies


def _provenance(
    config: TrainingConfig, accuracies: Mapping[str, float], predictor: AccuracyPredictor | None
) -> dict[str, float]:
    """Returns how a supernet was trained, and how good it became, by name."""
    provenance = {f"accuracy_{name}": value for name, value in accuracies.items()}
    if predictor is not None:
        provenance |= {"predictor_error": predictor.error, "predictor_tau": predictor.tau}
        provenance |= {"integer_drop": predictor.integer_drop}
    return provenance | {
        "epochs": config.epochs,
        "pretrain_epochs": config.pretrain_epochs if config.is_plain else 0,
        "quantisation_aware_epochs": config.quantisation_aware_epochs,
    }


def _predictor(
    supernet: Supernet,
    config: TrainingConfig,
    parts: Mapping[str, Photos],
    temperature: float,
    on_step: OnStep,
) -> AccuracyPredictor:
    whole = (supernet.space, supernet.to_arrays(), supernet.preprocessing)
    unlabelled, validated = parts["train"].images, parts["validation"]
    tested = subnet_tests.evaluate_subnets(
        *whole,
        unlabelled,
        validated.images,
        validated.labels,
        config.predictor_subnets,
        config.seed,
        on_step,
    )
    rounding = integer_drop.integer_drop(*whole, unlabelled, tested.encodings, temperature, on_step)
    predictor = tested.predictor(on_step)
    if rounding is None:
        return predictor
    _report_drop(*(100 * rounding).tolist())
    return replace(predictor, rounding=rounding)


def _finalists(
    supernet: Supernet,
    config: TrainingConfig,
    taught: Taught,
    temperature: float,
    predictor: AccuracyPredictor,
    on_step: OnStep,
    own_classifiers: bool,
) -> list[Finalist]:
    """Returns the finalists to ship: proposed, tested, the front and what is close to it."""
    space = supernet.space
    whole = (space, supernet.to_arrays(), supernet.preprocessing)
    most = min(finalists.MOST_TESTED, config.predictor_subnets)
    subnets = finalists.propose(space, predictor, most, config.seed)
    material = _material(taught, temperature, space.classes)
    scores = finalists.evaluate_finalists(*whole, subnets, material, on_step)
    accuracies, macs = scores.accuracies(), tables(space).costs(encoded(space, subnets)).macs
    stays, on_front = finalists.kept(macs, accuracies)
    found = [Finalist(subnets[index], float(accuracies[index])) for index in stays]
    log.info(
        f"{len(subnets)} finalists tested on {scores.photos} photos and {len(material.labels)} "
        f"labelled ones: {len(found)} ship"
    )
    front = np.flatnonzero(on_front).tolist()
    chosen = chosen_for_arrays(space, found, front, own_classifiers)
    few = slice(min(scores.photos, MOST_FITTED))
    return with_ready_made(
        *whole, found, chosen, material.calibration, material.images[few], scores.targets[few],
        temperature, on_step, own_classifiers,
    )  # fmt: skip


def _material(taught: Taught, temperature: float, classes: int) -> finalists.Material:
    """Returns what finalists are tested on: photos without labels first.

    Of labelled ones, the initial pseudo-labels know the label, and are left out.
    """
    train, validation = taught.parts["train"], taught.parts["validation"]
    order = np.argsort(taught.labels >= 0, kind="stable")[: finalists.MOST_PHOTOS]
    pseudo_labels: FloatArray = np.full((len(order), classes), np.nan, np.float32)
    if taught.pseudo_labels is not None:
        unlabelled = order[taught.labels[order] < 0]
        pseudo_labels[: len(unlabelled)] = taught.pseudo_labels.cpu().numpy()[unlabelled]
    calibration = train.images[:CALIBRATION_IMAGES]
    return finalists.Material(
        calibration, train.images[order], pseudo_labels, validation.images, validation.labels,
        temperature,
    )  # fmt: skip


def _report_drop(points: float, error: float) -> None:
    """Logs what 8-bit integers cost the subnets, as a warning where that is more than usual."""
    line = f"8-bit integers cost {points:.1f} ± {error:.1f} points of accuracy, mean of subnets"
    if points <= 100 * MAX_ACCURACY_DROP:
        log.info(line)
    else:
        log.warning(
            f"{line}: devices will mostly choose float; --quantisation-aware-epochs 1 may help"
        )


def seconds_after_training(
    costs: PhaseCosts, trained: int, validated: int, config: TrainingConfig
) -> dict[str, float]:
    """Returns about how long each phase from training to packing will take, in seconds.

    There are so many photos `trained` on and `validated`.
    """
    expected = {EVALUATION: costs.three_evaluations(validated)}
    if config.predictor_subnets:
        per_image = costs.evaluation(1) - costs.evaluation(0)
        used = subnet_tests.images_for(costs.evaluation(0), per_image)
        each = costs.evaluation(min(used, trained) + min(used, validated))
        expected[TESTING] = config.predictor_subnets * each
        subnets, images = integer_drop.SUBNETS, min(integer_drop.IMAGES, trained)
        expected[INTEGER_DROP] = subnets * 1.2 * costs.evaluation(images)
        expected[PREDICTOR] = PREDICTOR_SECONDS * (config.predictor_subnets / 240) ** 3
        expected |= _seconds_for_finalists(costs, trained, validated, config)
    return expected


def _seconds_for_finalists(
    costs: PhaseCosts, trained: int, validated: int, config: TrainingConfig
) -> dict[str, float]:
    least, per_image = costs.evaluation(0), costs.evaluation(1) - costs.evaluation(0)
    tested = min(finalists.MOST_TESTED, config.predictor_subnets)
    photos = min(finalists.photos_for(least, per_image, validated), trained)
    fitted = min(photos, MOST_FITTED)
    each = costs.evaluation(fitted) + FIT_SECONDS * fitted / MOST_FITTED
    ready = min(tested // 2, MOST_READY) * each
    return {FINALISTS: tested * costs.evaluation(photos + validated), READY_MADE: ready}


def bundle_as_is(
    data: Path | None, out: Path, config: TrainingConfig, reading: ReadingOptions = PLAIN
) -> Report:
    """Bundles a pretrained network with its own classes and all its resolutions.

    Args:
        data: photos for calibration, as for `train`; None ships none.
        out: the bundle to write.
        config: what it starts from.
        reading: as for `train`.

    Raises:
        TrainingError: the start has no pretrained weights.
    """
    if not config.is_plain and config.pretrained is None:
        raise TrainingError(f"--epochs 0 wants pretrained weights, {config.start} has none")
    start = read_weights(config)
    space = start.space
    supernet = Supernet(space, replace(start.preprocessing, crop=IMAGENET_CROP))
    supernet.load_arrays(start.arrays or {})
    size = space.resolutions[-1]
    calibration = np.zeros((0, size, size, 3), np.uint8)
    if data is not None:
        calibration = read_some(data, size, config.calibration_photos, config.seed, reading)
    classes = [f"imagenet {index}" for index in range(space.classes)]
    pack(out, config, supernet, Contents(classes, calibration), {"epochs": 0})
    return Report(out, {}, 0.0)
