"""TensorRT on an NVIDIA GPU: a Jetson's own package, or TensorRT for RTX from pip."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.onnx.integer import TENSORRT, write_onnx_int8
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.support import check_quantised, package_version
from tofa_edge.backends.tensorrt import engine_cache
from tofa_edge.backends.tensorrt.build import Plan, build_plan, open_plan, typed_by_onnx
from tofa_edge.backends.tensorrt.cuda import load_cuda
from tofa_edge.backends.tensorrt.session import TensorRtSession
from tofa_edge.device import sources as device_sources
from tofa_edge.device.files import Files
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network
from tofa_edge.storage.cache import decision_key

# Packages that can be imported, and what may have installed each.
PACKAGES = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
    "tensorrt_rtx_bindings": ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
}
INSTALL = "pip install 'tofa-edge[tensorrt]'"
INSTALL_RTX = "pip install 'tofa-edge[tensorrt-rtx]'"
INSTALL_ON_JETSON = (
    "sudo apt install tensorrt python3-libnvinfer, and a virtual environment made with "
    "python3 -m venv --system-site-packages"
)
PRECISIONS = ("fp32", "fp16", "int8")


def package() -> str | None:
    """Returns the name of the package that is installed; type stubs alone are none."""
    specs = ((name, find_spec(name)) for name in PACKAGES)
    return next((name for name, spec in specs if spec is not None and spec.origin), None)


def engine() -> ModuleType:
    """Imports TensorRT."""
    name = package()
    if name is None:
        raise BackendError(f"tensorrt: {_no_package()}")
    try:
        return importlib.import_module(name)
    except Exception as error:  # a library it needs is missing, or of another version
        raise BackendError(f"tensorrt: import of {name} failed ({error})") from error


class TensorRt:
    """Builds TensorRT engines for the GPU of this machine and keeps them, since builds are slow."""

    name = "tensorrt"
    calibrates = False  # TensorRT reads no BatchNormalization in training mode

    def missing(self) -> str | None:
        """Returns which package, library or device is not there and what to do, or None."""
        if package() is None:
            return _no_package()
        if find_spec("onnx") is None:
            return f"no package onnx: {INSTALL}"
        try:
            return load_cuda().problem()
        except BackendError as error:
            return str(error)

    def version(self) -> str:
        """Returns the versions of TensorRT and CUDA, and the device: an engine fits no other."""
        if self.missing():
            return package_version(*PACKAGES[package() or "tensorrt"])
        facts = _facts()
        return f"{facts['engine']}, CUDA {facts['cuda']}, {facts['device']} {facts['capability']}"

    def targets(self) -> tuple[Target, ...]:
        """Returns fp32, fp16 and int8 on the GPU; nothing runs on a Jetson's DLA."""
        return () if self.missing() else tuple(Target("gpu", item) for item in PRECISIONS)

    def build(self, network: Network, target: Target) -> bytes:
        """Returns an engine, from the cache where it was built before."""
        self._check(target)
        check_quantised(self.name, network, target)
        module = engine()
        try:
            onnx = _onnx(module, network, target.precision)
        except (ImportError, ValueError) as error:
            raise BackendError(f"tensorrt: {error}") from error
        facts = {**_facts(), "precision": target.precision}
        name = f"{decision_key({**facts, 'network': network.digest})}.engine"
        kept = engine_cache.CACHE.read(name)
        if kept is not None and _opened(kept, facts) is not None:
            return kept
        timings = f"{decision_key(facts)}.timings"
        plan = _build(module, onnx, facts, timings)
        sealed = engine_cache.seal(facts, plan.engine)
        engine_cache.CACHE.write(name, sealed)
        return sealed

    def load(self, artefact: bytes, target: Target) -> TensorRtSession:
        """Returns a session on the GPU."""
        self._check(target)
        module = engine()
        try:
            built_for, content = engine_cache.unseal(artefact)
        except ValueError as error:
            raise BackendError(f"tensorrt refuses the engine: {error}; build it again") from error
        here = {**_facts(), "precision": target.precision}
        if built_for != here:
            raise BackendError(
                f"tensorrt: the engine was built for {_line(built_for)}, this is {_line(here)}: "
                "build it again"
            )
        return TensorRtSession(load_cuda(), module, *open_plan(module, content))

    def _check(self, target: Target) -> None:
        reason = self.missing()
        if reason:
            raise BackendError(f"backend {self.name} cannot run here: {reason}")
        if target not in self.targets():
            offered = ", ".join(PRECISIONS)
            raise BackendError(f"{self.name}: no target {target}; it offers gpu {offered}")


def _onnx(module: ModuleType, network: Network, precision: str) -> bytes:
    """Returns the model to build from."""
    if precision == "int8":
        return write_onnx_int8(network, TENSORRT)
    return write_onnx(network, precision=precision if typed_by_onnx(module) else "fp32")


def _build(module: ModuleType, onnx: bytes, facts: engine_cache.Facts, timings: str) -> Plan:
    """Builds with the timings of earlier builds, and keeps the new ones."""
    kept = engine_cache.CACHE.read(timings)
    known = (kept is not None and _opened(kept, facts)) or b""
    plan = build_plan(module, onnx, facts["precision"], known)
    if plan.timings and plan.timings != known:
        engine_cache.CACHE.write(timings, engine_cache.seal(facts, plan.timings))
    return plan


def _opened(sealed: bytes, facts: engine_cache.Facts) -> bytes | None:
    """Returns what a file of the cache holds, None where it is damaged or of other facts."""
    try:
        found, content = engine_cache.unseal(sealed)
    except ValueError:
        return None
    return content if found == dict(facts) else None


def _facts() -> dict[str, str]:
    """Returns what an engine depends on beside its network."""
    library = load_cuda()
    return {
        "engine": package_version(*PACKAGES[package() or "tensorrt"]),
        "cuda": f"{library.runtime_version()} (driver {library.driver_version()})",
        "device": library.device_name(),
        "capability": library.capability(),
    }


def _line(facts: engine_cache.Facts) -> str:
    return ", ".join(facts[name] for name in sorted(facts))


def _no_package() -> str:
    gpus = device_sources.accelerators(Files(Path("/")))
    if any("Jetson" in gpu for gpu in gpus):
        return f"no package tensorrt: {INSTALL_ON_JETSON}"
    return f"no package tensorrt: with an RTX GPU {INSTALL_RTX}; on a Jetson {INSTALL_ON_JETSON}"
