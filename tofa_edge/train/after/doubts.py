"""Labels that a trained network doubts: often they are wrong."""

from __future__ import annotations

import numpy as np

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.errors import BundleError, DataError
from tofa_edge.train.data.account.contact_sheet import Doubt
from tofa_edge.train.data.class_names import one_form
from tofa_edge.train.data.photos import Photos
from tofa_edge.train.run.subnet_accuracy import log_softmax, subnet_logits

MOST_DOUBTS = 48


def doubted(bundle: Bundle, photos: Photos, most: int = MOST_DOUBTS) -> list[Doubt]:
    """Returns the labelled photos that the largest subnet takes for another class, up to `most`.

    Those whose label is least probable come first (Northcutt et al., "Confident Learning", JAIR
    2021, rank by the same). A network that was trained on a wrong label may have learned it.

    Args:
        bundle: trained, with calibration photos.
        photos: of its classes, at its largest resolution.
        most: how many.

    Raises:
        BundleError: it is damaged or has no calibration photos.
        DataError: a class is not the bundle's.
    """
    known = [one_form(name) for name in bundle.classes]
    strange = sorted({*map(one_form, photos.classes)} - {*known})
    if strange:
        raise DataError(
            f"{bundle.path}: lacks the classes {', '.join(strange[:5])}: give a bundle that was "
            "trained on photos of the same classes"
        )
    space = bundle.space
    calibration = bundle.calibration_images(space.resolutions[-1], CALIBRATION_IMAGES)
    if not len(calibration):
        raise BundleError(f"{bundle.path}: no calibration photos in it to run subnets with")
    labelled = np.flatnonzero(photos.labels >= 0)
    whole = (bundle.supernet(), bundle.preprocessing, calibration, photos.images[labelled])
    logits = subnet_logits(space, space.largest(), *whole)
    probabilities = np.exp(log_softmax(logits / bundle.temperature))
    places = np.array([known.index(one_form(name)) for name in photos.classes], np.int64)
    labels = places[photos.labels[labelled]]
    given, guesses = probabilities[np.arange(len(labels)), labels], probabilities.argmax(axis=1)
    order = [index for index in np.argsort(given, kind="stable") if guesses[index] != labels[index]]
    return [
        Doubt(int(labelled[index]), float(given[index]), bundle.classes[guesses[index]])
        for index in order[:most]
    ]
