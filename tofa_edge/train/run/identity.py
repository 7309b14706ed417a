"""What a resumed run must have in common with the interrupted one."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import numpy as np

from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.photos import Photos

MAY_DIFFER = {  # between an interrupted run and the one that resumes it
    "device", "calibration_photos", "check_photos", "predictor_subnets", "half_precision",
    "learning_rate",
}  # fmt: skip


def identity(photos: Photos, config: TrainingConfig) -> dict[str, str]:
    """Returns classes, a hash of pixels and labels, and those settings that may not differ."""
    digest = hashlib.sha256(np.ascontiguousarray(photos.images).data)
    digest.update(photos.labels.tobytes())
    settings = {
        name: str(value) for name, value in asdict(config).items() if name not in MAY_DIFFER
    }
    return {"classes": ", ".join(photos.classes), "photos": digest.hexdigest()[:16], **settings}
