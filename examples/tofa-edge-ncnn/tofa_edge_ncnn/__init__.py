"""ncnn on the CPU, as a backend of tofa-edge."""

from __future__ import annotations

import hashlib
import struct
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
    check_target,
    cpu_targets,
    import_engine,
    missing_packages,
    package_version,
)
from tofa_edge_ncnn.ncnn_format import PIXELS, write_ncnn

INSTALL = "pip install ncnn"
HASHED = 32  # bytes in front of an artefact: SHA-256 of the rest
HEADER = struct.Struct("<II")  # input size, length of the text


class Ncnn:
    """Writes ncnn's own format and runs it in float32."""

    name = "ncnn"
    calibrates = False

    def missing(self) -> str | None:
        """Returns what to install, or None."""
        return missing_packages("ncnn", install=INSTALL)

    def version(self) -> str:
        """Returns the version of ncnn."""
        return package_version("ncnn")

    def remarks(self) -> tuple[str, ...]:
        """Returns nothing: there is one package of ncnn."""
        return ()

    def targets(self) -> tuple[Target, ...]:
        """Returns fp32 CPU targets up to the cores this process may use."""
        return () if self.missing() else cpu_targets()

    def build(self, network: Network, target: Target) -> bytes:
        """Returns ncnn's text and weights, behind a hash and a header.

        Raises:
            BackendError: the network measures BatchNorm statistics.
        """
        text, weights = write_ncnn(network)
        content = HEADER.pack(network.input_size, len(text)) + text.encode() + weights
        return hashlib.sha256(content).digest() + content

    def load(self, artefact: bytes, target: Target) -> NcnnSession:
        """Returns a session on exactly the target's threads.

        Raises:
            BackendError: ncnn is missing or refuses the artefact, or the target is not cpu fp32.
        """
        check_target(self.name, target)
        ncnn, content = import_engine("ncnn", INSTALL), artefact[HASHED:]
        if hashlib.sha256(content).digest() != artefact[:HASHED]:  # ncnn would read past the end
            raise BackendError("ncnn: this artefact is damaged, or another's: build it again")
        size, length = HEADER.unpack_from(content)
        text, weights = content[HEADER.size :][:length], content[HEADER.size + length :]
        net = ncnn.Net()
        net.opt.num_threads = target.threads
        net.opt.use_vulkan_compute = False
        for kind in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{kind}", False)
        if net.load_param_mem(text.decode()) != 0:
            raise BackendError("ncnn refuses the network")
        net.load_model_mem(weights)
        return NcnnSession(ncnn, net, weights, size)


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
                raise BackendError(f"ncnn failed with code {code}")
            return np.array(logits, np.float32)

    def _free(self) -> None:
        self._net.clear()
        del self._net, self._weights
