"""What keeping freed memory between steps is worth: processor time of a training step, in turn.

`python -m tofa_edge.benchmarks.studies.training_speed`: steps of the one semi-supervised loss on a
lite0 supernet up to 64 px (32 labelled and 64 unlabelled images), one thread, each block in a
process of its own, as the C library cannot be told to forget it.
"""

from __future__ import annotations

import json
import time
from unittest import mock

import numpy as np
import torch

from tofa_edge.benchmarks.studies.command import RESULTS, options, store, study_answer
from tofa_edge.benchmarks.studies.training_study import study_space, study_supernet
from tofa_edge.train.config import LEARNING_RATE, Progress
from tofa_edge.train.objective.objectives import SemiSupervised
from tofa_edge.train.run import loop
from tofa_edge.train.run.allocation import keep_freed_memory

CLASSES, IMAGES, LABELLED = 10, 500, 200
WARM_UP = 3  # steps


def main() -> None:
    given = options(
        __doc__, steps=(10, "of a block"), blocks=(5, "of each"),
        block={"choices": ("kept", "given back"), "help": "run one, print its seconds"},
        out=RESULTS / "training_speed.json",
    )  # fmt: skip
    if given.block:
        print(json.dumps(_seconds_of_a_step(given.block == "kept", given.steps)))
        return
    rows: dict[str, list[float]] = {"kept": [], "given back": []}
    for _ in range(given.blocks):
        for block, seconds in rows.items():
            step_s = study_answer("training_speed", "--block", block, "--steps", given.steps)
            seconds.append(round(float(step_s), 3))
            print(f"{block}: {seconds[-1]:.2f} s of processor time a step", flush=True)
    medians = {block: round(float(np.median(seconds)), 3) for block, seconds in rows.items()}
    ratio = round(medians["kept"] / medians["given back"], 3)
    store(given.out, {"processor_s": medians, "kept_over_given_back": ratio, "blocks": rows})


def _seconds_of_a_step(keep: bool, steps: int) -> float:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 64, 64, 3), dtype=np.uint8)
    labels = np.where(np.arange(IMAGES) < LABELLED, np.arange(IMAGES) % CLASSES, -1)
    objective = SemiSupervised(images, labels, CLASSES, 32, 64)
    phase = loop.Phase("training", WARM_UP + steps, LEARNING_RATE)
    state = loop.begin(study_supernet(study_space(CLASSES)), objective, phase)
    begun = 0.0

    def on_step(progress: Progress) -> None:
        nonlocal begun
        if progress.step == WARM_UP:
            begun = time.process_time()

    keeping = keep_freed_memory if keep else lambda: False
    with mock.patch.object(loop, "keep_freed_memory", keeping):
        loop.run(state, phase, on_step)
    return (time.process_time() - begun) / steps


if __name__ == "__main__":
    main()
