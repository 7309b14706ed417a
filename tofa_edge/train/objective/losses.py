"""The idea on one screen: what all subnets of a step are trained for, with one loss.

Kundu et al. ("Transfer-Once-For-All", IEEE EDGE 2023) train every subnet of a supernet at once, on
few labels and many unlabelled images. Each image has a target: its label, or a pseudo-label that a
probe of pretrained features began and the largest subnet refines (`objectives.py`). The largest
learns strong views of those that are sure (FixMatch: Sohn et al., NeurIPS 2020); the others, which
have less capacity, learn weak views of all: strong augmentation harms small networks (NetAug: Cai
et al., ICLR 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """The images that one subnet learns from in a step, augmented.

    Attributes:
        images: pixel values 0..255, float, (N, 3, S, S).
        targets: probabilities, (N, classes).
        weights: what each image counts, 0 or more, (N,).
    """

    images: Tensor
    targets: Tensor
    weights: Tensor


def unified(supernet: Supernet, batch: Batch, subnet: Subnet, update: bool) -> Tensor:
    """Returns the one loss of a subnet, its weighted divergence from the targets: a scalar.

    Args:
        supernet: that learns.
        batch: what the subnet learns from.
        subnet: which.
        update: whether stored BatchNorm statistics follow it: those of the largest do.
    """
    images = resize(batch.images, subnet.resolution)
    (logits,) = supernet(images, subnet, update=update)
    return (batch.weights * kullback_leibler(logits, batch.targets)).mean()


def distilled(
    supernet: Supernet,
    images: Tensor,
    logits: Tensor,
    features: Tensor,
    subnet: Subnet,
    update: bool,
) -> Tensor:
    """Returns the loss of a subnet that needs no labels: to be like a pretrained network.

    The Kullback-Leibler divergence to its logits (Hinton et al., 2015) and the angle between the
    pooled features.

    Args:
        supernet: that learns.
        images: augmented, pixel values 0..255, float, (N, 3, S, S), S that of the subnet.
        logits: the pretrained network's of these images, (N, classes).
        features: its pooled features of them, (N, channels).
        subnet: which learns.
        update: whether stored BatchNorm statistics follow it: those of the largest do.
    """
    soft = (logits.float() / DISTILLED_TEMPERATURE).softmax(dim=1)
    own, pooled = supernet(images, subnet, update=update, outputs=(LOGITS, POOLED))
    divergence = kullback_leibler(own / DISTILLED_TEMPERATURE, soft)
    return (LOGITS_WEIGHT * divergence + FEATURES_WEIGHT * _angle(pooled, features)).mean()


def kullback_leibler(logits: Tensor, taught: Tensor) -> Tensor:
    """Returns the divergence of `logits` from targets, the probabilities `taught`, 0 or more, (N,).

    Both are float32, (N, classes).
    """
    entropy = -(taught * taught.clamp(min=1e-12).log()).sum(dim=1)
    return -(taught * logits.log_softmax(dim=1)).sum(dim=1) - entropy


def _angle(pooled: Tensor, features: Tensor) -> Tensor:
    """Returns 1 − the cosine of the angle between features of each image, 0..2, (N,)."""
    return 1 - F.cosine_similarity(pooled.flatten(1), features.float().flatten(1), dim=1)
