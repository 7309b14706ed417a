"""Fixtures of several packages' tests: random supernets, small bundles, records of engines.

What a fixture needs is imported within it: one file of tests must start at once, without engines.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.log_lines import log_lines

if TYPE_CHECKING:
    from tofa_edge.architecture.arrays import FloatArray
    from tofa_edge.architecture.space import SearchSpace
    from tofa_edge.backends.protocol import Backend

    Offer = Callable[..., dict[str, Backend]]

PHOTOS = 24
ENGINES = Path(__file__).parent / "engines"
# numpy's threads wait actively: for small matrices on a busy machine they take ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache: no test depends on what another one, or the user, left behind."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    if records := sys.modules.get("tofa_edge.selftest.records"):
        records._known.clear()
    return folder


@pytest.fixture(scope="session")
def self_tests(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """A cache with the self-test records of all engines here; made by one of pytest's workers."""
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.selftest.records import engine_records

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "self-tests"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        engine_records()
        engine_records(Bundle.open(tiny_bundle))
    return folder / "cache"


@pytest.fixture
def known_engines(own_cache: Path, self_tests: Path) -> Path:
    """The test's cache with the records of all self-tests, so that deploying repeats none."""
    shutil.copytree(self_tests, own_cache, dirs_exist_ok=True)
    return own_cache


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the package logs during the test."""
    with log_lines() as logged:
        yield logged


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Installs faulty engines by name, as a distribution beside the checkout, and them alone."""
    from tofa_edge.backends import registry

    def install(*names: str) -> dict[str, Backend]:
        folder = tmp_path / "engines"
        shutil.copytree(ENGINES, folder)
        information = folder / "faulty_engines-1.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: faulty-engines\nVersion: 1"
        )
        points = (f"{name} = faulty_engines:{name.title().replace('_', '')}" for name in names)
        entries = "\n".join(["[tofa_edge.backends]", *points])
        (information / "entry_points.txt").write_text(entries)
        monkeypatch.syspath_prepend(str(folder))
        registry._discovered.cache_clear()
        installed = registry.backends()
        offered = {name: installed[name] for name in (*names, "reference")}
        monkeypatch.setattr(registry, "_discovered", lambda: offered)
        return offered

    whole = registry._discovered
    yield install
    whole.cache_clear()


@pytest.fixture(scope="session")
def supernets() -> Callable[[SearchSpace, int], dict[str, FloatArray]]:
    from tofa_edge.selftest.specimens import random_supernet

    return random_supernet


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bundle(tmp_path_factory.mktemp("tiny") / "tiny.tofa", PHOTOS)


@pytest.fixture(scope="session")
def bare_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without photos."""
    return _bundle(tmp_path_factory.mktemp("bare") / "bare.tofa", 0)


def _bundle(path: Path, photos: int) -> Path:
    from tofa_edge.selftest.small_bundle import small_bundle

    small_bundle(path, calibration_photos=photos, check_photos=0)
    return path
