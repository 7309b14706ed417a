"""TensorRT's Python package: which one is installed, and its names, imported at first use.

`tensorrt` and TensorRT for RTX offer the same names; `library.Builder` is the installed one's.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tofa_edge.backends import BackendError, import_engine, package_version
from tofa_edge.device import sources as device_sources
from tofa_edge.device.files import Files

# Packages that can be imported, and what may have installed each.
PACKAGES = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
    "tensorrt_rtx_bindings": ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
}
INSTALL_RTX = "pip install 'tofa-edge[tensorrt-rtx]'"
INSTALL_ON_JETSON = (
    "sudo apt install tensorrt python3-libnvinfer, and a virtual environment made with "
    "python3 -m venv --system-site-packages"
)


def package() -> str | None:
    """Returns the name of the package that is installed; type stubs alone are none."""
    specs = ((name, find_spec(name)) for name in PACKAGES)
    return next((name for name, spec in specs if spec is not None and spec.origin), None)


def missing() -> str | None:
    """Returns what to install where no package is, else None."""
    if package() is not None:
        return None
    if any("Jetson" in gpu for gpu in device_sources.accelerators(Files(Path("/")))):
        return f"no package tensorrt: {INSTALL_ON_JETSON}"
    return f"no package tensorrt: with an RTX GPU {INSTALL_RTX}; on a Jetson {INSTALL_ON_JETSON}"


def version() -> str:
    """Returns the name and the version of the package."""
    return package_version(*PACKAGES[package() or "tensorrt"])


def engine() -> Any:
    """Imports the package that is installed."""
    name = package()
    if name is None:
        raise BackendError(f"tensorrt: {missing()}")
    return import_engine(name, "a library that it needs is missing, or of another version")


def typed_by_onnx() -> bool:
    """Returns whether the precision is the ONNX model's: from TensorRT 11, and for RTX.

    Before, the engine chooses it for each layer among those that flags allow.
    """
    return not hasattr(engine().BuilderFlag, "FP16")


def keeps_timings() -> bool:
    """Returns whether builds time kernels; TensorRT for RTX chooses them when the engine runs."""
    return "rtx" not in engine().__name__


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # asked by Python's own machinery
        raise AttributeError(name)
    return getattr(engine(), name)
