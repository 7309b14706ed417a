"""tofa-edge: one supernet, trained once; every edge device cuts its own network out of one file.

    import tofa_edge

    model = tofa_edge.deploy("parts.tofa", latency_ms=20)
    prediction = model("photo.jpg")
    print(prediction.label, prediction.probability)

Names are imported when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tofa_edge._version import __version__

if TYPE_CHECKING:
    from tofa_edge.architecture.space import SearchSpace, Subnet
    from tofa_edge.budget import Budget
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.deployment.export import export
    from tofa_edge.deployment.request import DeployOptions
    from tofa_edge.errors import (
        BackendError,
        BudgetError,
        BundleError,
        CameraError,
        DataError,
        ExportError,
        ImageError,
        InstallError,
        LatencyError,
        LimitError,
        ProfileError,
        SpaceError,
        SubnetError,
        TofaError,
        TrainingError,
        TrustError,
    )
    from tofa_edge.live.deploy import deploy
    from tofa_edge.live.model import LiveModel
    from tofa_edge.live.options import LiveOptions
    from tofa_edge.selftest.interpreter import self_test_support
    from tofa_edge.serving.model import Model
    from tofa_edge.serving.prediction import Prediction
    from tofa_edge.trust.trust import Trust

__all__ = [
    "BackendError",
    "Budget",
    "BudgetError",
    "Bundle",
    "BundleError",
    "CameraError",
    "DataError",
    "DeployOptions",
    "ExportError",
    "ImageError",
    "InstallError",
    "LatencyError",
    "LimitError",
    "LiveModel",
    "LiveOptions",
    "Model",
    "Prediction",
    "ProfileError",
    "SearchSpace",
    "SpaceError",
    "Subnet",
    "SubnetError",
    "TofaError",
    "TrainingError",
    "Trust",
    "TrustError",
    "__version__",
    "deploy",
    "export",
    "self_test_support",
]

_HOMES = {
    "Budget": "budget",
    "Bundle": "bundle.bundle",
    "DeployOptions": "deployment.request",
    "LiveModel": "live.model",
    "LiveOptions": "live.options",
    "Model": "serving.model",
    "Prediction": "serving.prediction",
    "SearchSpace": "architecture.space",
    "Subnet": "architecture.space",
    "Trust": "trust.trust",
    "deploy": "live.deploy",
    "export": "deployment.export",
    "self_test_support": "selftest.interpreter",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "errors")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
