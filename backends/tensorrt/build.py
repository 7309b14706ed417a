"""Builds TensorRT engines from ONNX, and opens them: for TensorRT 8.6 to 11, and TensorRT for RTX.

The module (`tensorrt` or `tensorrt_rtx_bindings`) is an argument: both offer the same names.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from tofa_edge.backends.onnx.graph import INPUT
from tofa_edge.errors import BackendError

if TYPE_CHECKING:
    import tensorrt

LOGGER = logging.getLogger("tofa_edge.tensorrt")
MOST_BATCH = 16  # memory is laid out for it, even for one image; larger ones are run in parts
WORKSPACE_BYTES = 512 * 2**20  # a Jetson's memory is everybody's
TELL_EVERY_S = 10.0
STOP_WITHIN_S = 60.0
MOST_SAID = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """An engine, serialised, and the timings of its build and those before, if any.

    Attributes:
        engine: the serialised engine.
        timings: TensorRT's timing cache; empty for none.
    """

    engine: bytes
    timings: bytes


@dataclass
class BuildProgress:
    """What is told of a build by its own threads; `stop` asks it to end, `ended` is set then.

    Attributes:
        stop: asks the build to end.
        ended: is set when it has.
        phases: steps done and steps in all, by name.
        lock: held while `phases` changes.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    phases: dict[str, list[int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, phase: str, steps: int) -> None:
        """A phase of so many steps begins."""
        with self.lock:
            self.phases[phase] = [0, steps]

    def step(self, phase: str, step: int) -> bool:
        """A step of a phase, counted from 0, is done; returns whether to go on."""
        with self.lock:
            if phase in self.phases:
                self.phases[phase][0] = step + 1
        return not self.stop.is_set()

    def finish(self, phase: str) -> None:
        """A phase is done."""
        with self.lock:
            self.phases.pop(phase, None)

    def __str__(self) -> str:
        with self.lock:
            return ", ".join(f"{phase} {done}/{n}" for phase, (done, n) in self.phases.items())


@cache
def listener(module: ModuleType) -> tuple[tensorrt.ILogger, deque[str]]:
    """Returns the logger of this process, and the last errors it was told: TensorRT keeps one."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    said: deque[str] = deque(maxlen=MOST_SAID)
    errors = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Listener(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants the base called by its name

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity in errors:
                said.append(msg)
            LOGGER.debug("%s", msg)

    return Listener(), said


def sizes(shape: tensorrt.Dims) -> list[int]:
    """Returns a shape as plain numbers; -1 is one that batches decide."""
    return [int(shape[axis]) for axis in range(len(shape))]


def typed_by_onnx(module: ModuleType) -> bool:
    """Returns whether the precision is the ONNX model's: from TensorRT 11, and for RTX.

    Before, the engine chooses it for each layer among those that flags allow.
    """
    return not hasattr(module.BuilderFlag, "FP16")


def keeps_timings(module: ModuleType) -> bool:
    """Returns whether builds time kernels; TensorRT for RTX chooses them when the engine runs."""
    return "rtx" not in module.__name__


def build_plan(module: ModuleType, onnx: bytes, precision: str, timings: bytes = b"") -> Plan:
    """Returns an engine for batches of 1 to 16, fastest for 1; "fp32" never computes in TF32.

    Tells INFO lines to the logger "tofa_edge.tensorrt". Ctrl-C stops the build: it runs in a thread
    of its own, since Python cannot interrupt the library.
    """
    progress = BuildProgress()
    made: list[Plan] = []
    failed: list[Exception] = []

    def work() -> None:
        try:
            made.append(_build(module, onnx, precision, timings, progress))
        except Exception as error:  # pybind11 raises TypeError for a null pointer, and others
            failed.append(error)
        finally:
            progress.ended.set()

    LOGGER.info("TensorRT builds an engine in %s: minutes on a Jetson, once", precision)
    began = time.monotonic()
    _wait(threading.Thread(target=work, daemon=True), progress, _monitors(module))
    if not made:
        error = failed[0]
        if isinstance(error, BackendError):
            raise error
        raise BackendError(f"tensorrt: build failed: {error}{_said(module)}") from error
    LOGGER.info("TensorRT built it in %.1f s", time.monotonic() - began)
    return made[0]


def _wait(thread: threading.Thread, progress: BuildProgress, stoppable: bool) -> None:
    """Runs a build; an event tells its end: to Python 3.11 an interrupted join is a join."""
    began = time.monotonic()
    thread.start()
    try:
        while not progress.ended.wait(TELL_EVERY_S):
            seconds = time.monotonic() - began
            LOGGER.info("TensorRT is building, %.0f s so far; %s", seconds, str(progress))
    except KeyboardInterrupt:
        progress.stop.set()
        if stoppable:
            LOGGER.info("TensorRT stops after the current step")
            progress.ended.wait(STOP_WITHIN_S)
        raise


def _build(
    module: ModuleType, onnx: bytes, precision: str, timings: bytes, progress: BuildProgress
) -> Plan:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    logger, said = listener(module)
    said.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(module))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise BackendError(f"tensorrt refuses the model: {'; '.join(errors) or _said(module)}")
    config = _configuration(module, builder, network, precision)
    if keeps_timings(module):
        cache = config.create_timing_cache(timings)
        if cache is None or not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)  # or it keeps none
    monitor = _monitor(module, progress) if _monitors(module) else None
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        stopped = " (stopped)" if progress.stop.is_set() else ""
        raise BackendError(f"tensorrt: build failed{stopped}{_said(module)}")
    timed = bytes(config.get_timing_cache().serialize()) if keeps_timings(module) else b""
    return Plan(bytes(plan), timed)


def _network_flags(module: ModuleType) -> int:
    flags = module.NetworkDefinitionCreationFlag
    names = ["EXPLICIT_BATCH"]  # the only kind from TensorRT 10, where the flag means nothing
    if typed_by_onnx(module):
        names = ["STRONGLY_TYPED"]
    return sum(1 << int(getattr(flags, name)) for name in names if hasattr(flags, name))


def _configuration(
    module: ModuleType,
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    precision: str,
) -> tensorrt.IBuilderConfig:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)  # it is on by default, and off by 1e-3
    if precision == "fp16" and not typed_by_onnx(module):
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8" and hasattr(trt.BuilderFlag, "INT8"):
        config.set_flag(trt.BuilderFlag.INT8)
    image = sizes(network.get_input(0).shape)[1:]
    one, most = trt.Dims([1, *image]), trt.Dims([MOST_BATCH, *image])
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, one, one, most)
    config.add_optimization_profile(profile)
    return config


def _monitors(module: ModuleType) -> bool:
    """Returns whether builds can be watched and stopped: from TensorRT 10."""
    return hasattr(module, "IProgressMonitor")


def _monitor(module: ModuleType, progress: BuildProgress) -> tensorrt.IProgressMonitor:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


def open_plan(module: ModuleType, plan: bytes) -> tuple[tensorrt.Runtime, tensorrt.ICudaEngine]:
    """Returns an engine and its runtime, which must outlive it."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    logger, said = listener(module)
    said.clear()
    try:
        runtime = trt.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(plan)
    except Exception as error:  # pybind11 raises TypeError for a null pointer, and others
        raise BackendError(f"tensorrt refuses the engine: {error}{_said(module)}") from error
    if engine is None:
        raise BackendError(f"tensorrt refuses the engine{_said(module)}")
    return runtime, engine


def _said(module: ModuleType) -> str:
    said = " | ".join(listener(module)[1])
    return f": {said}" if said else ""
