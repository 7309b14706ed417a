"""ncnn on the CPU, and on GPUs through Vulkan."""

from __future__ import annotations

import struct
import zlib
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
from tofa_edge.backends.ncnn.integer import write_ncnn_int8
from tofa_edge.backends.ncnn.model import PIXELS, write_ncnn
from tofa_edge.backends.ncnn.vulkan import (
    ALLOW_SOFTWARE,
    check_placement,
    gpu_name,
    gpu_targets,
    is_software,
    software_allowed,
)

INSTALL = "pip install 'tofa-edge[ncnn]'"
CPU_PRECISIONS = ("fp32", "bf16", "int8")
LOWER = (  # precisions that ncnn would take by itself where a processor or GPU has them
    "fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage",
)  # fmt: skip
USED = {"bf16": ("bf16_storage",), "fp16": ("fp16_packed", "fp16_storage")}
MAGIC = b"ncnn"
HEADER = struct.Struct("<4sIII")  # MAGIC, input size, bytes of the text, CRC-32 of what follows


class Ncnn:
    """Writes ncnn's own format; it is the same for all targets in float.

    In bf16 and fp16 values and weights are stored so, and computed with in float32.
    """

    name = "ncnn"
    calibrates = False

    def missing(self) -> str | None:
        """Returns what to install, or None."""
        return missing_packages("ncnn", install=INSTALL)

    def version(self) -> str:
        """Returns the version of ncnn."""
        return package_version("ncnn")

    def remarks(self) -> tuple[str, ...]:
        """Returns nothing: the self-test reports a package that cannot be imported."""
        return ()

    def targets(self) -> tuple[Target, ...]:
        """Returns CPU targets, then those of the GPU that ncnn finds."""
        if self.missing():
            return ()
        try:
            return cpu_targets(*CPU_PRECISIONS) + gpu_targets(import_engine("ncnn", INSTALL))
        except BackendError:  # loading will tell why
            return cpu_targets()

    def build(self, network: Network, target: Target) -> bytes:
        """Returns ncnn's text and weights, behind a header.

        Raises:
            BackendError: the network measures BatchNorm statistics, or is not quantised for int8.
        """
        check_quantised(self.name, network, target)
        text, weights = (write_ncnn_int8 if target.is_integer else write_ncnn)(network)
        pieces, checksum = [text.encode(), *weights], 0
        for piece in pieces:
            checksum = zlib.crc32(piece, checksum)
        header = HEADER.pack(MAGIC, network.input_size, len(pieces[0]), checksum)
        return b"".join((header, *pieces))

    def load(self, artefact: bytes, target: Target) -> NcnnSession:
        """Returns a session on exactly the target's unit, precision and threads."""
        ncnn = import_engine("ncnn", INSTALL)
        self._check_offered(ncnn, target)
        size, text, weights = _unpacked(artefact)
        net = opened(ncnn, text, weights, target)
        session = NcnnSession(ncnn, net, weights, size)
        session.run(np.zeros((1, size, size, 3), np.uint8))  # ncnn does not say that loading failed
        return session

    def _check_offered(self, ncnn: Any, target: Target) -> None:
        if target.unit == "cpu" and target.precision in CPU_PRECISIONS:
            return
        if target.unit == "gpu" and target in gpu_targets(ncnn):
            return
        offered = ", ".join(map(str, self.targets()))
        why = _why_no_gpu(ncnn) if target.unit == "gpu" else ""
        raise BackendError(f"ncnn: no target {target}; it offers {offered}{why}")


def _unpacked(artefact: bytes) -> tuple[int, str, bytes]:
    """Returns input size, text and weights; ncnn would read past the end of a shorter one."""
    if artefact.startswith(MAGIC) and len(artefact) > HEADER.size:
        _, size, length, checksum = HEADER.unpack_from(artefact)
        if zlib.crc32(memoryview(artefact)[HEADER.size :]) == checksum:
            begin = HEADER.size + length
            return size, artefact[HEADER.size : begin].decode(), artefact[begin:]
    raise BackendError("ncnn: this artefact is damaged, or another's: build it again")


def opened(ncnn: Any, text: str, weights: bytes, target: Target) -> Any:
    """Returns a network of the module `ncnn`, which goes on reading `weights` where they are.

    Raises:
        BackendError: ncnn refuses it, or runs it elsewhere than on the target.
    """
    net = ncnn.Net()
    net.opt.num_threads = target.threads
    net.opt.use_vulkan_compute = target.unit == "gpu"
    for kind in LOWER:
        if hasattr(net.opt, f"use_{kind}"):  # not all versions know all
            setattr(net.opt, f"use_{kind}", kind in USED.get(target.precision, ()))
    if net.load_param_mem(text) != 0:
        raise BackendError("ncnn refuses the network")
    net.load_model_mem(weights)
    if target.unit == "gpu":
        check_placement(net, target)
    return net


def _why_no_gpu(ncnn: Any) -> str:
    name = gpu_name(ncnn)
    if name and is_software(ncnn) and not software_allowed():
        return f"; {name} is the processor itself: {ALLOW_SOFTWARE}=1 offers it, for tests"
    return "" if name else "; Vulkan finds no GPU: install its driver"


class NcnnSession(SerialSession):
    """A loaded network, run image by image.

    Args:
        ncnn: the module.
        net: with its weights loaded.
        weights: kept, because ncnn reads them where they are.
        size: of the input, in pixels.
    """

    def __init__(self, ncnn: Any, net: Any, weights: bytes, size: int) -> None:
        super().__init__("ncnn", size, "gpu" if net.opt.use_vulkan_compute else "cpu")
        self._mat, self._net, self._weights = ncnn.Mat, net, weights

    def _run(self, batch: ImageArray) -> dict[str, FloatArray]:
        return {LOGITS: np.stack([self._logits(image) for image in batch])}

    def _logits(self, image: ImageArray) -> FloatArray:
        kind = self._mat.PixelType.PIXEL_RGB
        pixels = self._mat.from_pixels(np.ascontiguousarray(image), kind, self._size, self._size)
        with self._net.create_extractor() as extractor:
            if extractor.input(PIXELS, pixels) != 0:
                raise BackendError("ncnn refuses the input")
            code, logits = extractor.extract(LOGITS)
            if code != 0:
                lost = ": the GPU was lost, or has no memory left" if self.unit == "gpu" else ""
                raise BackendError(f"ncnn failed with code {code}{lost}")
            return np.array(logits, np.float32)

    def _free(self) -> None:
        self._net.clear()
        del self._net, self._weights
