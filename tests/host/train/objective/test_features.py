"""Features of very many images, computed block by block, give what they give as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.zoo import tiny
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.data.files import mapped
from tofa_edge.train.objective import features as features_module
from tofa_edge.train.objective.class_prior import class_prior
from tofa_edge.train.objective.features import Features, room_for_rows
from tofa_edge.train.objective.initial_pseudo_labels import start_from_probe
from tofa_edge.train.objective.label_spreading import Neighbours
from tofa_edge.train.objective.linear_probe import fit_linear_probe, probe_accuracy
from tofa_edge.train.objective.probe_settings import choose_settings
from tofa_edge.train.objective.standardisation import centre_and_deviation
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.supernet.supernet import Supernet

COUNT, CLASSES, CHANNELS = 500, 3, (24, 16)


def drawn(seed: int = 0) -> tuple[list[Tensor], IndexArray, IndexArray]:
    """Returns features of two teachers, the classes of all images, and labels of a few."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(CLASSES, size=COUNT)
    parts = [
        torch.from_numpy(rng.normal(rng.normal(0, 0.6, (CLASSES, width))[truth])).float() + 5
        for width in CHANNELS
    ]
    labels = np.where(rng.random(COUNT) < 0.2, truth, -1)
    return parts, truth, labels


def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "WHOLE_BYTES", 0)
    monkeypatch.setattr(features_module, "BLOCK_BYTES", 4 * sum(CHANNELS) * 70)


def test_rows_are_those_of_the_parts_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, _, _ = drawn()
    wanted = torch.cat(parts, dim=1)
    in_blocks(monkeypatch)
    found = Features.of(parts)
    assert (len(found), found.channels, found.fits) == (COUNT, 40, False)
    blocks = list(found.blocks())
    assert len(blocks) == 8
    torch.testing.assert_close(torch.cat([block for _, block in blocks]), wanted)
    torch.testing.assert_close(torch.cat([wanted[places] for places, _ in blocks]), wanted)
    chosen = found.take(torch.arange(400, 0, -2)).take(torch.tensor([3, 0]))
    torch.testing.assert_close(chosen.rows(slice(None)), wanted[[394, 400]])
    weight, bias = torch.randn(4, 40), torch.randn(4)
    torch.testing.assert_close(found.linear(weight, bias), wanted @ weight.T + bias)
    mean, deviation = centre_and_deviation(found)
    torch.testing.assert_close(mean, wanted.mean(dim=0))
    torch.testing.assert_close(deviation, wanted.std(dim=0), rtol=1e-5, atol=1e-6)


def test_all_that_is_fitted_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, truth, labels = drawn()

    def fitted() -> list[Tensor]:
        found = Features.of(parts)
        prior = class_prior(found, labels, CLASSES)
        graph = Neighbours.of(found)
        chosen = choose_settings(found, labels, CLASSES, prior, graph)
        probe = fit_linear_probe(found, labels, CLASSES, chosen.rounds, prior, chosen.decay)
        assert probe_accuracy(probe, found, truth) > 0.8
        settings = torch.tensor([chosen.rounds, chosen.decay, chosen.spreads])
        return [prior, graph.weights.to_dense(), settings, probe.probabilities(found)]

    whole = fitted()
    in_blocks(monkeypatch)
    for first, second in zip(whole, fitted(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=2e-3)


def test_large_ones_are_in_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float16 they say the same."""
    parts, truth, labels = drawn()
    assert room_for_rows(5, 3, "these", tmp_path).dtype == torch.float32
    probe = fit_linear_probe(Features.of(parts), labels, CLASSES, 0)
    whole = probe.probabilities(torch.cat(parts, dim=1))
    accuracy = probe_accuracy(probe, torch.cat(parts, dim=1), truth)
    in_blocks(monkeypatch)
    monkeypatch.setattr(mapped, "available_memory_bytes", lambda: 1000)
    stored = [room_for_rows(COUNT, part.shape[1], "these", tmp_path) for part in parts]
    for each, part in zip(stored, parts, strict=True):
        each[:] = part
    assert {each.dtype for each in stored} == {torch.float16}
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert maps.count(f"{tmp_path.resolve()}/") == 2
    assert not list(tmp_path.iterdir())
    probe = fit_linear_probe(Features.of(stored), labels, CLASSES, 0)
    said = probe.probabilities(Features.of(stored))
    assert float((said - whole).abs().max()) < 0.02
    assert abs(probe_accuracy(probe, Features.of(stored), truth) - accuracy) <= 0.004


def test_the_start_of_training_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the features of teachers, and with those of the supernet itself, in files."""
    parts, _, labels = drawn()
    images = np.random.default_rng(1).integers(0, 256, (COUNT, 16, 16, 3), np.uint8)

    def started(*teachers: Tensor) -> Tensor:
        supernet = Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(0))
        outputs = [TeacherOutputs(torch.empty(0, 9), each) for each in teachers]
        return start_from_probe(supernet, images, labels, outputs, True, place=tmp_path)[0]

    whole = started(*parts), started()
    in_blocks(monkeypatch)
    monkeypatch.setattr(mapped, "available_memory_bytes", lambda: 1000)
    for first, second in zip(whole, (started(*map(Tensor.half, parts)), started()), strict=True):
        assert float((first.argmax(dim=1) == second.argmax(dim=1)).float().mean()) >= 0.99
