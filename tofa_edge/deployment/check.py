"""The last look before a network serves: the bundle's check photos."""

from __future__ import annotations

import numpy as np

from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.layers import layers as layers_of
from tofa_edge.cutting.calibration import batches
from tofa_edge.deployment.local_device import Finished
from tofa_edge.deployment.request import Request
from tofa_edge.deployment.trace import Trace


def checked(finished: Finished, request: Request, trace: Trace) -> tuple[int, int] | None:
    """Returns how many of the bundle's check photos a network gets right, and how many there are.

    None where the bundle has none. The session is closed where one cannot be read.
    """
    bundle, subnet = request.bundle, finished.measured.subnet
    if not bundle.check_count:
        return None
    try:
        with trace.timed("check"):
            images, labels = bundle.check_images(subnet.resolution)
            parts = batches(images, layers_of(bundle.space, subnet))
            logits = [finished.session.run(part)[LOGITS] for part in parts]
            classes = np.concatenate(logits).argmax(axis=1)
    except BaseException:
        finished.session.close()
        raise
    return int((classes == labels).sum()), len(labels)
