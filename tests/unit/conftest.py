"""A small bundle on disk, and taken apart to be damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.crafted import Sample
from tofa_edge.selftest.small_bundle import small_bundle


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bundle") / "small.tofa"
    small_bundle(made)
    return made


@pytest.fixture(scope="module")
def sample(path: Path) -> Sample:
    return Sample.of(path.read_bytes())
