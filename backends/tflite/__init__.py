"""TFLite on the CPU, with its XNNPACK kernels, through whichever of its two packages works."""

from __future__ import annotations

from typing import Any

from tofa_edge.backends import (
    BackendError,
    FloatArray,
    ImageArray,
    Network,
    SerialSession,
    Target,
    check_quantised,
    check_target,
    cpu_targets,
    missing_packages,
)
from tofa_edge.backends.tflite import packages
from tofa_edge.backends.tflite.float import write_tflite
from tofa_edge.backends.tflite.integer import write_tflite_quantised
from tofa_edge.backends.tflite.model import INPUT, SIGNATURE
from tofa_edge.device.machine import fingerprint

HALVES = frozenset(("asimdhp", "avx512_fp16"))  # features of processors that XNNPACK's fp16 needs


class TfLite:
    """Builds TFLite models and runs them with the interpreter's default kernels."""

    name = "tflite"
    calibrates = True

    def missing(self) -> str | None:
        """Returns which package is not installed or does not go with this numpy, or None."""
        return missing_packages("flatbuffers", install=packages.INSTALL) or packages.missing()

    def version(self) -> str:
        """Returns the version of the package that runs it, and of the one to fall back to."""
        return packages.versions()

    def remarks(self) -> tuple[str, ...]:
        """Returns what is wrong with one package where both are installed."""
        return packages.faults()

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
            raise BackendError(f"tflite: {self.missing()}") from error

    def load(self, artefact: bytes, target: Target) -> TfLiteSession:
        """Returns a session on exactly the target's threads, ready for single images."""
        check_target(self.name, target, _precisions())
        module = packages.interpreters()
        try:
            interpreter = module.Interpreter(model_content=artefact, num_threads=target.threads)
            interpreter.allocate_tensors()
            return TfLiteSession(interpreter.get_signature_runner(SIGNATURE))
        except Exception as error:
            raise BackendError(f"tflite refuses the model: {error}") from error


def _precisions() -> tuple[str, ...]:
    half = HALVES & set(fingerprint().features or ())
    return ("fp32", "fp16", "int8", "dynamic") if half else ("fp32", "int8", "dynamic")


class TfLiteSession(SerialSession):
    """A loaded TFLite model; a batch of another size than the last one costs a new memory plan."""

    def __init__(self, runner: Any) -> None:
        super().__init__("tflite", int(runner.get_input_details()[INPUT]["shape"][1]), "cpu")
        self._runner = runner

    def _run(self, batch: ImageArray) -> dict[str, FloatArray]:
        outputs: dict[str, FloatArray] = self._runner(**{INPUT: batch})
        return outputs

    def _free(self) -> None:
        self._runner = None
