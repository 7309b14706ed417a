"""ONNX Runtime, on the CPU and with whatever other execution providers its build brings."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

from tofa_edge.backends import (
    BackendError,
    FloatArray,
    ImageArray,
    Network,
    Target,
    check_batch,
    check_quantised,
    cpu_targets,
    import_engine,
    missing_packages,
    package_version,
)
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.onnx.graph import INPUT
from tofa_edge.backends.onnx.integer import TENSORRT, Scheme, write_onnx_int8
from tofa_edge.backends.onnxruntime.providers import (
    check_listed,
    check_placement,
    missing_library,
    provider_chain,
    provider_targets,
    session_options,
)

INSTALL = "pip install 'tofa-edge[onnxruntime]'"


def engine() -> Any:
    """Imports onnxruntime with its telemetry off.

    From 1.29 it writes to the home directory and opens sockets unless it is told not to before its
    import; later is too late, so that a missing variable tells who imported it first.
    """
    if "onnxruntime" not in sys.modules:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_engine("onnxruntime", INSTALL)


class OnnxRuntime:
    """Builds ONNX models and runs them with one execution provider each.

    Its units are "cpu", and the providers' names in lower case: "cuda", "tensorrt", "openvino", ….
    """

    name = "onnxruntime"
    calibrates = True

    def missing(self) -> str | None:
        """Returns which of the packages onnxruntime and onnx is not installed, or None."""
        return missing_packages("onnxruntime", "onnx", install=INSTALL)

    def version(self) -> str:
        """Returns the version of onnxruntime, or of a build of it under another name."""
        return package_version("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")

    def remarks(self) -> tuple[str, ...]:
        """Returns nothing: the self-test reports a package that cannot be imported."""
        return ()

    def targets(self) -> tuple[Target, ...]:
        """Returns CPU targets, then those of the other providers that the build lists."""
        if self.missing():
            return ()
        try:
            return provider_targets(engine())
        except BackendError:  # loading will tell why
            return cpu_targets()

    def build(self, network: Network, target: Target) -> bytes:
        """Returns an ONNX model."""
        check_quantised(self.name, network, target)
        if target.precision == "int8":
            return write_onnx_int8(network, _scheme(target))
        return write_onnx(network)

    def load(self, artefact: bytes, target: Target) -> OnnxRuntimeSession:
        """Returns an inference session on exactly the target's provider and threads."""
        onnxruntime = engine()
        check_listed(onnxruntime, target)
        try:
            session = onnxruntime.InferenceSession(
                artefact,
                session_options(onnxruntime, target),
                providers=provider_chain(onnxruntime, target),
                enable_fallback=0,  # else it tries again on the CPU, now and at any later run
            )
            check_placement(session, target)
        except Exception as error:
            reason = f"{error}{missing_library(onnxruntime, target)}"
            raise BackendError(f"onnxruntime refuses the model on {target}: {reason}") from error
        return OnnxRuntimeSession(session, target.unit)


def _scheme(target: Target) -> Scheme:
    """Values as each unit's integer kernels take them: unsigned on x86, signed on ARM."""
    if target.unit == "tensorrt":
        return TENSORRT
    return Scheme(signed=platform.machine().lower() in ("aarch64", "arm64"))


class OnnxRuntimeSession:
    """A loaded ONNX model; onnxruntime sessions may be called from several threads."""

    def __init__(self, session: Any, unit: str) -> None:
        self.unit = unit
        self._session = session
        self._size = int(session.get_inputs()[0].shape[1])
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """See `Session.run`."""
        session = self._session
        if session is None:
            raise BackendError("onnxruntime: this session is closed")
        check_batch(batch, self._size)
        try:
            values = session.run(None, {INPUT: batch})
        except Exception as error:
            raise BackendError(f"onnxruntime failed: {error}") from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Frees the session."""
        self._session = None
