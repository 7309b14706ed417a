"""What an engine must offer, how engines are found, and all that the author of one needs.

A backend is one small file or package: it builds a `Network` into a native artefact, loads the
artefact into a session, and runs batches. Backends are found through the entry-point group
`tofa_edge.backends`; the ones that come with the package go through the same door as anybody
else's. Each engine is a package or file of its own; the formats that several write lie beside.
"""

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import (
    IMAGE,
    LOGITS,
    Add,
    BatchStatistics,
    Convolution,
    GlobalPool,
    Layer,
    Linear,
    Multiply,
)
from tofa_edge.architecture.space import Activation
from tofa_edge.backends.protocol import INTEGERS, Backend, Engine, Session, Target
from tofa_edge.backends.registry import ENTRY_POINTS, backend, backends, working
from tofa_edge.backends.support import (
    check_batch,
    check_quantised,
    check_target,
    cpu_targets,
    package_version,
    usable_cores,
)
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network, Preprocessing, Quantisation

__all__ = [
    "ENTRY_POINTS",
    "IMAGE",
    "INTEGERS",
    "LOGITS",
    "Activation",
    "Add",
    "Backend",
    "BackendError",
    "BatchStatistics",
    "Convolution",
    "Engine",
    "FloatArray",
    "GlobalPool",
    "ImageArray",
    "Layer",
    "Linear",
    "Multiply",
    "Network",
    "Preprocessing",
    "Quantisation",
    "Session",
    "Target",
    "backend",
    "backends",
    "check_batch",
    "check_quantised",
    "check_target",
    "cpu_targets",
    "package_version",
    "usable_cores",
    "working",
]
