"""What the one semi-supervised loss is worth: against labels alone, from the same start.

`python -m tofa_edge.benchmarks.studies.transfer cifar10-jpeg.zip --work study` lets the teachers
look, pretrains a supernet without labels, trains it for each draw of labels with and without the
unlabelled images, and reads the test images once for each. Every finished run is kept in
`study/transfer.json`: started again, only what is missing is run. Beside each draw stand probes on
frozen features, with self-training.
"""

from __future__ import annotations

import argparse
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
from tofa_edge.architecture.space import Subnet
from tofa_edge.benchmarks.studies.picking import picked_below
from tofa_edge.benchmarks.studies.study import (
    POOL,
    RESOLUTION,
    Data,
    Results,
    Study,
    read_data,
    save,
    show,
    study_space,
    study_supernet,
    subnets,
)
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import OnStep, TrainingConfig
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective.class_prior import class_prior
from tofa_edge.train.objective.linear_probe import fit_linear_probe, probe_accuracy
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.run.loop import Choose, sandwich
from tofa_edge.train.run.phases import optimise
from tofa_edge.train.run.subnet_accuracy import accuracy, subnet_logits
from tofa_edge.train.supernet.supernet import Supernet

RESULTS = "transfer.json"
PRETRAINING_STEP = 0.6  # its MACs over those of a semi-supervised one: 64 images, no averaged view
KINDS = {  # unlabelled images for each labelled one, whether pretrained, steps over --steps
    "semi-supervised": (2, True, 1.0),
    "labels only": (0, True, 1.0),
    "labels only, equal time": (0, True, 2.3),
    "semi-supervised, not pretrained, equal time": (2, False, 1.0),
}
CEILINGS = (32, 15, 7)  # MMACs
RANKED_IMAGES = 1000  # unlabelled, on which subnets below a ceiling are compared


def main() -> None:
    """Runs what is missing of the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "images", type=Path, help="zip of */{train,test}/<class>/*.jpg, or elpv or fashion-mnist"
    )
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--labels", type=int, nargs="*", default=[25], help="a class")
    parser.add_argument("--draws", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--eight-only", action="store_true", help="pick no subnets below ceilings")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    results = Results(options.work / RESULTS)
    study = Study(read_data(options.images), options.work, options.pretrain_steps, options.steps)
    names = list(subnets(study_space(1))) if options.eight_only else []
    for count, draw in itertools.product(options.labels, options.draws):
        labels = forget_labels(study.data.labels, count, draw)
        of = f"{count} labels a class, draw {draw}"
        for name, features in study.engine_records().items():
            row = partial(_probe_row, features, labels, study.data)
            results.once(f"frozen-feature probe {name}, {of}", row)
        for kind in options.kinds:
            ratio, pretrained, factor = KINDS[kind]
            steps = int(options.steps * factor)
            steps += 0 if pretrained else int(PRETRAINING_STEP * options.pretrain_steps)
            start = study.start() if pretrained else None
            run = partial(_trained_row, study, start, labels, ratio, steps, draw, names)
            results.once(f"{kind}, {steps} steps, {of}", run)
    _print(results)


def _probe_row(
    seen: tuple[torch.Tensor, torch.Tensor], labels: IndexArray, data: Data
) -> dict[str, Any]:
    classes = len(data.classes)
    probe = fit_linear_probe(seen[0], labels, classes, prior=class_prior(seen[0], labels, classes))
    return {"accuracy": {"probe": probe_accuracy(probe, seen[1], data.test_labels)}}


def _trained_row(
    study: Study,
    start: dict[str, FloatArray] | None,
    labels: IndexArray,
    ratio: int,
    steps: int,
    seed: int,
    names: Sequence[str],
) -> dict[str, Any]:
    trained, seconds = study_run(study, start, labels, ratio, steps, seed)
    if ratio and start is not None:
        save(trained.to_arrays(), trained_path(study.work, labels, seed))
    return {"training_s": round(seconds, 1), **measured_on_test(trained, study.data, names)}


def study_run(
    study: Study,
    start: dict[str, FloatArray] | None,
    labels: IndexArray,
    ratio: int,
    steps: int,
    seed: int,
    choose: Choose = sandwich,
    teacher_outputs: Sequence[TeacherOutputs] | None = None,
    on_step: OnStep = show,
) -> tuple[Supernet, float]:
    """Returns a trained supernet and the seconds of its training, the probe included.

    Args:
        labels: class indices, (N,); −1 where unlabelled.
    """
    data = study.data
    used = labels >= 0 if not ratio else np.ones(len(labels), bool)
    if teacher_outputs is None:
        teacher_outputs = study.teacher_outputs() if ratio else ()
    config = study_config(steps, labels, ratio, seed, len(data.images))
    supernet = study_supernet(len(data.classes), start)
    begun = time.perf_counter()
    trained = optimise(
        supernet,
        data.images[used],
        labels[used],
        config,
        on_step,
        choose=choose,
        teacher_outputs=teacher_outputs,
    )
    return trained, time.perf_counter() - begun


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
        learning_rate=5e-4,
    )


def measured_on_test(supernet: Supernet, data: Data, names: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the accuracy of subnets on the test images, and their MMACs."""
    space, arrays = supernet.space, supernet.to_arrays()
    seen = data.images[:CALIBRATION_IMAGES]
    row: dict[str, dict[str, float]] = {"mmacs": {}, "accuracy": {}}
    chosen = subnets(space)
    chosen = {name: chosen[name] for name in names} if names else chosen | below(supernet, data)
    for name, subnet in chosen.items():
        logits = subnet_logits(space, subnet, arrays, LITE_PREPROCESSING, seen, data.test_images)
        row["accuracy"][name] = accuracy(logits, data.test_labels)
        row["mmacs"][name] = round(macs(layers(space, subnet)) / 1e6, 1)
    return row


def below(supernet: Supernet, data: Data) -> dict[str, Subnet]:
    """Returns the best subnet below each ceiling of MACs, without looking at any label."""
    picked = picked_below(supernet, data.images[:RANKED_IMAGES], CEILINGS)
    return {f"≤ {ceiling} MMACs": subnet for ceiling, subnet in picked.items()}


def trained_path(work: Path, labels: IndexArray, draw: int) -> Path:
    """Returns where the supernet of a semi-supervised run is kept.

    Args:
        labels: of the training images, (N,); −1 where there is none.
    """
    count = int(np.bincount(labels[labels >= 0]).max())
    return work / f"trained-{count}-{draw}.safetensors"


def _print(results: Results) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in results.rows.items():
        groups.setdefault(name.rsplit(", draw", 1)[0], []).append(row)
    for group, rows in groups.items():
        parts = []
        for size in ("largest", "middle", "smallest", *(f"≤ {n} MMACs" for n in CEILINGS), "probe"):
            found = [100 * row["accuracy"][size] for row in rows if size in row["accuracy"]]
            if found:
                spread = np.std(found, ddof=1) if len(found) > 1 else 0.0
                parts.append(f"{size} {np.mean(found):.1f} ± {spread:.1f} %")
        print(f"{group} ({len(rows)} draws): {', '.join(parts)}")


if __name__ == "__main__":
    main()
