"""The command that replaces a device's bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tofa_edge.cli.fleet.install import install
from tofa_edge.errors import ImageError


def test_canary_frames_that_are_not_there_are_not_left_out(tmp_path: Path) -> None:
    for wrong in (tmp_path / "missing", tmp_path):
        with pytest.raises(ImageError, match="wanted a folder of frames"):
            install(tmp_path / "parts.tofa", folder=tmp_path / "slots", frames=str(wrong))
    assert not (tmp_path / "slots").exists()
