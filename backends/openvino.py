"""OpenVINO on the CPU, and on Intel's GPUs and NPUs where it finds them."""

from __future__ import annotations

import importlib
import sys
import threading
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.onnx.integer import Scheme, write_onnx_int8
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.support import check_batch, check_quantised, cpu_targets, package_version
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network

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
        return importlib.import_module("openvino")
    except Exception as error:  # a broken wheel raises anything, from ImportError to SystemError
        raise BackendError(f"openvino: import failed ({error}); {INSTALL}") from error
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
        absent = [package for package in ("openvino", "onnx") if find_spec(package) is None]
        return f"no package {' and '.join(absent)}: {INSTALL}" if absent else None

    def version(self) -> str:
        """Returns the version of openvino."""
        return package_version("openvino")

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
        here = replace(target, threads=1)  # a CPU takes any number of them
        if here not in _processor() and target not in _accelerators():
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


class OpenVinoSession:
    """A compiled network. A request serves one thread at a time, so callers take turns.

    A network for predictions is compiled for one image, with which it is faster than one for any
    number; so the images of a batch go through one after the other. Only the statistics of a batch
    need the batch at once.

    Args:
        compiled: an openvino.CompiledModel.
        unit: where it runs.
        single: whether it takes one image at a time.
    """

    def __init__(self, compiled: Any, unit: str, single: bool) -> None:
        self.unit = unit
        self._size = int(compiled.input(0).partial_shape[1].get_length())
        self._outputs = [output.get_any_name() for output in compiled.outputs]
        self._single = single
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch, uint8, (N, S, S, 3)."""
        check_batch(batch, self._size)
        with self._lock:
            if self._request is None:
                raise BackendError("openvino: this session is closed")
            try:
                if not self._single or len(batch) == 1:
                    values = self._infer(batch)
                else:
                    rows = [self._infer(image[None]) for image in batch]
                    values = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
            except Exception as error:
                raise BackendError(f"openvino failed: {error}") from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Frees the compiled network."""
        with self._lock:
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


@lru_cache(maxsize=1)
def _processor() -> tuple[Target, ...]:
    """What openvino offers on the CPU: it says itself whether integers are any faster there."""
    able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return cpu_targets("fp32", "int8") if "INT8" in able else cpu_targets()


@lru_cache(maxsize=1)
def _accelerators() -> tuple[Target, ...]:
    """What openvino finds beside the CPU, with the precisions that each says it computes in."""
    core, found = _core(), []
    for unit in ("gpu", "npu"):
        devices = [device.split(".")[0] for device in core.available_devices]
        if unit.upper() in devices:
            able = core.get_property(unit.upper(), "OPTIMIZATION_CAPABILITIES")
            found += [Target(unit, name) for name in PRECISIONS if name.upper() in able]
    return tuple(found)


def _settings(target: Target) -> dict[str, Any]:
    """How to compile for one image after the other in exactly the target's precision.

    Left alone, a CPU that can would compute in bf16 or fp16. Pinning would put the threads of two
    sessions on one core, and trips over a CPU set that a container limits; without hyper-threading
    a target's threads would be cut to the physical cores.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[target.precision],
        "PERFORMANCE_HINT": "LATENCY",
    }
    if target.unit != "cpu":
        return settings
    threads = {"INFERENCE_NUM_THREADS": target.threads, "NUM_STREAMS": 1}
    return {**settings, **threads, "ENABLE_CPU_PINNING": False, "ENABLE_HYPER_THREADING": True}


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
