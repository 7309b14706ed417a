"""Which of TFLite's two packages serves, where one of them is broken."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flatbuffers")
BROKEN = "raise ImportError('libEGL.so.1: cannot open shared object file')"
KILLED = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)"
OLD_NUMPY = int(np.__version__.split(".")[0]) < 2


def install(folder: Path, module: str, content: str) -> None:
    package = folder / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text(content)


def python(folder: Path, code: str) -> str:
    """Runs code in a new process that finds the packages in a folder before all others."""
    paths = (str(folder), *filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADING = """
from tofa_edge.backends.tflite.packages import interpreters
from tofa_edge.errors import BackendError
try:
    print(interpreters().__name__)
except BackendError as error:
    print(error)
"""
REMARKS = "from tofa_edge.backends.tflite import TfLite; print(*TfLite().remarks(), sep='\\n')"


def test_error_names_both_packages(tmp_path: Path) -> None:
    install(tmp_path, "ai_edge_litert", BROKEN)
    install(tmp_path, "tflite_runtime", BROKEN)
    said = python(tmp_path, LOADING)
    assert "ai_edge_litert: import failed (libEGL.so.1: cannot open" in said
    reason = "import failed (libEGL" if OLD_NUMPY else "needs numpy < 2"
    assert f"tflite_runtime: {reason}" in said
    assert "pip install 'tofa-edge[tflite]'" in said


def test_remarks_tell_what_is_wrong_with_each(tmp_path: Path) -> None:
    install(tmp_path, "ai_edge_litert", KILLED)
    install(tmp_path, "tflite_runtime", BROKEN)
    first, second = python(tmp_path, REMARKS).splitlines()
    assert first.startswith("ai-edge-litert")
    assert first.endswith("is also installed: import failed (exit code -4)")
    assert second.startswith("tflite-runtime")
    wanted = "is also installed: import failed (ImportError: libEGL" if OLD_NUMPY else "numpy < 2"
    assert wanted in second


def test_nothing_to_remark_on_a_package_alone() -> None:
    if all(map(importlib.util.find_spec, ("ai_edge_litert", "tflite_runtime"))):
        pytest.skip("both packages are installed here")
    assert python(Path("/nowhere"), REMARKS) == ""


def test_missing_imports_nothing(tmp_path: Path) -> None:
    for module in ("ai_edge_litert", "tflite_runtime"):
        install(tmp_path, module, "raise SystemExit('imported')")
    code = "from tofa_edge.backends.tflite import TfLite as T; print(T().missing(), T().version())"
    assert python(tmp_path, code).startswith("None ")


def test_former_package_serves_where_the_current_one_is_broken(tmp_path: Path) -> None:
    if importlib.util.find_spec("tflite_runtime") is None or not OLD_NUMPY:
        pytest.skip("needs tflite-runtime and numpy < 2")
    install(tmp_path, "ai_edge_litert", BROKEN)
    assert python(tmp_path, LOADING) == "tflite_runtime.interpreter"
    code = f"""
from pathlib import Path
import tofa_edge
from tofa_edge.selftest.small_bundle import small_bundle
path = Path({str(tmp_path)!r}) / "small.tofa"
small_bundle(path)
with tofa_edge.deploy(path, backend="tflite", remember=False) as model:
    print(model.engine.backend.name)
"""
    assert python(tmp_path, code) == "tflite"
