"""Initial pseudo-labels, before any layer moves: a linear probe's, spread where that helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.train.config import PSEUDO_LABELS, OnStep, counter, silent
from tofa_edge.train.objective.class_prior import class_prior, labelled_prior
from tofa_edge.train.objective.features import Features
from tofa_edge.train.objective.label_spreading import Neighbours, spread
from tofa_edge.train.objective.linear_probe import (
    Probe,
    fit_linear_probe,
    fit_to,
    subnet_features,
)
from tofa_edge.train.objective.probe_settings import choose_settings
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.supernet.supernet import Supernet


def start_from_probe(
    supernet: Supernet,
    images: ImageArray,
    labels: IndexArray,
    teacher_outputs: Sequence[TeacherOutputs],
    self_training: bool,
    on_step: OnStep = silent,
    place: Path | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns initial pseudo-labels and the class prior; gives the supernet a fitted classifier.

    The probe reads the features of all teachers side by side, or the supernet's own. Where there
    are unlabelled images, the labels choose how it learns from them (`choose_settings`). The
    supernet's classifier is fitted to the pseudo-labels before the layers below move (Kumar et
    al., "Fine-Tuning can Distort Pretrained Features", ICLR 2022).

    Args:
        supernet: its largest subnet gives the features; its classifier is replaced.
        images: uint8, (N, S, S, 3), in mixed order.
        labels: class indices, −1 where unlabelled, (N,).
        teacher_outputs: of the images; may be none.
        self_training: whether the probe learns from its own predictions of the unlabelled, too.
        on_step: called after each of the five steps.
        place: folder for features that are large for the memory; None for that of temporary files.

    Returns:
        probabilities of every image, float32, (N, classes), and how frequent each class is among
        the images to train on, (classes,).
    """
    classes, count = supernet.space.classes, counter(PSEUDO_LABELS, 5, on_step, len(images) / 5)
    device = next(supernet.parameters())
    own = Features.of(
        subnet_features(supernet, supernet.space.largest(), images, place=place), device
    )
    count()
    features = own
    if teacher_outputs:
        features = Features.of([teacher.features for teacher in teacher_outputs], device)
    probe, pseudo_labels, prior = _from_features(features, labels, classes, self_training, count)
    classifier = fit_to(own, pseudo_labels) if teacher_outputs or self_training else probe
    fitted = {"weight": classifier.weight, "bias": classifier.bias}
    arrays = {f"{LOGITS}.{role}": value.cpu().numpy() for role, value in fitted.items()}
    supernet.load_arrays({**supernet.to_arrays(), **arrays})
    count()
    return pseudo_labels, prior


def _from_features(
    features: Features,
    labels: IndexArray,
    classes: int,
    self_training: bool,
    count: Callable[[], None],
) -> tuple[Probe, Tensor, Tensor]:
    """Returns a fitted probe, its pseudo-labels, and the class prior; counts the three steps."""
    if not self_training:
        prior = labelled_prior(labels, classes)
        count()
        probe = fit_linear_probe(features, labels, classes, 0, prior)
        count()
        count()
        return probe, probe.probabilities(features), prior
    prior = class_prior(features, labels, classes)
    neighbours = Neighbours.of(features)
    count()
    chosen = choose_settings(features, labels, classes, prior, neighbours)
    probe = fit_linear_probe(features, labels, classes, chosen.rounds, prior, chosen.decay)
    count()
    pseudo_labels = probe.probabilities(features)
    if chosen.spreads:
        pseudo_labels = spread(pseudo_labels, labels, neighbours)
    count()
    return probe, pseudo_labels, prior
