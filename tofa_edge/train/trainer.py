"""Training: from a folder of photos to a bundle. `train` reads from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tofa_edge.cutting import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.layers import LOGITS
from tofa_edge.network import LITE_PREPROCESSING, ImageArray
from tofa_edge.spaces import named
from tofa_edge.train.augment import weak
from tofa_edge.train.config import PRETRAINED, Progress, Report, TrainingConfig
from tofa_edge.train.data import decode_all, read_folder, split
from tofa_edge.train.evaluate import accuracy, subnet_logits
from tofa_edge.train.losses import supervised
from tofa_edge.train.packing import check_writable, pack
from tofa_edge.train.pretrained import load_lite, new_classifier
from tofa_edge.train.supernet import Supernet

SHARES = {"train": 0.8, "validation": 0.1, "check": 0.1}
RANDOM_SUBNETS = 2  # a step, beside the largest and the smallest
HEAD_RATE = 3.0  # the new classifier's learning rate over that of the pretrained layers
WARM_UP_STEPS = 20
WEIGHT_DECAY = 0.02
CLIP_NORM = 5.0
IMAGENET_CROP = 0.875  # how EfficientNet-Lite's published accuracies were measured
LEAST_MOMENTUM = 0.05  # stored BatchNorm statistics average about the last 20 steps

Tell = Callable[[str], None]
OnStep = Callable[[Progress], None]


def train(
    data: Path | None,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = lambda progress: None,
    tell: Tell = lambda line: None,
) -> Report:
    """Trains a supernet on a folder of photos and writes the bundle.

    Args:
        data: a folder with a folder of photos per class; None only with `epochs=0`.
        out: the bundle to write.
        config: how to train.
        on_step: called after each step.
        tell: called with a line of text for what a person should know.

    Raises:
        DataError: the folder cannot be used.
        TrainingError: pretrained weights are not installed, or the loss is not finite.
        BundleError: the bundle cannot be written there.
    """
    config = config or TrainingConfig()
    check_writable(out)
    if config.epochs == 0:
        return _bundle_as_is(data, out, config, tell)
    if data is None:
        raise TrainingError("training wants a folder of photos; only --epochs 0 goes without")
    folder = read_folder(data)
    supernet = _new_supernet(config, len(folder.classes))
    size = supernet.space.resolutions[-1]
    images, photos = decode_all(folder, size, tell)  # uint8 (N, S, S, 3)
    roles = split(photos.labels, SHARES, config.seed)
    trained, validated = roles["train"], roles["validation"]
    check = photos.take(roles["check"][: config.check_photos])
    tell(
        f"{len(photos)} photos of {len(folder.classes)} classes: {len(trained)} to train on, "
        f"{len(validated)} to validate, {len(check)} to check on devices; "
        f"{supernet.space.count():.1e} subnets up to {size} px"
    )
    seconds = optimise(supernet, images[trained], photos.labels[trained], config, on_step)
    seen = images[trained[:CALIBRATION_IMAGES]]
    accuracies = _accuracies(supernet, seen, images[validated], photos.labels[validated])
    provenance = {f"accuracy_{name}": share for name, share in accuracies.items()}
    provenance |= {"photos_trained_on": len(trained), "photos_validated_on": len(validated)}
    calibration = photos.take(trained[: config.calibration_photos]).paths
    pack(out, config, supernet, folder.classes, calibration, check, provenance)
    return Report(out, accuracies, seconds)


def optimise(
    supernet: Supernet,
    images: ImageArray,
    labels: NDArray[np.int64],
    config: TrainingConfig,
    on_step: OnStep = lambda progress: None,
) -> float:
    """Trains all subnets of a supernet in place; returns the seconds it took.

    Args:
        supernet: trained with the sandwich rule, every step the largest, the smallest and two
            random subnets.
        images: uint8, (N, S, S, 3), S the largest resolution.
        labels: class indices, (N,).
        config: how to train.
        on_step: called after each step.

    Raises:
        TrainingError: a loss is not finite; the step is named.
    """
    space = supernet.space
    generator = torch.Generator().manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    batches = _batches(len(images), config, rng)
    optimiser = _optimiser(supernet, config.learning_rate)
    begin = time.perf_counter()
    for step, indices in enumerate(batches, start=1):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * _rate(step, len(batches))
        photos = torch.from_numpy(images[indices]).permute(0, 3, 1, 2)  # uint8 (N, 3, S, S)
        photos = weak(photos, generator)  # float (N, 3, S, S)
        targets = torch.from_numpy(labels[indices])  # (N,)
        subnets = [space.largest(), space.smallest()]
        subnets += [space.sample(rng) for _ in range(RANDOM_SUBNETS)]
        supernet.momentum = max(LEAST_MOMENTUM, 1 / (step + 1))
        losses = []
        for loss in supervised(supernet, photos, targets, subnets):
            torch.autograd.backward(loss)  # one subnet's graph at a time is in memory
            losses.append(float(loss.detach()))
        if not math.isfinite(sum(losses)):
            raise TrainingError(f"the loss is not finite at step {step}: lower the learning rate")
        torch.nn.utils.clip_grad_norm_(supernet.parameters(), CLIP_NORM)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - begin
        speed = step * len(indices) / seconds
        on_step(Progress(step, len(batches), tuple(losses), seconds, speed))
    return time.perf_counter() - begin


def _batches(
    count: int, config: TrainingConfig, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Returns the image indices of every step, each epoch in an order of its own."""
    size = min(config.batch_size, count)
    whole = count // size * size  # BatchNorm wants batches of one size
    epochs = (rng.permutation(count)[:whole].reshape(-1, size) for _ in range(config.epochs))
    return [batch for epoch in epochs for batch in epoch]


