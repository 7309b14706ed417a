"""What a resumed run must have in common with the interrupted one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.photos import Photos

NO_ROLES: Mapping[str, IndexArray] = MappingProxyType({})
MAY_DIFFER = {  # between an interrupted run and the one that resumes it
    "device", "calibration_photos", "check_photos", "predictor_subnets", "half_precision",
    "learning_rate",
}  # fmt: skip


def identity(
    photos: Photos, config: TrainingConfig, roles: Mapping[str, IndexArray] = NO_ROLES
) -> dict[str, str]:
    """Returns classes, hashes of pixels, labels and roles, and settings that may not differ.

    Indices of `photos` by their role are in `roles`, (N,) each.
    """
    digest = hashlib.sha256(np.ascontiguousarray(photos.images).data)
    digest.update(photos.labels.tobytes())
    settings = {
        name: str(value) for name, value in asdict(config).items() if name not in MAY_DIFFER
    }
    dealt = hashlib.sha256(b"".join(part.tobytes() for part in roles.values()))
    pixels, roles_dealt = digest.hexdigest()[:16], dealt.hexdigest()[:16]
    named = {"classes": ", ".join(photos.classes), "photos": pixels, **settings}
    return {**named, "roles": roles_dealt}  # last: settings decide them
