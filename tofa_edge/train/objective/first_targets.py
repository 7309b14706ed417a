"""The first targets of the unlabelled images, before any layer moves, and the first classifier.

A probe on pretrained features says them, labels and images that look alike correct them, and the
supernet's classifier is fitted to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.train.objective.class_prior import class_shares, labelled_shares
from tofa_edge.train.objective.label_spreading import Neighbours
from tofa_edge.train.objective.linear_probe import (
    Probe,
    as_arrays,
    features,
    fit_linear_probe,
    fit_to,
)
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.supernet.supernet import Supernet


def start_from_probe(
    supernet: Supernet,
    images: ImageArray,
    labels: IndexArray,
    teacher_outputs: Sequence[TeacherOutputs],
    self_training: bool,
) -> tuple[Tensor, Tensor]:
    """Returns what a probe on pretrained features says; gives the supernet such a classifier.

    The probe reads the features of all teachers side by side, or the supernet's own; the
    supernet's classifier is fitted to what it says, before the layers below move (Kumar et al.,
    "Fine-Tuning can Distort Pretrained Features", ICLR 2022).

    Args:
        supernet: whose largest subnet gives the features; its classifier is replaced.
        images: uint8, (N, S, S, 3), in mixed order.
        labels: class indices, −1 where unlabelled, (N,).
        looks: what the teachers say of the images; may be none.
        self_training: whether the probe learns from its own predictions of the unlabelled, too.

    Returns:
        probabilities of every image, float32, (N, classes), and how frequent each class is among
        the images to train on, (classes,).
    """
    classes = supernet.space.classes
    seen = features(supernet, supernet.space.largest(), images)
    rounds = {} if self_training else {"rounds": 0}
    taught = (
        torch.cat([look.features for look in teacher_outputs], dim=1).to(seen)
        if teacher_outputs
        else seen
    )
    own = labelled_shares(labels, classes)
    shares = class_shares(taught, labels, classes) if self_training else own
    probe = fit_linear_probe(taught, labels, classes, **rounds, shares=shares)
    said = spread(probe, taught, labels) if self_training else probe.probabilities(taught)
    weight, bias = as_arrays(fit_to(seen, said) if teacher_outputs or self_training else probe)
    fitted = {f"{LOGITS}.weight": weight, f"{LOGITS}.bias": bias}
    supernet.load_arrays({**supernet.to_arrays(), **fitted})
    return said, shares


def spread(probe: Probe, seen: Tensor, labels: IndexArray) -> Tensor:
    """Returns what a probe, the labels and images that look alike together say, (N, classes).

    Args:
        probe: fitted to the features.
        seen: features of all images, float32, (N, channels), in mixed order.
        labels: class indices, −1 where unlabelled, (N,).

    Returns:
        probabilities, float32, (N, classes).
    """
    known = torch.from_numpy(labels).to(seen.device)
    said = probe.probabilities(seen)
    named = F.one_hot(known.clamp(min=0), said.shape[1]).to(said)
    return Neighbours.of(seen).smooth(torch.where((known >= 0)[:, None], named, said))
