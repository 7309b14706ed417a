"""ONNX Runtime's execution providers: how to ask for one, and whether it took the network.

A provider that is listed may lack its libraries or its device, and one that works may leave part of
a network to the CPU. ONNX Runtime passes over both in silence.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from tofa_edge.backends import BackendError, Target, cpu_targets
from tofa_edge.backends.onnx.graph import PREPARATION

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "acl": "ACLExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
PRECISIONS = {
    "cpu": ("fp32", "int8"),
    "tensorrt": ("fp32", "fp16", "int8"),
    "qnn": ("fp16",),
    "coreml": ("fp16",),
}  # or fp32 alone
THREADED = ("cpu", "openvino", "xnnpack", "acl")  # they run on the CPU
PARTIAL = ("xnnpack", "acl")  # kernels for the CPU, beside the default ones for what they lack
RECORD = "session.record_ep_graph_assignment_info"
STRICT = "session.disable_cpu_ep_fallback"


def provider_targets(onnxruntime: Any) -> tuple[Target, ...]:
    """Returns the targets of all providers that this build lists, those of the CPU first.

    That a provider is listed does not mean that it works here: loading tells.
    """
    listed = onnxruntime.get_available_providers()
    return tuple(
        Target(unit, precision, cpu.threads)
        for unit, provider in PROVIDERS.items()
        if provider in listed
        for precision in PRECISIONS.get(unit, ("fp32",))
        for cpu in (cpu_targets() if unit in THREADED else (Target(),))
    )


def check_listed(onnxruntime: Any, target: Target) -> None:
    """Checks that a target is one that this build may have; any number of threads will do."""
    offered = provider_targets(onnxruntime)
    if (target.unit, target.precision) not in {(item.unit, item.precision) for item in offered}:
        raise BackendError(
            f"onnxruntime: no target {target}; it offers {', '.join(map(str, offered))}"
        )


def session_options(onnxruntime: Any, target: Target) -> Any:
    """Returns the options of a session on a target: exactly its threads, and no silent fallback.

    `onnxruntime` is the imported module.
    """
    options = onnxruntime.SessionOptions()
    own_threads = target.unit in ("openvino", "xnnpack")
    options.intra_op_num_threads = 1 if own_threads else target.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # an arena keeps the peak of the largest batch
    if own_threads:  # two pools that wait in loops would take each other's cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if target.unit != "cpu":
        if _records(onnxruntime):
            options.add_session_config_entry(RECORD, "1")
        elif target.unit not in PARTIAL:
            options.add_session_config_entry(STRICT, "1")
    return options


def provider_chain(onnxruntime: Any, target: Target) -> list[tuple[str, dict[str, str]]]:
    """Returns the providers to ask for, each with its options, the target's first."""
    chain = [(PROVIDERS[target.unit], _provider_options(target))]
    if target.unit == "tensorrt" and _records(onnxruntime):  # CUDA may prepare the images
        chain.append((PROVIDERS["cuda"], {}))
    return chain


def check_placement(session: Any, target: Target) -> None:
    """Checks that a network runs where it should, all but the preparation of its images.

    Before ONNX Runtime 1.24 a session does not tell; there the option `STRICT` refuses a network of
    which the CPU would get a part.
    """
    provider, used = PROVIDERS[target.unit], session.get_providers()
    if used[:1] != [provider]:
        raise BackendError(f"wanted {provider}, but it runs on {', '.join(used)}")
    if target.unit == "cpu" or not _records(type(session)):
        return
    elsewhere = {
        f"{node.op_type} {node.name} on {part.ep_name}"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider
        for node in part.get_nodes()
        if not _may_stay(node, target.unit)
    }
    if elsewhere:
        operators = f"{len(elsewhere)} operators to others ({', '.join(sorted(elsewhere)[:3])})"
        raise BackendError(f"{provider} leaves {operators}: choose another target")


def missing_library(onnxruntime: Any, target: Target) -> str:
    """Returns what the provider's own library cannot be loaded for, else nothing.

    ONNX Runtime writes it to its log and goes on without the provider.
    """
    folder = Path(onnxruntime.__file__).parent / "capi"
    for library in folder.glob(f"libonnxruntime_providers_{target.unit}.so"):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            if "cannot open" in str(error):
                return f" ({error})"
    return ""


def _records(owner: Any) -> bool:
    """Whether sessions tell which provider has which operator; of the package or the class."""
    return hasattr(getattr(owner, "InferenceSession", owner), "get_provider_graph_assignment_info")


def _may_stay(node: Any, unit: str) -> bool:
    """Whether an operator may run elsewhere: the engine moves and renames what prepares images."""
    if unit in PARTIAL:
        return bool(node.op_type != "Conv")
    return node.op_type in ("Transpose", "Cast") or node.name.startswith(PREPARATION)


def _provider_options(target: Target) -> dict[str, str]:
    """What makes a provider compute in the target's precision, with its threads."""
    threads = str(target.threads)
    options = {
        "cuda": {"use_tf32": "0"},  # the default rounds float32 factors to 10 bits
        "tensorrt": {
            "trt_fp16_enable": str(int(target.precision == "fp16")),
            "trt_int8_enable": str(int(target.precision == "int8")),
        },
        "openvino": {"device_type": "CPU", "precision": "FP32", "num_of_threads": threads},
        "xnnpack": {"intra_op_num_threads": threads},
        "qnn": {"backend_type": "htp"},
    }
    return options.get(target.unit, {})
