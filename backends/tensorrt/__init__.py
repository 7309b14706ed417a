"""TensorRT on an NVIDIA GPU: a Jetson's own package, or TensorRT for RTX from pip."""

from __future__ import annotations

from tofa_edge.backends import (
    BackendError,
    Network,
    Target,
    check_quantised,
    missing_packages,
)
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.onnx.integer import TENSORRT, write_onnx_int8
from tofa_edge.backends.tensorrt import engine_cache, library
from tofa_edge.backends.tensorrt.build import Plan, build_plan, open_plan
from tofa_edge.backends.tensorrt.cuda import load_cuda
from tofa_edge.backends.tensorrt.session import TensorRtSession
from tofa_edge.storage.cache import decision_key

INSTALL = "pip install 'tofa-edge[tensorrt]'"
PRECISIONS = ("fp32", "fp16", "int8")


class TensorRt:
    """Builds TensorRT engines for the GPU of this machine and keeps them, since builds are slow."""

    name = "tensorrt"
    calibrates = False  # TensorRT reads no BatchNormalization in training mode

    def missing(self) -> str | None:
        """Returns which package, library or device is not there and what to do, or None."""
        try:
            return (
                library.missing()
                or missing_packages("onnx", install=INSTALL)
                or load_cuda().problem()
            )
        except BackendError as error:
            return str(error)

    def version(self) -> str:
        """Returns the versions of TensorRT and CUDA, and the device: an engine fits no other."""
        if self.missing():
            return library.version()
        facts = _facts()
        return f"{facts['engine']}, CUDA {facts['cuda']}, {facts['device']} {facts['capability']}"

    def remarks(self) -> tuple[str, ...]:
        """Returns nothing: `missing` says all."""
        return ()

    def targets(self) -> tuple[Target, ...]:
        """Returns fp32, fp16 and int8 on the GPU; nothing runs on a Jetson's DLA."""
        return () if self.missing() else tuple(Target("gpu", item) for item in PRECISIONS)

    def build(self, network: Network, target: Target) -> bytes:
        """Returns an engine, from the cache where it was built before."""
        self._check(target)
        check_quantised(self.name, network, target)
        try:
            onnx = _onnx(network, target.precision)
        except (ImportError, ValueError) as error:
            raise BackendError(f"tensorrt: {error}") from error
        facts = {**_facts(), "precision": target.precision}
        name = f"{decision_key({**facts, 'network': network.digest})}.engine"
        kept = engine_cache.CACHE.read(name)
        if kept is not None and _opened(kept, facts) is not None:
            return kept
        sealed = engine_cache.seal(facts, _build(onnx, facts).engine)
        engine_cache.CACHE.write(name, sealed)
        return sealed

    def load(self, artefact: bytes, target: Target) -> TensorRtSession:
        """Returns a session on the GPU."""
        self._check(target)
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
        return TensorRtSession(load_cuda(), *open_plan(content))

    def _check(self, target: Target) -> None:
        reason = self.missing()
        if reason:
            raise BackendError(f"backend {self.name} cannot run here: {reason}")
        if target not in self.targets():
            offered = ", ".join(PRECISIONS)
            raise BackendError(f"{self.name}: no target {target}; it offers gpu {offered}")


def _onnx(network: Network, precision: str) -> bytes:
    """Returns the model to build from."""
    if precision == "int8":
        return write_onnx_int8(network, TENSORRT)
    return write_onnx(network, precision=precision if library.typed_by_onnx() else "fp32")


def _build(onnx: bytes, facts: engine_cache.Facts) -> Plan:
    """Builds with the timings of earlier builds, and keeps the new ones."""
    name = f"{decision_key(facts)}.timings"
    kept = engine_cache.CACHE.read(name)
    known = (kept is not None and _opened(kept, facts)) or b""
    plan = build_plan(onnx, facts["precision"], known)
    if plan.timings and plan.timings != known:
        engine_cache.CACHE.write(name, engine_cache.seal(facts, plan.timings))
    return plan


def _opened(sealed: bytes, facts: engine_cache.Facts) -> bytes | None:
    """Returns what a file of the cache holds, None where it is damaged or of other facts."""
    try:
        built_for, content = engine_cache.unseal(sealed)
    except ValueError:
        return None
    return content if built_for == dict(facts) else None


def _facts() -> dict[str, str]:
    """Returns what an engine depends on beside its network."""
    cuda = load_cuda()
    return {
        "engine": library.version(),
        "cuda": f"{cuda.runtime_version()} (driver {cuda.driver_version()})",
        "device": cuda.device_name(),
        "capability": cuda.capability(),
    }


def _line(facts: engine_cache.Facts) -> str:
    return ", ".join(facts[name] for name in sorted(facts))
