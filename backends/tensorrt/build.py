"""Builds TensorRT engines from ONNX, and opens them: TensorRT 8.6 to 11, and TensorRT for RTX."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent import futures
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tofa_edge.backends import BackendError
from tofa_edge.backends.onnx.graph import INPUT
from tofa_edge.backends.tensorrt.library import keeps_timings, typed_by_onnx

if TYPE_CHECKING:
    import tensorrt
    import tensorrt as trt
else:
    from tofa_edge.backends.tensorrt import library as trt

LOGGER = logging.getLogger("tofa_edge.tensorrt")
MOST_BATCH = 16  # memory is laid out for it, even for one image; larger ones are run in parts
WORKSPACE_BYTES = 512 * 2**20  # a Jetson's memory is everybody's
TELL_EVERY_S = 10.0
STOP_WITHIN_S = 60.0
MOST_ERRORS = 6


class Plan(NamedTuple):
    """A serialised engine, and TensorRT's timing cache of its build and those before, if any."""

    engine: bytes
    timings: bytes


class BuildProgress:
    """How far a build is, as its own threads report; setting `stop` asks it to end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._phases: dict[str, tuple[int, int]] = {}  # steps done and steps in all, by name
        self._lock = threading.Lock()

    def start(self, phase: str, steps: int) -> None:
        """A phase of so many steps begins."""
        with self._lock:
            self._phases[phase] = (0, steps)

    def step(self, phase: str, step: int) -> bool:
        """A step of a phase, counted from 0, is done; returns whether to go on."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase] = (step + 1, self._phases[phase][1])
        return not self.stop.is_set()

    def finish(self, phase: str) -> None:
        """A phase is done."""
        with self._lock:
            self._phases.pop(phase, None)

    def __str__(self) -> str:
        with self._lock:
            return ", ".join(f"{phase} {done}/{n}" for phase, (done, n) in self._phases.items())


@cache
def listener() -> tuple[tensorrt.ILogger, deque[str]]:
    """Returns the logger of this process, and its last errors: TensorRT keeps one logger."""
    errors: deque[str] = deque(maxlen=MOST_ERRORS)
    severities = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Listener(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants the base called by its name

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity in severities:
                errors.append(msg)
            LOGGER.debug("%s", msg)

    return Listener(), errors


def sizes(shape: tensorrt.Dims) -> list[int]:
    """Returns a shape as plain numbers; -1 is one that batches decide."""
    return [int(shape[axis]) for axis in range(len(shape))]


def build_plan(onnx: bytes, precision: str, timings: bytes = b"") -> Plan:
    """Returns an engine for batches of 1 to 16, fastest for 1; "fp32" never computes in TF32.

    Logs INFO lines to "tofa_edge.tensorrt". Ctrl-C stops the build: it runs in a thread of its own,
    since Python cannot interrupt the library.
    """
    progress = BuildProgress()
    result: futures.Future[Plan] = futures.Future()

    def work() -> None:
        try:
            result.set_result(_build(onnx, precision, timings, progress))
        except Exception as error:  # pybind11 raises TypeError for a null pointer, and others
            result.set_exception(error)

    LOGGER.info("TensorRT builds an engine in %s: minutes on a Jetson, once", precision)
    began = time.monotonic()
    _wait(threading.Thread(target=work, daemon=True), result, progress)
    try:
        plan = result.result()
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(f"tensorrt: build failed: {error}{_errors()}") from error
    LOGGER.info("TensorRT built it in %.1f s", time.monotonic() - began)
    return plan


def _wait(thread: threading.Thread, result: futures.Future[Plan], progress: BuildProgress) -> None:
    """Runs a build and logs how far it is; Ctrl-C asks it to stop."""
    began = time.monotonic()
    thread.start()
    try:
        while not futures.wait([result], TELL_EVERY_S).done:
            seconds = time.monotonic() - began
            LOGGER.info("TensorRT is building, %.0f s so far; %s", seconds, str(progress))
    except KeyboardInterrupt:
        progress.stop.set()
        if _monitors():
            LOGGER.info("TensorRT stops after the current step")
            futures.wait([result], STOP_WITHIN_S)
        raise


def _build(onnx: bytes, precision: str, timings: bytes, progress: BuildProgress) -> Plan:
    logger, errors = listener()
    errors.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags())
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise BackendError(f"tensorrt refuses the model: {'; '.join(reasons) or _errors()}")
    config = _configuration(builder, network, precision)
    if keeps_timings():
        cache = config.create_timing_cache(timings)
        if cache is None or not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)  # or it keeps none
    monitor = _monitor(progress) if _monitors() else None  # kept while it builds
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        stopped = " (stopped)" if progress.stop.is_set() else ""
        raise BackendError(f"tensorrt: build failed{stopped}{_errors()}")
    timed = bytes(config.get_timing_cache().serialize()) if keeps_timings() else b""
    return Plan(bytes(plan), timed)


def _network_flags() -> int:
    # EXPLICIT_BATCH is the only kind from TensorRT 10, where the flag means nothing
    name = "STRONGLY_TYPED" if typed_by_onnx() else "EXPLICIT_BATCH"
    flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
    return 0 if flag is None else 1 << int(flag)


def _configuration(
    builder: tensorrt.Builder, network: tensorrt.INetworkDefinition, precision: str
) -> tensorrt.IBuilderConfig:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)  # it is on by default, and off by 1e-3
    if precision == "fp16" and not typed_by_onnx():
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8" and hasattr(trt.BuilderFlag, "INT8"):
        config.set_flag(trt.BuilderFlag.INT8)
    image = sizes(network.get_input(0).shape)[1:]
    one, most = trt.Dims([1, *image]), trt.Dims([MOST_BATCH, *image])
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, one, one, most)
    config.add_optimization_profile(profile)
    return config


def _monitors() -> bool:
    """Returns whether builds can be watched and stopped: from TensorRT 10."""
    return hasattr(trt, "IProgressMonitor")


def _monitor(progress: BuildProgress) -> tensorrt.IProgressMonitor:
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


def open_plan(plan: bytes) -> tuple[tensorrt.Runtime, tensorrt.ICudaEngine]:
    """Returns an engine and its runtime, which must outlive it."""
    logger, errors = listener()
    errors.clear()
    try:
        runtime = trt.Runtime(logger)
        engine = runtime.deserialize_cuda_engine(plan)
    except Exception as error:  # pybind11 raises TypeError for a null pointer, and others
        raise BackendError(f"tensorrt refuses the engine: {error}{_errors()}") from error
    if engine is None:
        raise BackendError(f"tensorrt refuses the engine{_errors()}")
    return runtime, engine


def _errors() -> str:
    errors = " | ".join(listener()[1])
    return f": {errors}" if errors else ""
