"""What keeping freed memory between steps is worth: processor time of a training step, in turn.

`python -m tofa_edge.benchmarks.studies.training_speed`: steps of the one semi-supervised loss on a
lite0 supernet up to 64 px (32 labelled and 64 unlabelled images), one thread, each block in a
process of its own, as the C library cannot be told to forget it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from tofa_edge.benchmarks.studies.provenance import made, store
from tofa_edge.benchmarks.studies.training_study import study_supernet
from tofa_edge.benchmarks.studies.trials import in_a_process
from tofa_edge.train.config import Progress
from tofa_edge.train.objective.objectives import SemiSupervised
from tofa_edge.train.run import loop
from tofa_edge.train.run.allocation import keep_freed_memory

CLASSES, IMAGES, LABELLED = 10, 500, 200
WARM_UP = 3  # steps


def main() -> None:
    """Measures blocks in turn and stores the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="of a block")
    parser.add_argument("--blocks", type=int, default=5, help="of each")
    parser.add_argument(
        "--block", choices=("kept", "given back"), help="run one, print its seconds"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training_speed.json"))
    options = parser.parse_args()
    if options.block:
        print(json.dumps(_seconds_of_a_step(options.block == "kept", options.steps)))
        return
    rows: dict[str, list[float]] = {"kept": [], "given back": []}
    for _ in range(options.blocks):
        for block, seconds in rows.items():
            words = ["--block", block, "--steps", str(options.steps)]
            seconds.append(round(float(in_a_process("training_speed", words)), 3))
            print(f"{block}: {seconds[-1]:.2f} s of processor time a step", flush=True)
    middle = {block: round(float(np.median(seconds)), 3) for block, seconds in rows.items()}
    ratio = round(middle["kept"] / middle["given back"], 3)
    found = {"processor_s": middle, "kept_over_given_back": ratio, "blocks": rows}
    store(options.out, {"made": made(), **found})


def _seconds_of_a_step(keep: bool, steps: int) -> float:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 64, 64, 3), dtype=np.uint8)
    labels = np.where(np.arange(IMAGES) < LABELLED, np.arange(IMAGES) % CLASSES, -1)
    objective = SemiSupervised(images, labels, CLASSES, 32, 64)
    phase = loop.Phase("training", WARM_UP + steps, 5e-4)
    state = loop.begin(study_supernet(CLASSES), objective, phase)
    begun = 0.0

    def on_step(progress: Progress) -> None:
        nonlocal begun
        if progress.step == WARM_UP:
            begun = time.process_time()

    told = keep_freed_memory if keep else lambda: False
    with mock.patch.object(loop, "keep_freed_memory", told):
        loop.run(state, phase, on_step)
    return (time.process_time() - begun) / steps


if __name__ == "__main__":
    main()
