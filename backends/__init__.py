"""What an engine must offer, how engines are found, and all that the author of one needs.

A backend is one small file or package: it builds a `Network` into a native artefact, loads the
artefact into a session, and runs batches. Backends are found through the entry-point group
`tofa_edge.backends`; the built-in ones use it too, and import the protocol and what helps to follow
it from here, as a plug-in does. ONNX, which several engines read, is written in `onnx`.
"""

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.cost import last_uses
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
    SerialSession,
    check_batch,
    check_quantised,
    check_target,
    cpu_targets,
    import_engine,
    missing_packages,
    package_version,
    usable_cores,
)
from tofa_edge.errors import BackendError
from tofa_edge.network.integers import (
    affine,
    image_range,
    on_grid,
    pixels_as_steps,
    rounded_values,
    stepped,
)
from tofa_edge.network.network import Network, Preprocessing, Quantisation, Range

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
    "Range",
    "SerialSession",
    "Session",
    "Target",
    "affine",
    "backend",
    "backends",
    "check_batch",
    "check_quantised",
    "check_target",
    "cpu_targets",
    "image_range",
    "import_engine",
    "last_uses",
    "missing_packages",
    "on_grid",
    "package_version",
    "pixels_as_steps",
    "rounded_values",
    "stepped",
    "usable_cores",
    "working",
]
