"""GPUs that ncnn finds through Vulkan, and whether a network really runs on one."""

from __future__ import annotations

import os
from typing import Any

from tofa_edge.backends import BackendError, Target

SOFTWARE = 3  # ncnn's number for a device that is the processor itself
ALLOW_SOFTWARE = "TOFA_EDGE_SOFTWARE_GPU"  # of the environment: "1" offers it, for tests
GPU_PRECISIONS = ("fp32", "fp16")
WHERE_DATA_IS = ("Input", "Split")  # layers that compute nothing


def gpu_targets(ncnn: Any) -> tuple[Target, ...]:
    """Returns what ncnn's own choice of a GPU offers; nothing where it finds none.

    A GPU in software computes on the processor, only slower than the processor by itself: it is
    offered where the environment allows it.
    """
    if not gpu_name(ncnn) or (is_software(ncnn) and not software_allowed()):
        return ()
    return tuple(Target("gpu", precision) for precision in GPU_PRECISIONS)


def gpu_name(ncnn: Any) -> str:
    """Returns the name of the GPU that ncnn takes; empty where there is none.

    Asking starts the Vulkan driver, which may crash: a self-test asks first.
    """
    if not hasattr(ncnn, "get_gpu_count") or ncnn.get_gpu_count() < 1:
        return ""
    return str(ncnn.get_gpu_info(ncnn.get_default_gpu_index()).device_name())


def is_software(ncnn: Any) -> bool:
    """Returns whether the GPU that ncnn takes is the processor itself."""
    return bool(ncnn.get_gpu_info(ncnn.get_default_gpu_index()).type() == SOFTWARE)


def software_allowed() -> bool:
    """Returns whether the environment allows GPUs in software."""
    return os.environ.get(ALLOW_SOFTWARE, "").strip() == "1"


def check_placement(net: Any, target: Target) -> None:
    """Checks that a loaded network runs on the GPU, all of it, in the precision of a target.

    ncnn turns off what a device cannot do, and runs layers that it has no shader for on the
    processor, and says neither.

    Raises:
        BackendError: it runs elsewhere, or computes in another precision.
    """
    if not net.opt.use_vulkan_compute:
        raise BackendError(f"ncnn: wanted {target}, but Vulkan is not to be had: it runs on cpu")
    if target.precision == "fp16" and not net.opt.use_fp16_storage:
        raise BackendError("ncnn: wanted fp16, but this GPU cannot store it: it computes in fp32")
    left = [
        f"{layer.name} ({layer.type})"
        for layer in net.layers()
        if not layer.support_vulkan and layer.type not in WHERE_DATA_IS
    ]
    if left:
        raise BackendError(
            f"ncnn: wanted {target}, but {len(left)} layers run on cpu: {', '.join(left[:3])}"
        )
