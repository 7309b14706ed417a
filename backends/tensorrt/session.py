"""Runs a TensorRT engine."""

from __future__ import annotations

import contextlib
import threading
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.backends.onnx.graph import INPUT
from tofa_edge.backends.support import check_batch
from tofa_edge.backends.tensorrt.build import sizes
from tofa_edge.backends.tensorrt.cuda import Cuda
from tofa_edge.errors import BackendError

if TYPE_CHECKING:
    import tensorrt


class TensorRtSession:
    """A loaded engine with a stream and buffers of its own; one run at a time, threads wait.

    Args:
        cuda: the runtime of the GPU.
        module: tensorrt or tensorrt_rtx.
        runtime: that must outlive the engine.
        engine: to run.
    """

    unit = "gpu"

    def __init__(
        self,
        cuda: Cuda,
        module: ModuleType,
        runtime: tensorrt.Runtime,
        engine: tensorrt.ICudaEngine,
    ) -> None:
        self._cuda = cuda
        self._lock = threading.Lock()
        self._buffers: dict[str, tuple[int, int]] = {}  # address and bytes, by tensor
        self._stream = 0
        self._context: tensorrt.IExecutionContext | None = None
        self._outputs = _outputs(module, engine)
        self._size = int(engine.get_tensor_shape(INPUT)[1])
        self._most = int(engine.get_tensor_profile_shape(INPUT, 0)[2][0])
        self._stream = cuda.create_stream()
        self._context = engine.create_execution_context()
        self._engine: tensorrt.ICudaEngine | None = engine
        self._runtime: tensorrt.Runtime | None = runtime
        if self._context is None:
            self.close()
            raise BackendError("tensorrt: no execution context; the GPU's memory may be full")

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch, uint8, (N, S, S, 3), in parts of at most 16 images."""
        with self._lock:
            context = self._context
            if context is None:
                raise BackendError("tensorrt: this session is closed")
            check_batch(batch, self._size)
            starts = range(0, len(batch), self._most)
            parts = [self._part(context, batch[start : start + self._most]) for start in starts]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _part(
        self, context: tensorrt.IExecutionContext, batch: ImageArray
    ) -> dict[str, FloatArray]:
        images = np.ascontiguousarray(batch)
        if not context.set_input_shape(INPUT, images.shape):
            raise BackendError(f"tensorrt refuses a batch of shape {images.shape}")
        address = self._bind(context, INPUT, images.nbytes)
        results: dict[str, FloatArray] = {}
        for name in self._outputs:
            results[name] = np.empty(sizes(context.get_tensor_shape(name)), np.float32)
            self._bind(context, name, results[name].nbytes)
        self._cuda.to_device(address, images, self._stream)
        started = context.execute_async_v3(self._stream)
        if started:
            for name, array in results.items():
                self._cuda.to_host(array, self._buffers[name][0], self._stream)
        self._cuda.synchronize(self._stream)
        if not started:
            raise BackendError("tensorrt: execution failed to start; logging.DEBUG says more")
        return results

    def _bind(self, context: tensorrt.IExecutionContext, name: str, size: int) -> int:
        """Gives a tensor a buffer of at least so many bytes; returns its address."""
        address, have = self._buffers.get(name, (0, 0))
        if have < size:
            if self._buffers.pop(name, None):
                self._cuda.free(address)
            address = self._cuda.allocate(size)
            self._buffers[name] = (address, size)
        if not context.set_tensor_address(name, address):
            raise BackendError(f"tensorrt: no tensor {name} in the engine")
        return address

    def close(self) -> None:
        """Frees the engine, its buffers and its stream."""
        with self._lock:
            self._context = self._engine = self._runtime = None  # the owner last
            buffers, self._buffers = self._buffers, {}
            stream, self._stream = self._stream, 0
            for address, _ in buffers.values():
                with contextlib.suppress(BackendError):  # a device that failed frees all by itself
                    self._cuda.free(address)
            if stream:
                with contextlib.suppress(BackendError):
                    self._cuda.destroy_stream(stream)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at exit modules are half gone
            self.close()


def _outputs(module: ModuleType, engine: tensorrt.ICudaEngine) -> list[str]:
    """Returns the names of the outputs."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    for name in outputs:
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            raise BackendError(f"tensorrt: output {name} is {engine.get_tensor_dtype(name)}")
    return outputs
