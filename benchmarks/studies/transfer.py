"""What the one semi-supervised loss is worth: against labels alone, from the same start.

`python -m tofa_edge.benchmarks.studies.transfer cifar10-jpeg.zip --work study` computes the
teachers' features, pretrains a supernet without labels, trains it for each draw of labels with and
without the unlabelled images, and reads the test images once for each. The images are a zip, or
elpv or fashion-mnist. Every finished run is kept in `study/transfer.json`: started again, only what
is missing is run. Beside each draw stand probes on frozen features, with self-training.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tofa_edge.architecture.arrays import FloatArray, IndexArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.benchmarks.studies.best_subnets import best_below
from tofa_edge.benchmarks.studies.command import Row, options
from tofa_edge.benchmarks.studies.training_study import (
    POOL,
    RESOLUTION,
    WORK,
    Data,
    Study,
    read_data,
    save,
    show,
    study_space,
    subnets,
)
from tofa_edge.train.config import OnStep, TrainingConfig
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective.class_prior import class_prior
from tofa_edge.train.objective.linear_probe import fit_linear_probe, probe_accuracy
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.run.loop import Choose, sandwich
from tofa_edge.train.run.phases import TrainingRun, optimise
from tofa_edge.train.supernet.supernet import Supernet

PRETRAINING_STEP = 0.6  # its MACs over those of a semi-supervised one: 64 images, no averaged view
KINDS = {  # unlabelled images for each labelled one, whether pretrained, steps over --steps
    "semi-supervised": (2, True, 1.0),
    "labels only": (0, True, 1.0),
    "labels only, equal time": (0, True, 2.3),
    "semi-supervised, not pretrained, equal time": (2, False, 1.0),
}
CEILINGS = {f"≤ {ceiling} MMACs": ceiling for ceiling in (32, 15, 7)}
RANKED_IMAGES = 1000  # unlabelled, on which subnets below a ceiling are compared

Start = dict[str, FloatArray] | None


def main() -> None:
    given = options(
        __doc__, "images", work=WORK, labels=[25], draws=[0, 1, 2], pretrain_steps=1500, steps=1400,
        kinds={"nargs": "*", "default": list(KINDS), "choices": list(KINDS)},
        eight_only=(False, "search no subnets below ceilings"),
    )  # fmt: skip
    study = Study(read_data(given.images), given.work, given.pretrain_steps, given.steps)
    results = study.results("transfer.json")
    names = list(subnets(study_space(1))) if given.eight_only else []
    for count, draw in itertools.product(given.labels, given.draws):
        labels = forget_labels(study.data.labels, count, draw)
        of = f"{count} labels a class, draw {draw}"
        for name, features in study.probe_features().items():
            row = partial(_probe_row, *features, labels, study.data)
            results.once(f"frozen-feature probe {name}, {of}", row)
        for kind in given.kinds:
            ratio, pretrained, factor = KINDS[kind]
            steps = int(given.steps * factor)
            steps += 0 if pretrained else int(PRETRAINING_STEP * given.pretrain_steps)
            start = study.start() if pretrained else None
            run = partial(_trained_row, study, start, labels, ratio, steps, draw, names)
            results.once(f"{kind}, {steps} steps, {of}", run)
    results.print_accuracies(("largest", "middle", "smallest", *CEILINGS, "probe"))


def _probe_row(seen: torch.Tensor, test: torch.Tensor, labels: IndexArray, data: Data) -> Row:
    classes = len(data.classes)
    probe = fit_linear_probe(seen, labels, classes, prior=class_prior(seen, labels, classes))
    return {"accuracy": {"probe": probe_accuracy(probe, test, data.test_labels)}}


def _trained_row(
    study: Study,
    start: Start,
    labels: IndexArray,
    ratio: int,
    steps: int,
    seed: int,
    names: Sequence[str],
) -> Row:
    trained, row = study_run(study, start, labels, ratio, steps, seed)
    if ratio and start is not None:
        save(trained.to_arrays(), trained_path(study.work, labels, seed))
    return {**row, **measured_on_test(trained, study.data, names)}


def study_run(
    study: Study,
    start: Start,
    labels: IndexArray,
    ratio: int,
    steps: int,
    seed: int,
    choose: Choose = sandwich,
    teacher_outputs: Sequence[TeacherOutputs] | None = None,
    on_step: OnStep = show,
) -> tuple[Supernet, Row]:
    """Returns a trained supernet and the seconds of its training, the probe included.

    Args:
        labels: class indices, (N,); −1 where unlabelled.
    """
    data = study.data
    used = labels >= 0 if not ratio else np.ones(len(labels), bool)
    if teacher_outputs is None:
        teacher_outputs = study.teacher_outputs() if ratio else ()
    config = study_config(steps, labels, ratio, seed, len(data.images))
    supernet = data.supernet(start)
    begun = time.perf_counter()
    more: dict[str, Any] = {"choose": choose, "teacher_outputs": teacher_outputs}
    trained = optimise(
        supernet, data.images[used], labels[used], TrainingRun(config, on_step), **more
    )
    return trained.supernet, {"training_s": round(time.perf_counter() - begun, 1)}


def study_config(
    steps: int, labels: IndexArray, ratio: int, seed: int, images: int = POOL
) -> TrainingConfig:
    """Returns how a run trains.

    Args:
        labels: class indices, (N,); −1 where unlabelled.
    """
    pool = images // (32 * ratio) if ratio else max(1, int((labels >= 0).sum()) // 32)
    return TrainingConfig(
        epochs=steps / pool + 1e-9,
        resolution=RESOLUTION,
        unlabelled_ratio=ratio,
        seed=seed,
    )


def measured_on_test(supernet: Supernet, data: Data, names: Sequence[str] = ()) -> Row:
    """Returns the accuracy of subnets on the test images, and their MMACs.

    Without names, of all, and of the best below each ceiling of MACs, found without any label.
    """
    space, arrays, chosen = supernet.space, supernet.to_arrays(), subnets(supernet.space)
    if names:
        chosen = {name: chosen[name] for name in names}
    else:
        best = best_below(supernet, data.images[:RANKED_IMAGES], list(CEILINGS.values()))
        chosen |= {name: best[ceiling] for name, ceiling in CEILINGS.items()}
    return {
        "mmacs": {name: round(macs(layers(space, s)) / 1e6, 1) for name, s in chosen.items()},
        "accuracy": {name: data.accuracy(space, s, arrays) for name, s in chosen.items()},
    }


def trained_path(work: Path, labels: IndexArray, draw: int) -> Path:
    """Returns where the supernet of a semi-supervised run is kept.

    Args:
        labels: of the training images, (N,); −1 where there is none.
    """
    count = int(np.bincount(labels[labels >= 0]).max())
    return work / f"trained-{count}-{draw}.safetensors"


if __name__ == "__main__":
    main()
