"""What several tests start from: random supernets, and small bundles made from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.log_lines import log_lines
from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.backends import registry
from tofa_edge.backends.protocol import Backend
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.selftest import records as probing
from tofa_edge.selftest.records import engine_records
from tofa_edge.selftest.small_bundle import small_bundle
from tofa_edge.selftest.specimens import random_supernet

PHOTOS = 24
ENGINES = Path(__file__).parent / "engines"


def write_tiny(path: Path, photos: int) -> Path:
    small_bundle(path, calibration_photos=photos, check_photos=0)
    return path


@pytest.fixture(scope="session")
def probes(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """What is known of the engines here, found out once."""
    folder = tmp_path_factory.mktemp("probes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        engine_records()
        engine_records(Bundle.open(tiny_bundle))
    return folder


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, probes: Path
) -> Path:
    """No test remembers what another one chose, nor what the machine's owner did."""
    folder = tmp_path_factory.mktemp("cache")
    shutil.copytree(probes, folder, dirs_exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    probing.forget()
    return folder


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the package logs during the test."""
    with log_lines() as found:
        yield found


Offer = Callable[..., dict[str, Backend]]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Installs faulty engines by name, as a distribution beside the checkout, and them alone."""

    def install(*names: str) -> dict[str, Backend]:
        folder = tmp_path / "engines"
        shutil.copytree(ENGINES, folder)
        described = folder / "faulty_engines-1.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: faulty-engines\nVersion: 1"
        )
        points = (f"{name} = faulty_engines:{name.title().replace('_', '')}" for name in names)
        entries = "\n".join(["[tofa_edge.backends]", *points])
        (described / "entry_points.txt").write_text(entries)
        monkeypatch.syspath_prepend(str(folder))
        registry._discovered.cache_clear()
        found = registry.backends()
        chosen = {name: found[name] for name in (*names, "reference")}
        monkeypatch.setattr(registry, "_discovered", lambda: chosen)
        return chosen

    whole = registry._discovered
    yield install
    whole.cache_clear()


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
