"""A supernet and the fixed network it is compared with, trained in the same processor time.

The peer is the whole EfficientNet-Lite0 at several resolutions, which share its weights: a space
that is elastic in nothing else. It is pretrained and trained by the package's own step, from the
plain network, on the same images and labels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from tofa_edge.architecture.arrays import FloatArray, IndexArray
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.benchmarks.studies.study_data import Data
from tofa_edge.benchmarks.studies.study_runs import RATIO, steps_within, study_config, study_run
from tofa_edge.benchmarks.studies.training_study import (
    Study,
    pretraining_config,
    save,
    show,
    study_supernet,
)
from tofa_edge.train.after.finishing import Taught, pack_trained
from tofa_edge.train.config import OnStep, silent
from tofa_edge.train.data.photos import Photos
from tofa_edge.train.run.phases import TrainingRun, pretrain_supernet
from tofa_edge.train.supernet.supernet import Supernet

VALIDATED = 100  # labelled photos that set the level of the accuracy predictor


@dataclass(frozen=True)
class Repetition:
    """One supernet and one peer.

    Attributes:
        labels: a class.
        draw: of the labels.
        seed: of both pretrainings.
    """

    labels: int
    draw: int
    seed: int

    @property
    def training_seed(self) -> int:
        """Of the training after it: another for each draw and pretraining."""
        return 100 * self.seed + self.draw

    def path(self, study: Study, what: str) -> Path:
        """Returns where a part of it is kept."""
        name = f"{what}-{self.labels}-{self.draw}-{self.seed}-{study.data.resolution}px"
        return study.work / name


def at_sizes(space: SearchSpace, sizes: tuple[int, ...]) -> SearchSpace:
    """Returns the space of a space's largest subnet at several sizes, in pixels."""
    stages = tuple(
        replace(stage, **{
            name: getattr(stage, name)[-1:] for name in ("widths", "depths", "kernels", "expands")
        })
        for stage in space.stages
    )  # fmt: skip
    return replace(space, stages=stages, resolutions=sizes)


def supernet_bundle(
    study: Study, labels: IndexArray, each: Repetition, predictor_subnets: int
) -> tuple[Path, float]:
    """Returns the bundle of a supernet, and the processor seconds of its training; kept.

    Its accuracy predictor is fitted to so many subnets (`predictor_subnets`).
    """
    path = each.path(study, "supernet").with_suffix(".tofa")
    kept = path.with_suffix(".safetensors")
    if not kept.exists():
        start = study.start(each.seed)
        trained, row = study_run(study, start, labels, RATIO, study.steps, each.training_seed)
        more = {"seconds": np.array([row["training_processor_s"]], np.float32)}
        if trained.pseudo_labels is not None:
            more["pseudo_labels"] = trained.pseudo_labels.numpy()
        save({**trained.supernet.to_arrays(), **more}, kept)
    arrays = dict(safetensors.numpy.load_file(kept))
    spent = float(arrays.pop("seconds")[0])
    pseudo_labels = torch.from_numpy(arrays.pop("pseudo_labels"))
    if not path.exists():
        supernet = study.supernet(arrays)
        supernet.load_arrays(arrays)
        seed = each.training_seed
        config = study_config(study.data, study.steps, labels, RATIO, seed)
        config = replace(config, predictor_subnets=predictor_subnets)
        taught = _taught(study.data, labels, pseudo_labels)
        pack_trained(path, config, supernet, taught, silent)
    return path, spent


def _taught(data: Data, labels: IndexArray, pseudo_labels: torch.Tensor) -> Taught:
    images, truth = data.validation
    validation, check = (
        Photos(data.classes, images[part], truth[part])
        for part in (slice(None, VALIDATED), slice(VALIDATED, None))
    )
    trained = Photos(data.classes, data.images, labels)
    parts = {"train": trained, "validation": validation, "check": check}
    return Taught(parts, labels, pseudo_labels)


@dataclass(frozen=True, eq=False)
class Peer:
    """The fixed network at several sizes.

    Attributes:
        study: whose images and steps.
        sizes: in pixels, ascending.
    """

    study: Study
    sizes: tuple[int, ...]

    @property
    def space(self) -> SearchSpace:
        """The whole network at the sizes."""
        return at_sizes(self.study.space(), self.sizes)

    def arrays(
        self, labels: IndexArray, each: Repetition, seconds: float
    ) -> tuple[dict[str, FloatArray], dict[str, float]]:
        """Returns its trained weights, and what it took: steps and processor seconds; kept.

        Args:
            labels: class indices, (N,); −1 where unlabelled.
            each: of which repetition.
            seconds: of processor time for the training; pretraining takes the supernet's.
        """
        path = each.path(self.study, "fixed").with_suffix(".safetensors")
        if not path.exists():
            start, pretrained = self._pretrained(each.seed)
            counts = [self._steps(labels, each, start, seconds)]
            begun = time.process_time()
            trained = self._trained(labels, each, start, counts[0], show)
            figures = np.array([*pretrained, counts[0], time.process_time() - begun], np.float32)
            save({**trained.to_arrays(), "figures": figures}, path)
        arrays = dict(safetensors.numpy.load_file(path))
        names = ("pretraining_steps", "pretraining_s", "steps", "training_s")
        return arrays, dict(zip(names, arrays.pop("figures").round(1).tolist(), strict=True))

    def _pretrained(self, seed: int) -> tuple[dict[str, FloatArray], tuple[float, float]]:
        study = self.study
        path = study.work / f"fixed-pretrained-{seed}-{study.data.resolution}px.safetensors"

        def pretrain(steps: int, on_step: OnStep = silent) -> Supernet:
            config = pretraining_config(study.data, steps, seed)
            supernet = study_supernet(replace(self.space, classes=1000))
            run = TrainingRun(config, on_step)
            teacher = study.teacher_outputs()[0]
            return pretrain_supernet(supernet, study.data.images, teacher, run)

        if not path.exists():
            steps = steps_within(study.start_seconds(seed), pretrain)
            begun = time.process_time()
            arrays = pretrain(steps, show).to_arrays()
            spent = np.array([steps, time.process_time() - begun], np.float32)
            save({**arrays, "figures": spent}, path)
        kept = dict(safetensors.numpy.load_file(path))
        count, seconds = kept.pop("figures").tolist()
        return kept, (count, seconds)

    def _steps(
        self, labels: IndexArray, each: Repetition, start: dict[str, FloatArray], seconds: float
    ) -> int:
        return steps_within(
            seconds, lambda steps: self._trained(labels, each, start, steps, silent)
        )

    def _trained(
        self,
        labels: IndexArray,
        each: Repetition,
        start: dict[str, FloatArray],
        steps: int,
        on_step: OnStep,
    ) -> Supernet:
        supernet = study_supernet(self.space, start)
        seed = each.training_seed
        given: dict[str, Any] = {"supernet": supernet, "on_step": on_step}
        trained, _ = study_run(self.study, None, labels, RATIO, steps, seed, **given)
        return trained.supernet
