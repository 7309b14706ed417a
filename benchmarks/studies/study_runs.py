"""Runs of the studies of training: how they train, for how long, and what is measured of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.benchmarks.studies.best_subnets import best_below
from tofa_edge.benchmarks.studies.command import Row
from tofa_edge.benchmarks.studies.study_data import Data, Right
from tofa_edge.benchmarks.studies.training_study import Start, Study, show, subnets
from tofa_edge.train.config import OnStep, TrainingConfig
from tofa_edge.train.objective.linear_probe import (
    fit_linear_probe,
    probe_accuracy,
    subnet_features,
)
from tofa_edge.train.objective.subnets import stratified
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.run.loop import Choose
from tofa_edge.train.run.phases import Optimised, TrainingRun, optimise
from tofa_edge.train.supernet.supernet import Supernet

RATIO = TrainingConfig().unlabelled_ratio
CEILINGS = {f"≤ {ceiling} MMACs": ceiling for ceiling in (71, 32, 15, 7)}
RANKED_IMAGES = 1000  # unlabelled, on which subnets below a ceiling are compared
LEAST_SHARE = 0.25  # of the longer pilot is taken by its steps: less is an error of the clock
PILOTS = (12, 36)  # steps of two short trainings: a third of them at the highest resolution


def study_run(
    study: Study,
    start: Start | None,
    labels: IndexArray,
    ratio: int,
    steps: int,
    seed: int,
    choose: Choose = stratified,
    supernet: Supernet | None = None,
    on_step: OnStep = show,
) -> tuple[Optimised, Row]:
    """Returns a trained supernet and the seconds of its training, the probe included.

    Args:
        study: whose images and teachers.
        start: the weights of the pretrained supernet; None: of the plain network.
        labels: class indices, (N,); −1 where unlabelled.
        ratio: unlabelled images for each labelled one.
        steps: how many.
        seed: of the run.
        choose: the subnets of a step.
        supernet: that is trained, with its classifier; None: the study's, from the start.
        on_step: called after each step.
    """
    used = labels >= 0 if not ratio else np.ones(len(labels), bool)
    outputs = study.teacher_outputs()
    teachers: Sequence[TeacherOutputs] = outputs if ratio else ()
    config = study_config(study.data, steps, labels, ratio, seed)
    supernet = supernet or study.supernet(start)
    begun = time.perf_counter(), time.process_time()
    trained = optimise(
        supernet, study.data.images[used], labels[used], TrainingRun(config, on_step),
        choose=choose, teacher_outputs=teachers,
    )  # fmt: skip
    spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
    names = ("training_s", "training_processor_s")
    return trained, {name: round(each, 1) for name, each in zip(names, spent, strict=True)}


def study_config(
    data: Data, steps: int, labels: IndexArray, ratio: int, seed: int
) -> TrainingConfig:
    """Returns how a run trains.

    Args:
        data: the images.
        steps: how many.
        labels: class indices, (N,); −1 where unlabelled.
        ratio: unlabelled images for each labelled one.
        seed: of the run.
    """
    batch = TrainingConfig().batch_size
    pool = len(data.images) // (batch * ratio) if ratio else int((labels >= 0).sum()) // batch
    return TrainingConfig(
        epochs=steps / max(1, pool) + 1e-9,
        resolution=data.resolution,
        unlabelled_ratio=ratio,
        seed=seed,
    )


def steps_within(seconds: float, train: Callable[[int], object]) -> int:
    """Returns how many steps take so much processor time, from two short trainings.

    What a training does once, however long it is, is told apart from its steps.

    Args:
        seconds: of processor time.
        train: trains for a number of steps, from the same start each time.
    """
    spent = []
    for steps in PILOTS:
        begun = time.process_time()
        train(steps)
        spent.append(time.process_time() - begun)
    each = max((spent[1] - spent[0]) / (PILOTS[1] - PILOTS[0]), LEAST_SHARE * spent[1] / PILOTS[1])
    once = max(0.0, spent[0] - PILOTS[0] * each)
    return max(1, int((seconds - once) / each))


def measured(supernet: Supernet, data: Data, names: Sequence[str] = ()) -> Row:
    """Returns the accuracy of subnets on what the data tests on, and their MMACs.

    Without names, of all, and of the best below each ceiling of MACs, found without any label.
    """
    space, arrays, chosen = supernet.space, supernet.to_arrays(), subnets(supernet.space)
    if names:
        chosen = {name: chosen[name] for name in names}
    else:
        best = best_below(supernet, data.images[:RANKED_IMAGES], list(CEILINGS.values()))
        chosen |= {name: best[ceiling] for name, ceiling in CEILINGS.items()}
    return {
        "mmacs": {name: mmacs(space, subnet) for name, subnet in chosen.items()},
        "accuracy": {name: data.accuracy(space, s, arrays) for name, s in chosen.items()},
    }


def mmacs(space: SearchSpace, subnet: Subnet) -> float:
    """Returns the MACs of a subnet, in millions, to one digit."""
    return round(macs(layers(space, subnet)) / 1e6, 1)


def best_on_other_half(
    right: Right, costs: Sequence[float], ceilings: Mapping[str, float]
) -> dict[str, float]:
    """Returns the accuracy of the best subnet below each ceiling, by the ceiling's name.

    It is chosen by one half of the images and scored on the other, both ways. Ceilings that no
    subnet is below are left out.

    Args:
        right: whether each subnet is right on each image, (subnets, images).
        costs: of the subnets.
        ceilings: of the costs.
    """
    first, second = (right[:, part::2].mean(axis=1) for part in (0, 1))
    found = {}
    for name, ceiling in ceilings.items():
        fits = np.asarray(costs) <= ceiling
        if fits.any():
            scores = [
                scored[np.argmax(np.where(fits, chosen_by, -1))]
                for chosen_by, scored in ((first, second), (second, first))
            ]
            found[name] = float(np.mean(scores))
    return found


def frozen_probes(
    supernet: Supernet, data: Data, labels: IndexArray, names: Iterable[str]
) -> dict[str, Any]:
    """Returns the accuracy of linear probes of the frozen features of subnets, from labels alone.

    Args:
        supernet: whose features are read.
        data: the images.
        labels: class indices, (N,); −1 where unlabelled.
        names: of `subnets`.
    """
    known, classes, found = labels >= 0, len(data.classes), {}
    named = subnets(supernet.space)
    for name in names:
        seen, tested = (
            subnet_features(supernet, named[name], images)
            for images in (data.images[known], data.test_images)
        )
        probe = fit_linear_probe(seen, labels[known], classes, rounds=0)
        found[name] = probe_accuracy(probe, tested, data.test_labels)
    return found


def trained_path(work: Path, labels: IndexArray, draw: int) -> Path:
    """Returns where the supernet of a semi-supervised run is kept.

    Args:
        work: the study's folder.
        labels: of the training images, (N,); −1 where there is none.
        draw: of the labels.
    """
    count = int(np.bincount(labels[labels >= 0]).max())
    return work / f"trained-{count}-{draw}.safetensors"