def _optimiser(supernet: Supernet, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW; no decay of BatchNorm and biases, a faster rate for the classifier."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in supernet.named_parameters():
        decay = WEIGHT_DECAY if name.endswith(".weight") else 0.0
        peak = learning_rate * (HEAD_RATE if f".{LOGITS}." in name else 1.0)
        groups.setdefault((decay, peak), []).append(parameter)
    options = [
        {"params": parameters, "weight_decay": decay, "peak": peak}
        for (decay, peak), parameters in groups.items()
    ]
    return torch.optim.AdamW(options, lr=learning_rate)


def _rate(step: int, steps: int) -> float:
    """The learning rate over its peak: linear warm-up, then a cosine down to 0."""
    warm_up = min(WARM_UP_STEPS, steps // 2)
    if step <= warm_up:
        return step / max(1, warm_up)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _new_supernet(config: TrainingConfig, classes: int) -> Supernet:
    """Returns the supernet to start from: pretrained, with a new classifier and its resolutions."""
    space = named(config.start)
    resolutions = tuple(size for size in space.resolutions if size <= config.resolution)
    if not resolutions:
        least = space.resolutions[0]
        raise TrainingError(f"wanted a resolution of {least} px or more, got {config.resolution}")
    space = replace(space, classes=classes, resolutions=resolutions)
    supernet = Supernet(space, LITE_PREPROCESSING, torch.Generator().manual_seed(config.seed))
    if config.start in PRETRAINED:
        _, arrays = load_lite(config.start)
        kept = new_classifier(arrays, classes, np.random.default_rng(config.seed))
        supernet.load_arrays(kept)
    return supernet


def _accuracies(
    supernet: Supernet, seen: ImageArray, images: ImageArray, labels: NDArray[np.int64]
) -> dict[str, float]:
    space, arrays = supernet.space, supernet.to_arrays()
    subnets = {"smallest": space.smallest(), "middle": space.middle(), "largest": space.largest()}
    return {
        name: accuracy(
            subnet_logits(space, subnet, arrays, supernet.preprocessing, seen, images), labels
        )
        for name, subnet in subnets.items()
    }


def _bundle_as_is(data: Path | None, out: Path, config: TrainingConfig, tell: Tell) -> Report:
    """Bundles a pretrained network with its own classes and all its resolutions.

    `data` gives calibration photos only.
    """
    if config.start not in PRETRAINED:
        raise TrainingError(f"--epochs 0 wants pretrained weights, {config.start} has none")
    space, arrays = load_lite(config.start)
    supernet = Supernet(space, replace(LITE_PREPROCESSING, crop=IMAGENET_CROP))
    supernet.load_arrays(arrays)
    calibration: tuple[Path, ...] = ()
    if data is not None:
        folder = read_folder(data)
        order = np.random.default_rng(config.seed).permutation(len(folder))
        chosen = folder.take(order[: config.calibration_photos])
        calibration = decode_all(chosen, space.resolutions[0], tell)[1].paths
    classes = [f"imagenet {index}" for index in range(space.classes)]
    pack(out, config, supernet, classes, calibration, None, {})
    return Report(out, {}, 0.0)
