"""Runs a TensorRT engine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from tofa_edge.backends import BackendError, FloatArray, ImageArray, SerialSession
from tofa_edge.backends.onnx.graph import INPUT
from tofa_edge.backends.tensorrt.build import sizes
from tofa_edge.backends.tensorrt.cuda import Cuda

if TYPE_CHECKING:
    import tensorrt
    import tensorrt as trt
else:
    from tofa_edge.backends.tensorrt import library as trt


class TensorRtSession(SerialSession):
    """A loaded engine with a stream and buffers of its own; `runtime` must outlive it."""

    def __init__(self, cuda: Cuda, runtime: tensorrt.Runtime, engine: tensorrt.ICudaEngine) -> None:
        super().__init__("tensorrt", int(engine.get_tensor_shape(INPUT)[1]), "gpu")
        self._cuda = cuda
        self._buffers: dict[str, tuple[int, int]] = {}  # address and bytes, by tensor
        self._outputs = _outputs(engine)
        self._most = int(engine.get_tensor_profile_shape(INPUT, 0)[2][0])
        self._runtime, self._engine = runtime, engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise BackendError("tensorrt: no execution context; the GPU's memory may be full")
        self._stream = cuda.create_stream()

    def _run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch in parts of at most 16 images."""
        starts = range(0, len(batch), self._most)
        parts = [self._part(batch[start : start + self._most]) for start in starts]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _part(self, batch: ImageArray) -> dict[str, FloatArray]:
        images, context = np.ascontiguousarray(batch), self._context
        if not context.set_input_shape(INPUT, images.shape):
            raise BackendError(f"tensorrt refuses a batch of shape {images.shape}")
        address = self._bind(INPUT, images.nbytes)
        results: dict[str, FloatArray] = {}
        for name in self._outputs:
            results[name] = np.empty(sizes(context.get_tensor_shape(name)), np.float32)
            self._bind(name, results[name].nbytes)
        self._cuda.to_device(address, images, self._stream)
        started = context.execute_async_v3(self._stream)
        if started:
            for name, array in results.items():
                self._cuda.to_host(array, self._buffers[name][0], self._stream)
        self._cuda.synchronize(self._stream)
        if not started:
            raise BackendError("tensorrt: execution failed to start; logging.DEBUG says more")
        return results

    def _bind(self, name: str, size: int) -> int:
        """Gives a tensor a buffer of at least so many bytes; returns its address."""
        address, have = self._buffers.get(name, (0, 0))
        if have < size:
            if self._buffers.pop(name, None):
                self._cuda.free(address)
            address = self._cuda.allocate(size)
            self._buffers[name] = (address, size)
        if not self._context.set_tensor_address(name, address):
            raise BackendError(f"tensorrt: no tensor {name} in the engine")
        return address

    def _free(self) -> None:
        del self._context, self._engine, self._runtime  # the owner last
        for address, _ in self._buffers.values():
            with contextlib.suppress(BackendError):  # a device that failed frees all by itself
                self._cuda.free(address)
        with contextlib.suppress(BackendError):
            self._cuda.destroy_stream(self._stream)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at exit modules are half gone
            self.close()


def _outputs(engine: tensorrt.ICudaEngine) -> list[str]:
    """Returns the names of the outputs."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    for name in outputs:
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            raise BackendError(f"tensorrt: output {name} is {engine.get_tensor_dtype(name)}")
    return outputs
