"""Memory a network takes when it is loaded: by how much the process grows, at its peak.

Engines copy weights, re-order them, and keep maps in arenas, each in its own way. What remains is a
line: a constant, so much for each byte of weights, and so much for each byte of activations alive
at once. Its three numbers were fitted for each engine on x86-64 (`benchmarks/studies/memory.py`,
which also tests them on other subnets).
"""

from __future__ import annotations

from dataclasses import dataclass

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.cost import FLOAT_BYTES
from tofa_edge.architecture.encodings import Encodings
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables

MEGA = 1e6


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """Growth of the process in MB of 1e6 bytes."""

    constant_mb: float  # of any network
    weights: float  # MB for each MB of weights in float32
    activations: float  # MB for each MB of float32 activations alive at once, layer by layer


LINES = {
    ("onnxruntime", "fp32"): MemoryLine(10.9, 1.71, 1.70),
    ("tflite", "fp32"): MemoryLine(0.0, 1.04, 1.40),
}
PLAIN = MemoryLine(0.0, 1.0, 1.0)  # of an engine that was not measured
SHARES = {
    "fp32": 1.0,
    "fp16": 0.5,
    "bf16": 0.5,
    "int8": 0.25,
    "dynamic": 0.25,
}  # of the bytes in float32


def peak_memory_mb(
    space: SearchSpace, encodings: Encodings, backend: str, precision: str = "fp32"
) -> DoubleArray:
    """Returns the memory that loading and running subnets is expected to take, MB, (N,).

    `encodings` are (N, genes). Where only fp32 of a `backend` was measured, its line is applied to
    the fewer bytes of another `precision`.
    """
    costs, share = tables(space).costs(encodings), SHARES.get(precision, 1.0)
    line = LINES.get((backend, precision))
    if line is None:
        whole = LINES.get((backend, "fp32"), PLAIN)
        line = MemoryLine(whole.constant_mb, share * whole.weights, share * whole.activations)
    weights, activations = costs.parameters * FLOAT_BYTES, costs.peak_activation_bytes
    grown: DoubleArray = (
        line.constant_mb + (line.weights * weights + line.activations * activations) / MEGA
    )
    return grown
