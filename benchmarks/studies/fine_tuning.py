"""EfficientNet-Lite0 fine-tuned whole on labels alone, as one does without a supernet.

Its settings are the best of a small grid by cross-validation on the same labels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.benchmarks.studies.training_alone import space_of_one
from tofa_edge.benchmarks.studies.training_study import study_space, study_supernet
from tofa_edge.train.data.augment import weak
from tofa_edge.train.supernet.supernet import Supernet

BATCH, TEST_BATCH = 32, 64
RATES, EPOCHS, FOLDS = (3e-4, 1e-3), (10, 30), 3
HEAD_RATE = 3.0  # of the new classifier, over that of the rest
WEIGHT_DECAY, CLIP = 0.02, 5.0


@dataclass(frozen=True)
class Recipe:
    """How it is fine-tuned: the peak of AdamW's cosine schedule, and passes over the labels."""

    rate: float
    epochs: int


def recipes(rates: Sequence[float], epochs: Sequence[int]) -> list[Recipe]:
    return [Recipe(rate, count) for rate, count in itertools.product(rates, epochs)]


def fine_tuned(
    images: ImageArray, labels: IndexArray, classes: int, recipe: Recipe, seed: int
) -> Supernet:
    """Returns the network after training.

    Args:
        images: uint8, (N, S, S, 3), all labelled.
        labels: class indices, (N,).
        classes: how many.
        recipe: how.
        seed: of order and augmentation.
    """
    size = images.shape[1]
    whole = study_space(classes, size)
    network = study_supernet(space_of_one(whole, whole.largest()))
    subnet, rng = network.space.largest(), torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    targets = torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(_groups(network, recipe.rate), weight_decay=WEIGHT_DECAY)
    steps = recipe.epochs * max(1, math.ceil(len(labels) / BATCH))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(labels), generator=rng)
        for chosen in torch.split(order, BATCH):
            if len(chosen) < 2 and len(labels) > 1:
                continue  # BatchNorm wants more than one
            views = weak(pixels[chosen], rng)
            (logits,) = network(views, subnet, "batch", update=True)
            loss = F.cross_entropy(logits, targets[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
            schedule.step()
    return network


def accuracy(network: Supernet, images: ImageArray, labels: IndexArray) -> float:
    """Returns the share of images, uint8 (N, S, S, 3), that it names as their labels, (N,), do."""
    subnet, right = network.space.largest(), 0
    with torch.no_grad():
        for start in range(0, len(labels), TEST_BATCH):
            part = torch.from_numpy(images[start : start + TEST_BATCH]).permute(0, 3, 1, 2)
            (logits,) = network(part.float(), subnet, "stored")
            named = logits.argmax(dim=1).numpy()
            right += int((named == labels[start : start + TEST_BATCH]).sum())
    return right / len(labels)


def cross_validated(
    images: ImageArray, labels: IndexArray, classes: int, tried: Sequence[Recipe], folds: int
) -> dict[Recipe, float]:
    """Returns the mean accuracy of each recipe on the folds that it did not see."""
    parts = stratified_folds(labels, folds, seed=0)
    found = {}
    for recipe in tried:
        scores = []
        for number in range(folds):
            seen = parts != number
            network = fine_tuned(images[seen], labels[seen], classes, recipe, number)
            scores.append(accuracy(network, images[~seen], labels[~seen]))
        found[recipe] = float(np.mean(scores))
    return found


def stratified_folds(labels: IndexArray, folds: int, seed: int) -> IndexArray:
    """Returns the fold of each of some labels, (N,), each class spread evenly over the folds."""
    rng, parts = np.random.default_rng(seed), np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        parts[members] = np.arange(len(members)) % folds
    return parts


def _groups(network: Supernet, rate: float) -> list[dict[str, object]]:
    named = dict(network.named_parameters())
    head = [value for name, value in named.items() if "logits" in name]
    rest = [value for name, value in named.items() if "logits" not in name]
    return [{"params": rest, "lr": rate}, {"params": head, "lr": HEAD_RATE * rate}]
