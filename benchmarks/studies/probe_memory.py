"""How much memory the initial pseudo-labels of very many images take.

    python -m tofa_edge.benchmarks.studies.probe_memory

Features of three teachers (1,280 channels each, drawn at random around a centre of each class) go
through `start_from_probe` with a small supernet, as those of photos do. Memory that is no file's
is limited (`RLIMIT_DATA`) and measured: of a quarter of the images and of all, for what an image
takes, with neighbours among as many, and with neighbours among half of a quarter, for what an image
takes among those that may be neighbours. What is kept on disk of 100,000 images where 4 GB are free
is kept on disk here. The optimiser makes few steps, and images have few pixels: neither changes
what is held.
"""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tofa_edge.architecture.zoo import tiny
from tofa_edge.benchmarks.studies.command import RESULTS, options, store
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.data.files import mapped
from tofa_edge.train.objective import features as features_module
from tofa_edge.train.objective import label_spreading
from tofa_edge.train.objective.features import room_for_rows
from tofa_edge.train.objective.initial_pseudo_labels import start_from_probe
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.supernet.supernet import Supernet

TEACHERS, CHANNELS, CLASSES = 3, 1280, 10
MEANT = 100_000  # images
LIMIT = 4 * 10**9  # bytes
STEPS = 2  # of the optimiser
EACH_S = 0.02  # between two looks at the memory
ROWS = 1000


def main() -> None:
    """Measures and stores."""
    out = RESULTS / "probe_memory.json"
    given = options(__doc__, images=(20_000, "in all"), labelled=2000, out=out)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    torch.optim.LBFGS = partial(_few_steps, torch.optim.LBFGS)  # type: ignore[misc, assignment]
    block, quarter = label_spreading.BLOCK, given.images // 4
    whole_bytes = features_module.WHOLE_BYTES
    measured = {}
    for count, part in ((quarter, quarter), (quarter, quarter // 2), (given.images, quarter)):
        features_module.WHOLE_BYTES = whole_bytes * count // MEANT
        free = LIMIT * count // MEANT
        vars(mapped)["available_memory_bytes"] = partial(int, free)
        label_spreading.BLOCK = part
        measured[count, part] = _peak(count, given.labelled)
    first, peak = measured[quarter, quarter], measured[given.images, quarter]
    each = (peak - first) / (given.images - quarter)
    near = (first - measured[quarter, quarter // 2]) / (quarter - quarter // 2)
    result = {
        "images": given.images,
        "labelled": given.labelled,
        "limit_bytes": LIMIT,
        "peak_bytes": peak,
        "bytes_an_image": each,
        "bytes_an_image_among_neighbours": near,
        "meant_images": MEANT,
        "expected_bytes": first + each * (MEANT - quarter) + near * (block - quarter),
    }
    store(given.out, result)


def _few_steps(optimiser: Callable[..., Any], *values: Any, **settings: Any) -> Any:
    return optimiser(*values, **{**settings, "max_iter": STEPS})


def _peak(count: int, labelled: int) -> int:
    """Returns the most memory that is no file's while pseudo-labels are made, in bytes."""
    rng = np.random.default_rng(0)
    truth = rng.integers(CLASSES, size=count)
    labels = np.where(np.arange(count) < labelled, truth, -1)
    images = np.zeros((count, 16, 16, 3), np.uint8)
    supernet = Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(0))
    held, done = [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            held[0] = max(held[0], _anonymous())
            time.sleep(EACH_S)

    with tempfile.TemporaryDirectory(dir=".") as folder:
        outputs = []
        for _ in range(TEACHERS):
            centres = rng.normal(0, 1, (CLASSES, CHANNELS)).astype(np.float32)
            rows = room_for_rows(count, CHANNELS, "features", Path(folder))
            for start in range(0, count, ROWS):
                chosen = truth[start : start + ROWS]
                noise = rng.standard_normal((len(chosen), CHANNELS), np.float32)
                rows[start : start + ROWS] = torch.from_numpy(centres[chosen] + 3 * noise)
            outputs.append(TeacherOutputs(torch.empty(0, 1), rows))
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            start_from_probe(supernet, images, labels, outputs, True, place=Path(folder))
        finally:
            done.set()
            watcher.join()
    return held[0]


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


if __name__ == "__main__":
    main()
