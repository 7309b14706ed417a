"""ncnn on the CPU, as a backend of tofa-edge."""

from __future__ import annotations

import hashlib
import importlib
import struct
import threading
from importlib.util import find_spec
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.support import check_batch, check_target, cpu_targets, package_version
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network
from tofa_edge_ncnn.ncnn_format import PIXELS, write_ncnn

HASHED = 32  # bytes in front of an artefact: SHA-256 of the rest
HEADER = struct.Struct("<II")  # input size, length of the text


def engine() -> Any:
    """Imports ncnn.

    Raises:
        BackendError: it is not installed, or its import fails.
    """
    try:
        return importlib.import_module("ncnn")
    except Exception as error:  # a broken wheel raises anything, from ImportError to SystemError
        raise BackendError(f"ncnn: import failed ({error}); pip install ncnn") from error


class Ncnn:
    """Writes ncnn's own format and runs it in float32."""

    name = "ncnn"
    calibrates = False

    def missing(self) -> str | None:
        """Returns what to install, or None."""
        return None if find_spec("ncnn") else "no package ncnn: pip install ncnn"

    def version(self) -> str:
        """Returns the version of ncnn."""
        return package_version("ncnn")

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
        ncnn, content = engine(), artefact[HASHED:]
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


class NcnnSession:
    """A loaded network, run image by image; callers take turns, so that none runs it while closed.

    Args:
        ncnn: the module.
        net: with its weights loaded.
        weights: kept, because ncnn reads them where they are.
        size: of the input, in pixels.
    """

    def __init__(self, ncnn: Any, net: Any, weights: bytes, size: int) -> None:
        self.unit = "gpu" if net.opt.use_vulkan_compute else "cpu"
        self._ncnn, self._net, self._size = ncnn, net, size
        self._weights: bytes | None = weights
        self._lock = threading.Lock()

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch, uint8, (N, S, S, 3).

        Raises:
            BackendError: the session is closed, the batch has another type or shape, or ncnn fails.
        """
        check_batch(batch, self._size)
        with self._lock:
            if self._net is None:
                raise BackendError("ncnn: this session is closed")
            return {LOGITS: np.stack([self._run(image) for image in batch])}

    def _run(self, image: ImageArray) -> FloatArray:
        mat = self._ncnn.Mat
        pixels = mat.from_pixels(
            np.ascontiguousarray(image), mat.PixelType.PIXEL_RGB, self._size, self._size
        )
        with self._net.create_extractor() as extractor:
            if extractor.input(PIXELS, pixels) != 0:
                raise BackendError("ncnn refuses the input")
            failed, logits = extractor.extract(LOGITS)
            if failed != 0:
                raise BackendError(f"ncnn failed with code {failed}")
            return np.array(logits, np.float32)

    def close(self) -> None:
        """Frees the network."""
        with self._lock:
            if self._net is not None:
                self._net.clear()
            self._net = self._weights = None
