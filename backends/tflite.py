"""TFLite on the CPU, with its XNNPACK kernels, through whichever of its two packages is there."""

from __future__ import annotations

import importlib
import threading
from importlib.util import find_spec
from typing import Any

import numpy as np

from tofa_edge.backends import Target, check_batch, check_target, cpu_targets, package_version
from tofa_edge.backends.tflite_format import INPUT, SIGNATURE, write_tflite
from tofa_edge.errors import BackendError
from tofa_edge.network import FloatArray, ImageArray, Network

CURRENT, FORMER = "ai_edge_litert", "tflite_runtime"
INSTALL = "pip install 'tofa-edge[tflite]'"


def engine() -> Any:
    """Imports the interpreter's module: ai_edge_litert's, or else tflite_runtime's.

    Raises:
        BackendError: neither is installed, or its import fails.
    """
    package = CURRENT if find_spec(CURRENT) else FORMER
    try:
        return importlib.import_module(f"{package}.interpreter")
    except Exception as error:  # a broken wheel raises anything, from ImportError to SystemError
        raise BackendError(f"tflite: import of {package} failed ({error}); {INSTALL}") from error


class TfLite:
    """Builds TFLite models and runs them with the interpreter's default kernels."""

    name = "tflite"
    calibrates = True

    def missing(self) -> str | None:
        """Returns which package is not installed or does not go with this numpy, or None."""
        if find_spec("flatbuffers") is None:
            return f"no package flatbuffers: {INSTALL}"
        if find_spec(CURRENT):
            return None
        if find_spec(FORMER) is None:
            return f"no package {CURRENT} or {FORMER}: {INSTALL}"
        if int(np.__version__.split(".")[0]) >= 2:  # it imports, then fails at the first model
            return (
                f"{FORMER} works with numpy < 2 only, and this is numpy {np.__version__}: "
                f"pip install 'numpy<2', or its successor {CURRENT}: {INSTALL}"
            )
        return None

    def version(self) -> str:
        """Returns the version of the package that runs it."""
        return package_version("ai-edge-litert", "tflite-runtime")

    def targets(self) -> tuple[Target, ...]:
        """Returns fp32 CPU targets up to the cores this process may use."""
        return () if self.missing() else cpu_targets()

    def build(self, network: Network, target: Target) -> bytes:
        """Returns a TFLite model.

        Raises:
            BackendError: flatbuffers, which writes it, is not installed.
        """
        try:
            return write_tflite(network)
        except ImportError as error:
            raise BackendError(f"tflite: no package flatbuffers: {INSTALL}") from error

    def load(self, artefact: bytes, target: Target) -> TfLiteSession:
        """Returns a session on exactly the target's threads, ready for single images.

        Raises:
            BackendError: the engine is missing or refuses the model, or the target is not cpu fp32.
        """
        check_target(self.name, target)
        interpreters = engine()
        try:
            interpreter = interpreters.Interpreter(
                model_content=artefact, num_threads=target.threads
            )
            interpreter.allocate_tensors()
            return TfLiteSession(interpreter.get_signature_runner(SIGNATURE))
        except Exception as error:
            raise BackendError(f"tflite refuses the model: {error}") from error


class TfLiteSession:
    """A loaded TFLite model. An interpreter serves one thread at a time, so callers take turns."""

    unit = "cpu"

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._size = int(runner.get_input_details()[INPUT]["shape"][1])
        self._lock = threading.Lock()

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch, uint8, (N, S, S, 3); another N than last time costs a new memory plan.

        Raises:
            BackendError: the session is closed, the batch has another type or shape, or the engine
                fails.
        """
        check_batch(batch, self._size)
        with self._lock:
            if self._runner is None:
                raise BackendError("tflite: this session is closed")
            try:
                outputs: dict[str, FloatArray] = self._runner(**{INPUT: batch})
            except Exception as error:
                raise BackendError(f"tflite: the run failed: {error}") from error
            return outputs

    def close(self) -> None:
        """Frees the interpreter and the model."""
        with self._lock:
            self._runner = None
