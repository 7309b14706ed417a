"""TFLite on the CPU, with its XNNPACK kernels, through whichever of its two packages works."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.support import check_batch, check_quantised, check_target, cpu_targets
from tofa_edge.backends.tflite.float import write_tflite
from tofa_edge.backends.tflite.integer import write_tflite_quantised
from tofa_edge.backends.tflite.model import INPUT, SIGNATURE
from tofa_edge.backends.tflite.packages import (
    CURRENT,
    FORMER,
    INSTALL,
    faults,
    found,
    interpreters,
    mismatch,
    versions,
)
from tofa_edge.device.machine import fingerprint
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network

HALVES = frozenset(("asimdhp", "avx512_fp16"))  # features of processors that XNNPACK's fp16 needs


class TfLite:
    """Builds TFLite models and runs them with the interpreter's default kernels."""

    name = "tflite"
    calibrates = True

    def missing(self) -> str | None:
        """Returns which package is not installed or does not go with this numpy, or None."""
        if find_spec("flatbuffers") is None:
            return f"no package flatbuffers: {INSTALL}"
        packages = found()
        if not packages:
            return f"no package {CURRENT} or {FORMER}: {INSTALL}"
        reasons = [mismatch(package) for package in packages]
        if None in reasons:
            return None
        return (
            f"{FORMER} works with numpy < 2 only, and this is numpy {np.__version__}: "
            f"pip install 'numpy<2', or its successor {CURRENT}: {INSTALL}"
        )

    def version(self) -> str:
        """Returns the version of the package that runs it, and of the one that would else."""
        return versions()

    def remarks(self) -> tuple[str, ...]:
        """Returns what is wrong with one package where both are installed."""
        return faults()

    def targets(self) -> tuple[Target, ...]:
        """Returns CPU targets up to the cores this process may use, fp16 where it can compute so.

        Elsewhere the engine would compute in fp32 and not say so.
        """
        return () if self.missing() else cpu_targets(*_precisions())

    def build(self, network: Network, target: Target) -> bytes:
        """Returns a TFLite model."""
        check_quantised(self.name, network, target)
        try:
            if target.is_integer:
                return write_tflite_quantised(network, target.precision)
            return write_tflite(network, precision=target.precision)
        except ImportError as error:
            raise BackendError(f"tflite: no package flatbuffers: {INSTALL}") from error

    def load(self, artefact: bytes, target: Target) -> TfLiteSession:
        """Returns a session on exactly the target's threads, ready for single images."""
        check_target(self.name, target, _precisions())
        package = interpreters()
        try:
            interpreter = package.Interpreter(model_content=artefact, num_threads=target.threads)
            interpreter.allocate_tensors()
            return TfLiteSession(interpreter.get_signature_runner(SIGNATURE))
        except Exception as error:
            raise BackendError(f"tflite refuses the model: {error}") from error


def _precisions() -> tuple[str, ...]:
    half = HALVES & set(fingerprint().features or ())
    return ("fp32", "fp16", "int8", "dynamic") if half else ("fp32", "int8", "dynamic")


class TfLiteSession:
    """A loaded TFLite model. An interpreter serves one thread at a time, so callers take turns.

    Args:
        runner: the interpreter's runner of the one signature.
    """

    unit = "cpu"

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._size = int(runner.get_input_details()[INPUT]["shape"][1])
        self._lock = threading.Lock()

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch, uint8, (N, S, S, 3); another N than last time costs a new memory plan."""
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
