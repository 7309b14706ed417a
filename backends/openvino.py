"""OpenVINO on the CPU, and on Intel's GPUs and NPUs where it finds them."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from tofa_edge.backends import (
    LOGITS,
    BackendError,
    FloatArray,
    ImageArray,
    Network,
    SerialSession,
    Target,
    check_quantised,
    cpu_targets,
    import_engine,
    missing_packages,
    package_version,
)
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.onnx.integer import Scheme, write_onnx_int8

INSTALL = "pip install 'tofa-edge[openvino]'"
TELEMETRY = "openvino_telemetry"
PRECISIONS = {"fp32": "f32", "fp16": "f16"}  # our name and the engine's
HINTS = {**PRECISIONS, "int8": "f32"}  # of what the model does not say: in int8, the few floats
SCHEME = Scheme(integer_bias=False)  # all others become integer kernels as well, and round more


def engine() -> Any:
    """Imports openvino with its telemetry off.

    The import itself would write to the home directory and open sockets, and no setting stops that;
    without the package that does it, openvino takes a stand-in that does nothing.
    """
    absent = TELEMETRY not in sys.modules
    if absent:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # its import fails then
    try:
        return import_engine("openvino", INSTALL)
    finally:
        if absent:
            sys.modules.pop(TELEMETRY, None)


@lru_cache(maxsize=1)
def _core() -> Any:
    """One for all sessions: each would load the devices' plug-ins again."""
    return engine().Core()


class OpenVino:
    """Builds ONNX models, which OpenVINO reads and compiles for the target's device."""

    name = "openvino"
    calibrates = True

    def missing(self) -> str | None:
        """Returns which of the packages openvino and onnx is not installed, or None."""
        return missing_packages("openvino", "onnx", install=INSTALL)

    def version(self) -> str:
        """Returns the version of openvino."""
        return package_version("openvino")

    def remarks(self) -> tuple[str, ...]:
        """Returns nothing: the self-test reports a package that cannot be imported."""
        return ()

    def targets(self) -> tuple[Target, ...]:
        """Returns CPU targets, int8 where openvino has it, then what else it finds here."""
        if self.missing():
            return ()
        try:
            return _processor() + _accelerators()
        except BackendError:  # loading will tell why
            return cpu_targets()

    def build(self, network: Network, target: Target) -> bytes:
        """Returns an ONNX model."""
        check_quantised(self.name, network, target)
        if target.precision == "int8":
            return write_onnx_int8(network, SCHEME)
        return write_onnx(network, training_mode=False)

    def load(self, artefact: bytes, target: Target) -> OpenVinoSession:
        """Returns a session compiled for exactly the target's device, precision and threads."""
        core = _core()
        single_thread = replace(target, threads=1)  # a CPU takes any number of them
        if single_thread not in _processor() and target not in _accelerators():
            offered = ", ".join(map(str, self.targets()))
            raise BackendError(f"openvino: no target {target}; it offers {offered}")
        try:
            model = core.read_model(artefact)
            if single := model.output(0).get_any_name() == LOGITS:
                size = model.input(0).partial_shape[1].get_length()
                model.reshape([1, size, size, 3])
            compiled = core.compile_model(model, target.unit.upper(), _settings(target))
        except Exception as error:
            raise BackendError(f"openvino refuses the model: {error}") from error
        return OpenVinoSession(compiled, _unit(compiled, target), single)


class OpenVinoSession(SerialSession):
    """A compiled network and its one request.

    A network for predictions is compiled for a `single` image, which is faster than any number: a
    batch goes through image by image. One that measures BatchNorm needs the batch at once.
    """

    def __init__(self, compiled: Any, unit: str, single: bool) -> None:
        super().__init__("openvino", compiled.input(0).partial_shape[1].get_length(), unit)
        self._outputs = [output.get_any_name() for output in compiled.outputs]
        self._single = single
        self._request = compiled.create_infer_request()

    def _run(self, batch: ImageArray) -> dict[str, FloatArray]:
        if self._single and len(batch) > 1:
            rows = [self._infer(image[None]) for image in batch]
            values = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        else:
            values = self._infer(batch)
        return dict(zip(self._outputs, values, strict=True))

    def _free(self) -> None:
        self._request = None

    def _infer(self, batch: ImageArray) -> list[FloatArray]:
        """Runs what fits the compiled shape; the engine's own tensors are copied from and into."""
        request = self._request
        tensor = request.get_input_tensor()
        if not self._single:
            tensor.shape = batch.shape
        tensor.data[:] = batch
        request.infer()
        return [request.get_output_tensor(i).data.copy() for i in range(len(self._outputs))]


def _capabilities(device: str) -> list[str]:
    return list(_core().get_property(device, "OPTIMIZATION_CAPABILITIES"))


@lru_cache(maxsize=1)
def _processor() -> tuple[Target, ...]:
    """What openvino offers on the CPU: it says itself whether integers are any faster there."""
    return cpu_targets("fp32", "int8") if "INT8" in _capabilities("CPU") else cpu_targets()


@lru_cache(maxsize=1)
def _accelerators() -> tuple[Target, ...]:
    """What openvino finds beside the CPU, with the precisions that each says it computes in."""
    devices = {device.split(".")[0] for device in _core().available_devices}
    return tuple(
        Target(device.lower(), precision)
        for device in ("GPU", "NPU")
        if device in devices
        for precision in PRECISIONS
        if precision.upper() in _capabilities(device)
    )


def _settings(target: Target) -> dict[str, Any]:
    """How to compile for one image after the other in exactly the target's precision.

    Left alone, a CPU that can would compute in bf16 or fp16. Pinning would put the threads of two
    sessions on one core, and trips over a CPU set that a container limits; without hyper-threading
    a target's threads would be cut to the physical cores.
    """
    hint = HINTS[target.precision]
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if target.unit == "cpu":
        settings |= {"INFERENCE_NUM_THREADS": target.threads, "NUM_STREAMS": 1}
        settings |= {"ENABLE_CPU_PINNING": False, "ENABLE_HYPER_THREADING": True}
    return settings


def _unit(compiled: Any, target: Target) -> str:
    """Returns the unit that a network was compiled for, as the engine tells it."""
    devices = compiled.get_property("EXECUTION_DEVICES")
    units = {str(device).split(".")[0].lower() for device in devices}
    if units != {target.unit}:
        raise BackendError(f"openvino: wanted {target.unit}, but it runs on {', '.join(units)}")
    try:
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    except RuntimeError:  # this device's plug-in does not tell
        return target.unit
    if precision != HINTS[target.precision]:
        raise BackendError(f"openvino: wanted {target.precision}, but it computes in {precision}")
    return target.unit
