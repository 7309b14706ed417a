"""The objective: what all subnets of a step are trained for. One room, replaceable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.nn import functional as F

from tofa_edge.space import Subnet
from tofa_edge.train.augment import resize
from tofa_edge.train.supernet import Supernet


def supervised(
    supernet: Supernet, images: Tensor, labels: Tensor, subnets: Sequence[Subnet]
) -> Iterator[Tensor]:
    """Yields one loss for each subnet, the largest first: call `backward` on each as it comes.

    The sandwich rule and in-place distillation of Yu and Huang ("Universally Slimmable Networks",
    ICCV 2019, sections 3.1 and 3.2): the largest subnet learns the labels by cross-entropy, every
    other learns the largest's predictions of the same images by their Kullback-Leibler divergence.

    Args:
        supernet: whose stored BatchNorm statistics follow the largest subnet.
        images: augmented, pixel values 0..255, float, (N, 3, S, S), S that of the largest subnet.
        labels: class indices, (N,).
        subnets: those of this step; the first is the largest.
    """
    largest, *others = subnets
    (logits,) = supernet(images, largest, update=True)
    yield F.cross_entropy(logits, labels)
    targets = F.log_softmax(logits.detach(), dim=1)
    for subnet in others:
        (logits,) = supernet(resize(images, subnet.resolution), subnet)
        predictions = F.log_softmax(logits, dim=1)
        yield F.kl_div(predictions, targets, reduction="batchmean", log_target=True)
