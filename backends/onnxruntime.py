"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec
from typing import Any

from tofa_edge.backends import Target, check_batch, check_target, cpu_targets, package_version
from tofa_edge.backends.onnx_format import INPUT, write_onnx
from tofa_edge.errors import BackendError
from tofa_edge.network import FloatArray, ImageArray, Network

PROVIDER = "CPUExecutionProvider"
INSTALL = "pip install 'tofa-edge[onnxruntime]'"


def engine() -> Any:
    """Imports onnxruntime with its telemetry off.

    From 1.29 it writes to the home directory and opens sockets unless it is told not to before its
    import; later is too late, so that a missing variable tells who imported it first.

    Raises:
        BackendError: it is not installed, or its import fails.
    """
    if "onnxruntime" not in sys.modules:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("onnxruntime")
    except Exception as error:  # a broken wheel raises anything, from ImportError to SystemError
        raise BackendError(f"onnxruntime: import failed ({error}); {INSTALL}") from error


class OnnxRuntime:
    """Builds ONNX models and runs them with the CPU execution provider."""

    name = "onnxruntime"
    calibrates = True

    def missing(self) -> str | None:
        """Returns which of the packages onnxruntime and onnx is not installed, or None."""
        absent = [package for package in ("onnxruntime", "onnx") if find_spec(package) is None]
        return f"no package {' and '.join(absent)}: {INSTALL}" if absent else None

    def version(self) -> str:
        """Returns the version of onnxruntime, or of a build of it under another name."""
        return package_version("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")

    def targets(self) -> tuple[Target, ...]:
        """Returns fp32 CPU targets up to the cores this process may use."""
        return () if self.missing() else cpu_targets()

    def build(self, network: Network, target: Target) -> bytes:
        """Returns an ONNX model."""
        return write_onnx(network)

    def load(self, artefact: bytes, target: Target) -> OnnxRuntimeSession:
        """Returns an inference session on exactly the target's provider and threads.

        Raises:
            BackendError: onnxruntime is missing, refuses the model, or falls back elsewhere.
        """
        onnxruntime = engine()
        check_target(self.name, target)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = target.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # an arena keeps the peak of the largest batch
        try:
            session = onnxruntime.InferenceSession(artefact, options, providers=[PROVIDER])
        except Exception as error:
            raise BackendError(f"onnxruntime refuses the model: {error}") from error
        if session.get_providers()[:1] != [PROVIDER]:
            raise BackendError(
                f"onnxruntime: wanted {PROVIDER}, but it runs on {session.get_providers()}"
            )
        return OnnxRuntimeSession(session)


class OnnxRuntimeSession:
    """A loaded ONNX model; onnxruntime sessions may be called from several threads."""

    unit = "cpu"

    def __init__(self, session: Any) -> None:
        self._session = session
        self._size = int(session.get_inputs()[0].shape[1])
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch, uint8, (N, S, S, 3)."""
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
