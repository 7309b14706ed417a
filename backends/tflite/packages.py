"""The two packages of TFLite's interpreter: which are here, which works, what is wrong with one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from tofa_edge.backends import BackendError, package_version

CURRENT, FORMER = "ai_edge_litert", "tflite_runtime"
DISTRIBUTIONS = {CURRENT: "ai-edge-litert", FORMER: "tflite-runtime"}  # the preferred one first
INSTALL = "pip install 'tofa-edge[tflite]'"
TIMEOUT_S = 60


def installed() -> list[str]:
    """Returns the modules of the packages installed, without importing them."""
    return [module for module in DISTRIBUTIONS if find_spec(module)]


def mismatch(module: str) -> str | None:
    """Returns why a package cannot work with what else is installed, without importing it."""
    if module == FORMER and int(np.__version__.split(".")[0]) >= 2:
        return "needs numpy < 2"  # it imports, then fails at the first model
    return None


def missing() -> str | None:
    """Returns why no package can work here and what to do, or None."""
    modules = installed()
    if not modules:
        return f"no package {CURRENT} or {FORMER}: {INSTALL}"
    if not all(map(mismatch, modules)):
        return None
    return (
        f"{FORMER} works with numpy < 2 only, and this is numpy {np.__version__}: "
        f"pip install 'numpy<2', or its successor {CURRENT}: {INSTALL}"
    )


@lru_cache(maxsize=1)
def interpreters() -> Any:
    """Imports the interpreter's module: ai_edge_litert's, or where that fails tflite_runtime's.

    Raises:
        BackendError: neither is installed and goes with this numpy, or the imports fail.
    """
    reasons: list[str] = []
    cause: Exception | None = None
    for module in installed():
        reason = mismatch(module)
        if reason is None:
            try:
                return importlib.import_module(f"{module}.interpreter")
            except Exception as error:  # a broken wheel raises anything, ImportError or SystemError
                reason, cause = f"import failed ({error})", error
        reasons.append(f"{module}: {reason}")
    raise BackendError(f"tflite: {'; '.join(reasons) or 'no package'}; {INSTALL}") from cause


def versions() -> str:
    """Returns the packages that may run it, in the order in which they are tried."""
    usable = [module for module in installed() if mismatch(module) is None]
    return ", else ".join(package_version(DISTRIBUTIONS[module]) for module in usable) or "unknown"


def faults() -> tuple[str, ...]:
    """Returns what is wrong with one package where the other may serve instead.

    Each is imported in a process of its own: a wheel for another processor ends it.
    """
    modules = installed()
    if len(modules) < 2:
        return ()
    reasons = {module: mismatch(module) or _import_fault(module) for module in modules}
    names = {module: package_version(DISTRIBUTIONS[module]) for module in modules}
    return tuple(
        f"{DISTRIBUTIONS[module] if names[module] == 'unknown' else names[module]} "
        f"is also installed: {reason}"
        for module, reason in reasons.items()
        if reason
    )


def _import_fault(module: str) -> str | None:
    """Returns how the import of a package's interpreter fails, None where it works."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"import {module}.interpreter"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"import failed ({type(error).__name__})"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines() if done.returncode > 0 else []
    return f"import failed ({lines[-1] if lines else f'exit code {done.returncode}'})"
