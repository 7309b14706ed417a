"""What several tests start from: random supernets, and small bundles made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tofa_edge.benchmarks.small_bundle import small_bundle
from tofa_edge.network import FloatArray
from tofa_edge.space import SearchSpace
from tofa_edge.specimens import random_supernet

PHOTOS = 24


def write_tiny(path: Path, photos: int) -> Path:
    small_bundle(path, calibration_photos=photos, check_photos=0)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test remembers what another one chose, nor what the machine's owner did."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def supernets() -> Callable[[SearchSpace, int], dict[str, FloatArray]]:
    return random_supernet


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.tofa", PHOTOS)


@pytest.fixture(scope="session")
def bare_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without photos."""
    return write_tiny(tmp_path_factory.mktemp("bare") / "bare.tofa", 0)
