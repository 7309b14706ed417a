"""The CUDA runtime through ctypes: against its own header, and where there is no GPU."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from ctypes import POINTER, c_int, c_size_t, c_uint, c_void_p
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tofa_edge.backends.tensorrt import cuda as binding
from tofa_edge.backends.tensorrt.cuda import FUNCTIONS, Cuda, load_cuda
from tofa_edge.errors import BackendError

# What the header's types are in ctypes; an enum is an int, a stream a pointer.
TYPES: dict[str, Any] = {
    "int": c_int, "int*": POINTER(c_int), "enum cudaDeviceAttr": c_int, "size_t": c_size_t,
    "unsigned int": c_uint, "void*": c_void_p, "const void*": c_void_p, "void**": POINTER(c_void_p),
    "cudaStream_t": c_void_p, "cudaStream_t*": POINTER(c_void_p), "enum cudaMemcpyKind": c_int,
    "struct cudaDeviceProp*": c_void_p,
}  # fmt: skip
CONSTANTS = {
    "cudaMemcpyHostToDevice": binding.TO_DEVICE,
    "cudaMemcpyDeviceToHost": binding.TO_HOST,
    "cudaDevAttrComputeCapabilityMajor": binding.CAPABILITY_MAJOR,
    "cudaDevAttrComputeCapabilityMinor": binding.CAPABILITY_MINOR,
    "cudaErrorInsufficientDriver": binding.NO_DRIVER,
    "cudaErrorNoDevice": binding.NO_DEVICE,
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    load_cuda.cache_clear()
    yield
    load_cuda.cache_clear()


@pytest.fixture
def include() -> Path:
    """The folder of CUDA's headers in pip's package."""
    for package in binding.WHEELS:
        try:
            spec = find_spec(package)
        except ModuleNotFoundError:
            continue
        for folder in (spec.submodule_search_locations if spec else None) or ():
            if (Path(folder) / "include" / "cuda_runtime_api.h").exists():
                return Path(folder) / "include"
    pytest.skip("no CUDA headers: pip install nvidia-cuda-runtime-cu12")


@pytest.fixture
def runtime() -> Cuda:
    try:
        return load_cuda()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def no_device(runtime: Cuda) -> Cuda:
    if runtime.problem() is None:
        pytest.skip("there is a CUDA device here")
    return runtime


def declared(header: str, name: str) -> list[str]:
    """The types of a function's parameters, as its prototype writes them."""
    found = re.search(rf"^extern .*\bcudaError_t CUDARTAPI {name}\((.*)\);", header, re.MULTILINE)
    assert found, f"{name} is not in the header, or returns something else"
    parameters = re.sub(r"\s+__dv\(\w+\)", "", found[1]).split(",")
    split = [re.fullmatch(r"\s*(.*?)\s*(\**)\w+\s*", parameter) for parameter in parameters]
    return ["".join(match.groups()) for match in split if match]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_declared_as_in_the_header(include: Path, name: str) -> None:
    header = (include / "cuda_runtime_api.h").read_text()
    assert [TYPES[kind] for kind in declared(header, name)] == FUNCTIONS[name]


@pytest.mark.parametrize("name", CONSTANTS)
def test_constant_is_that_of_the_header(include: Path, name: str) -> None:
    found = re.search(rf"^\s*{name}\s*=\s*(\d+)", (include / "driver_types.h").read_text(), re.M)
    assert found
    assert int(found[1]) == CONSTANTS[name]


def test_name_comes_first_in_the_properties(include: Path) -> None:
    text = (include / "driver_types.h").read_text()
    found = re.search(r"struct [^{;]*\bcudaDeviceProp\s*\{\s*char\s+name\[(\d+)\]", text)
    assert found
    assert int(found[1]) == binding.NAME_BYTES
    assert re.search(rf"cudaStreamNonBlocking\s+0x0*{binding.NON_BLOCKING}\b", text)


def test_runtime_says_its_version(runtime: Cuda) -> None:
    assert re.fullmatch(r"1[1-9]\.\d+", runtime.runtime_version())


def test_error_without_a_device_has_its_name(no_device: Cuda) -> None:
    for call in (no_device.capability, no_device.device_name, no_device.create_stream):
        with pytest.raises(BackendError, match=r"^CUDA: cuda\w+ failed: cudaError\w+ \(\d+\): \w"):
            call()
    with pytest.raises(BackendError, match="cudaMalloc failed"):
        no_device.allocate(64)
    array = np.zeros(4, np.float32)
    with pytest.raises(BackendError, match="cudaMemcpyAsync failed"):
        no_device.to_device(64, array, 0)
    with pytest.raises(BackendError, match="cudaMemcpyAsync failed"):
        no_device.to_host(array, 64, 0)


def test_problem_says_what_to_do(no_device: Cuda) -> None:
    problem = no_device.problem()
    assert problem is not None
    assert "--gpus all" in problem


def test_without_a_runtime_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "LIBRARIES", ("libcudart.so.of-nobody",))
    with pytest.raises(BackendError, match=r"no CUDA runtime \(libcudart.so.of-nobody\): on a Jet"):
        load_cuda()


def test_another_library_is_no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "libc.so.6"
    ctypes.CDLL(name)
    monkeypatch.setattr(binding, "LIBRARIES", (name,))
    with pytest.raises(BackendError, match="no CUDA runtime"):
        load_cuda()
