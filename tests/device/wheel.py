"""The wheel of this checkout, for tests that install it elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ANSWERS = Path(__file__).with_name("answers.py")


def built_wheel(folder: Path) -> Path:
    """Builds it in a copy of the checkout, so that nothing left by older builds gets in."""
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns(".*", "*.tofa", "build", "dist", "demo", "__pycache__")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=ignored)
    made = folder / "made"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(made)]
    subprocess.run([*command, str(folder / "tree")], check=True)
    (wheel,) = made.glob("*.whl")
    return wheel
