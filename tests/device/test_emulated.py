"""Where no board can be emulated, that is said, and is no success unless it was allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("allowed", "code"), [((), 77), (("--may-skip",), 0)])
def test_without_tools_it_is_skipped_aloud(
    tmp_path: Path, allowed: tuple[str, ...], code: int
) -> None:
    module = [sys.executable, "-m", "tests.device.emulated.board", "pi"]
    done = subprocess.run(
        [*module, "--folder", str(tmp_path), *allowed],
        cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "SKIPPED: pi was NOT tested: wanted qemu-user-static, mmdebstrap, proot" in done.stdout
    assert "passed" not in done.stdout
