"""A small bundle on disk, and taken apart to be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fuzz.crafted import Sample


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tofa_edge.selftest.small_bundle import small_bundle, small_finalists

    bundle = tmp_path_factory.mktemp("bundle") / "small.tofa"
    small_bundle(bundle, finalists=small_finalists())
    return bundle


@pytest.fixture(scope="session")
def sample(path: Path) -> Sample:
    from tests.fuzz.crafted import Sample

    return Sample.of(path.read_bytes())
