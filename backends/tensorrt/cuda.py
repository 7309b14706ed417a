"""The few functions of the CUDA runtime that an engine on an NVIDIA GPU needs, through ctypes.

Declared as in cuda_runtime_api.h of CUDA 11 to 13; every return code is checked. Everything happens
on device 0 of those that `CUDA_VISIBLE_DEVICES` leaves.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_void_p
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tofa_edge.backends import BackendError
from tofa_edge.device import sources as device_sources
from tofa_edge.device.files import Files

LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
TOOLKIT = Path("/usr/local/cuda/lib64")
WHEELS = ("nvidia.cu13", "nvidia.cuda_runtime")  # packages that pip puts the library into

TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost
NON_BLOCKING = 1  # cudaStreamNonBlocking
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # of cudaDeviceAttr
NO_DRIVER, NO_DEVICE = 35, 100  # cudaErrorInsufficientDriver, cudaErrorNoDevice
PROPERTIES_BYTES = 16384  # more than cudaDeviceProp has in any version; its name comes first
NAME_BYTES = 256

FUNCTIONS: dict[str, list[Any]] = {
    "cudaGetDeviceCount": [POINTER(c_int)],
    "cudaDriverGetVersion": [POINTER(c_int)],
    "cudaRuntimeGetVersion": [POINTER(c_int)],
    "cudaDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
    "cudaGetDeviceProperties": [c_void_p, c_int],
    "cudaMalloc": [POINTER(c_void_p), c_size_t],
    "cudaFree": [c_void_p],
    "cudaMemcpyAsync": [c_void_p, c_void_p, c_size_t, c_int, c_void_p],
    "cudaStreamCreateWithFlags": [POINTER(c_void_p), c_uint],
    "cudaStreamSynchronize": [c_void_p],
    "cudaStreamDestroy": [c_void_p],
}


class Cuda:
    """A loaded CUDA runtime. Addresses and streams are plain numbers.

    Every method raises a BackendError that names the function and CUDA's own error.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name, arguments in FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, c_int
        for name in ("cudaGetErrorName", "cudaGetErrorString"):
            function = getattr(library, name)
            function.argtypes, function.restype = [c_int], c_char_p

    def driver_version(self) -> str:
        """Returns the newest CUDA that the driver knows, such as "12.6"; "0.0" without a driver."""
        return _version(self._number("cudaDriverGetVersion"))

    def runtime_version(self) -> str:
        """Returns the version of this library, such as "12.6"."""
        return _version(self._number("cudaRuntimeGetVersion"))

    def capability(self) -> str:
        """Returns the compute capability of the device, such as "8.7"."""
        attributes = (CAPABILITY_MAJOR, CAPABILITY_MINOR)
        return ".".join(str(self._number("cudaDeviceGetAttribute", a, 0)) for a in attributes)

    def device_name(self) -> str:
        """Returns the name of the device, such as "Orin"."""
        properties = ctypes.create_string_buffer(PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, 0)
        return properties.raw[:NAME_BYTES].partition(b"\0")[0].decode("utf-8", "replace")

    def allocate(self, size: int) -> int:
        """Returns the address of `size` bytes on the device."""
        return self._handle("cudaMalloc", size)

    def free(self, address: int) -> None:
        """Frees what `allocate` returned."""
        self._call("cudaFree", address)

    def create_stream(self) -> int:
        """Returns a stream that does not wait for the default one."""
        return self._handle("cudaStreamCreateWithFlags", NON_BLOCKING)

    def synchronize(self, stream: int) -> None:
        """Waits until everything in a stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        """Frees what `create_stream` returned."""
        self._call("cudaStreamDestroy", stream)

    def to_device(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Copies a contiguous array to the device; keep the array until the stream is done."""
        assert array.flags.c_contiguous
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, TO_DEVICE, stream)

    def to_host(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Fills a contiguous array from the device; keep the array until the stream is done."""
        assert array.flags.c_contiguous
        assert array.flags.writeable
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, TO_HOST, stream)

    def problem(self) -> str | None:
        """Returns why no device can be used and what to do about it, or None."""
        count = c_int()
        code = int(self._library.cudaGetDeviceCount(ctypes.byref(count)))
        if code == 0 and count.value > 0:
            return None
        container = "in a container start it with --gpus all (on a Jetson: --runtime nvidia)"
        if code == NO_DRIVER and not device_sources.accelerators(Files(Path("/"))):
            return f"no NVIDIA GPU or no driver for it: {container}"
        if code == NO_DRIVER:
            versions = f"CUDA {self.runtime_version()}, it knows {self.driver_version()}"
            return f"the driver does not go with {versions}: update it; {container}"
        if code in (0, NO_DEVICE):
            return f"CUDA finds no device: {container}; CUDA_VISIBLE_DEVICES may hide it"
        return f"CUDA fails: {self._error(code)}; sudo dmesg may say why"

    def _call(self, name: str, *arguments: object) -> None:
        code = int(getattr(self._library, name)(*arguments))
        if code:
            raise BackendError(f"CUDA: {name} failed: {self._error(code)}")

    def _number(self, name: str, *arguments: object) -> int:
        value = c_int()
        self._call(name, ctypes.byref(value), *arguments)
        return value.value

    def _handle(self, name: str, *arguments: object) -> int:
        value = c_void_p()
        self._call(name, ctypes.byref(value), *arguments)
        assert value.value, f"{name} succeeds with a null pointer"
        return value.value

    def _error(self, code: int) -> str:
        name, text = self._library.cudaGetErrorName(code), self._library.cudaGetErrorString(code)
        return f"{name.decode()} ({code}): {text.decode()}"


def _version(number: int) -> str:
    """12060 → "12.6"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _candidates() -> Iterator[str]:
    """Yields the library's possible names: for the linker, in the toolkit, in pip's packages."""
    yield from LIBRARIES
    yield from (str(TOOLKIT / name) for name in LIBRARIES)
    for package in WHEELS:
        try:
            spec = find_spec(package)
        except ModuleNotFoundError:  # of the package around it
            continue
        for folder in (spec.submodule_search_locations if spec else None) or ():
            yield from (str(Path(folder) / "lib" / name) for name in LIBRARIES)


@lru_cache(maxsize=1)
def load_cuda() -> Cuda:
    """Loads the CUDA runtime."""
    for name in _candidates():
        try:
            return Cuda(ctypes.CDLL(name))
        except (OSError, AttributeError):  # absent, or not what its name says
            continue
    raise BackendError(
        f"no CUDA runtime ({', '.join(LIBRARIES)}): on a Jetson sudo apt install nvidia-jetpack, "
        "elsewhere the CUDA toolkit or pip install nvidia-cuda-runtime-cu12"
    )
