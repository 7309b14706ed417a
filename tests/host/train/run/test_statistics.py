"""The BatchNorm statistics of the largest subnet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tofa_edge.architecture.zoo import tiny
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import Progress
from tofa_edge.train.objective.objectives import SemiSupervised
from tofa_edge.train.run.early_stopping import EarlyStopping
from tofa_edge.train.run.loop import Phase, begin
from tofa_edge.train.run.statistics import set_statistics
from tofa_edge.train.supernet.supernet import Supernet


def made() -> Supernet:
    return Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(0))


def statistics(images: np.ndarray, supernet: Supernet) -> torch.Tensor:
    """Returns the mean of the first layer over images of the supernet's resolution."""
    with torch.no_grad():
        supernet.momentum = 1.0
        every = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        supernet(every, supernet.space.largest(), update=True)
    return supernet.arrays()["stem.mean"]


def test_every_image_weighs_alike() -> None:
    images = np.full((257, 32, 32, 3), 20, np.uint8)
    images[-1] = 250
    expected, found = statistics(images, made()), made()
    set_statistics(found, images)
    torch.testing.assert_close(found.arrays()["stem.mean"], expected, rtol=0.02, atol=1e-3)


def test_images_are_resized_to_the_largest_resolution() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    small = images.reshape(8, 32, 2, 32, 2, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    space = replace(tiny(), resolutions=(32,))
    supernet = Supernet(space, LITE_PREPROCESSING, torch.Generator().manual_seed(0))
    supernet.momentum = 0.3
    set_statistics(supernet, images)
    found = supernet.arrays()["stem.mean"].clone()
    assert supernet.momentum == 0.3
    torch.testing.assert_close(found, statistics(small, supernet), rtol=0.1, atol=0.02)


def test_validation_does_not_wait_for_averages_of_statistics() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    labels = np.arange(8) % 2
    state = begin(made(), SemiSupervised(images, labels, 2, 8, 0), Phase("training", 1, 1e-3))
    with torch.no_grad():
        state.averaged.arrays()["stem.mean"].fill_(100.0)
    stopping = EarlyStopping(images, labels, images, stops=False)
    stopping.evaluate(Progress(1, 1, (1.0,), 1.0, 1.0, "training"), state)
    expected = statistics(images, made())
    torch.testing.assert_close(state.averaged.arrays()["stem.mean"], expected)
