"""The idea on one screen: what all subnets of a step are trained for, with one loss.

Kundu et al. ("Transfer-Once-For-All", IEEE EDGE 2023) train every subnet of a supernet at once, on
few labels and many unlabelled images. The pieces: the sandwich rule and in-place distillation of Yu
and Huang ("Universally Slimmable Networks", ICCV 2019, sections 3.1 and 3.2) and FixMatch (Sohn et
al., NeurIPS 2020): a pseudo-label read from a weak view teaches the strong view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.layers import LOGITS, POOLED
from tofa_edge.architecture.space import Subnet
from tofa_edge.train.data.augment import resize
from tofa_edge.train.supernet.supernet import Supernet

DISTILLED_TEMPERATURE = 2.0
LOGITS_WEIGHT, FEATURES_WEIGHT = 4.0, 20.0  # which make the two terms about as large


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of a step, augmented: pixel values 0..255, float, (N, 3, S, S).

    Attributes:
        labelled: (L, 3, S, S); L may be 0 only if nothing is labelled.
        labels: class indices, (L,).
        weights: what each labelled image counts, 1 on average over the classes that occur, (L,).
        strong: the strong views of the unlabelled images, (U, 3, S, S); U may be 0.
        targets: pseudo-labels of their weak views, probabilities, (U, classes).
        mask: which of them are sure enough to teach the largest subnet, 0..1, (U,).
    """

    labelled: Tensor
    labels: Tensor
    weights: Tensor
    strong: Tensor
    targets: Tensor
    mask: Tensor


def unified(supernet: Supernet, batch: Batch, subnets: Sequence[Subnet]) -> Iterator[Tensor]:
    """Yields one loss for each subnet, the largest first: call `backward` on each as it comes.

    The largest subnet learns the labels and, where the mask allows, the targets of the strong
    views. Every other subnet learns the largest one's predictions of the labelled images and the
    targets of the unlabelled ones, both as probabilities. Without unlabelled images it is
    supervised in-place distillation.

    Args:
        supernet: whose stored BatchNorm statistics follow the largest subnet.
        batch: of this step.
        subnets: those of this step; the first is the largest.
    """
    largest, *others = subnets
    count = len(batch.labels)
    images = torch.cat([batch.labelled, batch.strong])  # one batch for BatchNorm
    (logits,) = supernet(images, largest, update=True)
    on_strong = _cross_entropy(logits[count:], batch.targets)
    on_labels = F.cross_entropy(logits[:count], batch.labels, reduction="none")
    yield _mean(batch.weights * on_labels) + _mean(batch.mask * on_strong)
    taught = torch.cat([logits[:count].detach().softmax(dim=1), batch.targets])
    for subnet in others:
        (logits,) = supernet(resize(images, subnet.resolution), subnet)
        divergence = kullback_leibler(logits, taught)
        yield divergence[:count].mean() + _mean(divergence[count:])


def distilled(
    supernet: Supernet, images: Tensor, teacher: tuple[Tensor, Tensor], subnets: Sequence[Subnet]
) -> Iterator[Tensor]:
    """Yields a loss for each subnet that needs no labels: to be like a pretrained network.

    The Kullback-Leibler divergence to its logits (Hinton et al., 2015) and the angle between the
    pooled features, where these have as many channels.

    Args:
        supernet: whose stored BatchNorm statistics follow the largest subnet.
        images: augmented, pixel values 0..255, float, (N, 3, S, S), S that of the largest subnet.
        teacher: its logits (N, classes) and pooled features (N, channels) of the same images.
        subnets: those of this step; the first is the largest.
    """
    taught, features = (value.float().flatten(1) for value in teacher)
    soft = (taught / DISTILLED_TEMPERATURE).softmax(dim=1)
    for index, subnet in enumerate(subnets):
        resized = resize(images, subnet.resolution)
        logits, pooled = supernet(resized, subnet, update=not index, outputs=(LOGITS, POOLED))
        divergence = kullback_leibler(logits / DISTILLED_TEMPERATURE, soft)
        angle = 1 - F.cosine_similarity(pooled.flatten(1), features, dim=1)
        yield (LOGITS_WEIGHT * divergence + FEATURES_WEIGHT * angle).mean()


def kullback_leibler(logits: Tensor, taught: Tensor) -> Tensor:
    """Returns the divergence of `logits` from targets, the probabilities `taught`, 0 or more, (N,).

    Both are float32, (N, classes).
    """
    return _cross_entropy(logits, taught) - _entropy(taught)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)


def _entropy(probabilities: Tensor) -> Tensor:
    return -(probabilities * probabilities.clamp(min=1e-12).log()).sum(dim=1)


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, len(values))
