"""MNN on the CPU, as a backend of tofa-edge."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
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
from tofa_edge_mnn.mnn_format import PIXELS, write_mnn

INSTALL = "pip install MNN"
HASHED = 32  # bytes in front of an artefact: SHA-256 of the rest
HEADER = struct.Struct("<I")  # input size


def engine() -> Any:
    """Imports MNN, which prints what the processor has: not into the output of a command."""
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        return import_engine("MNN", INSTALL)
    finally:
        os.dup2(output, 1)
        os.close(output)


class Mnn:
    """Writes MNN's own format and runs it in float32."""

    name = "mnn"
    calibrates = False

    def missing(self) -> str | None:
        """Returns what to install, or None."""
        return missing_packages("MNN", install=INSTALL)

    def version(self) -> str:
        """Returns the version of MNN."""
        return package_version("MNN")

    def remarks(self) -> tuple[str, ...]:
        """Returns nothing: there is one package of MNN."""
        return ()

    def targets(self) -> tuple[Target, ...]:
        """Returns the fp32 CPU target of all cores: this package takes two, whatever it is told."""
        return () if self.missing() else cpu_targets()[-1:]

    def build(self, network: Network, target: Target) -> bytes:
        """Returns an MNN file, behind a hash and a header.

        Raises:
            BackendError: the network measures BatchNorm statistics.
        """
        content = HEADER.pack(network.input_size) + write_mnn(engine(), network)
        return hashlib.sha256(content).digest() + content

    def load(self, artefact: bytes, target: Target) -> MnnSession:
        """Returns a session that runs the network.

        Raises:
            BackendError: MNN is missing or refuses the artefact, or the target is not cpu fp32.
        """
        check_target(self.name, target)
        mnn, content = engine(), artefact[HASHED:]
        if hashlib.sha256(content).digest() != artefact[:HASHED]:  # MNN's message says nothing
            raise BackendError("mnn: this artefact is damaged, or another's: build it again")
        precision = mnn.expr.PrecisionMode.High
        options = {"precision_mode": precision, "thread_num": target.threads}
        with tempfile.NamedTemporaryFile(suffix=".mnn") as file:
            file.write(content[HEADER.size :])
            file.flush()
            module = mnn.nn.load_module_from_file(file.name, [PIXELS], [LOGITS], **options)
        return MnnSession(mnn.expr, module, *HEADER.unpack_from(content))


class MnnSession(SerialSession):
    """A loaded network, run image by image.

    Args:
        operators: of MNN.
        module: with its weights loaded.
        size: of the input, in pixels.
    """

    def __init__(self, operators: Any, module: Any, size: int) -> None:
        super().__init__("mnn", size, "cpu")
        self._operators, self._module = operators, module

    def _run(self, batch: ImageArray) -> dict[str, FloatArray]:
        return {LOGITS: np.concatenate([self._logits(image) for image in batch])}

    def _logits(self, image: ImageArray) -> FloatArray:
        kinds, shape = self._operators, [1, 3, self._size, self._size]
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
        outputs = self._module.forward([kinds.const(pixels, shape, kinds.NCHW)])
        return np.array(outputs[0].read(), np.float32)

    def _free(self) -> None:
        self._module = None
