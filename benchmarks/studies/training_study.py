"""What studies of training share: options, a folder, the pretrained start, teacher features."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.encodings import decoded
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.benchmarks.studies.command import Results, options
from tofa_edge.benchmarks.studies.study_data import DEVELOPMENT, RESOLUTION, TEST, Data, read_data
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import Progress, TrainingConfig
from tofa_edge.train.objective.teachers import TeacherOutputs, run_teacher
from tofa_edge.train.run.phases import PRETRAINING_BATCH, TrainingRun, pretrain_supernet
from tofa_edge.train.supernet.efficientnet_lite import load_lite, new_classifier
from tofa_edge.train.supernet.supernet import Supernet

WORK = Path("study")
TEACHERS = ("lite0", "lite1", "lite2")
BASELINE = 128  # px: the frozen features that every table shows
NAMED = ("largest", "middle", "smallest")
EVEN = tuple(f"even {number}" for number in range(1, 9))  # subnets of all sizes
MEAN = "mean of even ones"

Start = dict[str, FloatArray]


def training_options(document: str | None, *paths: str, **defaults: Any) -> argparse.Namespace:
    """Returns the options of a study of training: what `options` takes, and those of all.

    Accuracies are of the development set unless `--test` is given.
    """
    common = {"work": WORK, "resolution": (RESOLUTION, "px, of the largest input")}
    test = (False, "read the test images, not the development set")
    return options(document, *paths, **common, test=test, **defaults)


@dataclass(frozen=True, eq=False)
class Study:
    """What the runs of a study share, made once and kept in its folder.

    Attributes:
        data: the images.
        work: the folder.
        pretrain_steps: of the pretrained start.
        steps: of a run.
    """

    data: Data
    work: Path
    pretrain_steps: int = 0
    steps: int = 0

    @staticmethod
    def of(given: argparse.Namespace) -> Study:
        """Returns the study that a command's options ask for."""
        tested_on = TEST if given.test else DEVELOPMENT
        data = read_data(given.images, given.resolution, tested_on)
        steps = [getattr(given, name, 0) for name in ("pretrain_steps", "steps")]
        return Study(data, given.work, *steps)

    def results(self, name: str) -> Results:
        """Returns the finished runs of a file in the folder, which is made if need be.

        Those of the development set are kept apart.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        path = self.work / name
        if self.data.tested_on == DEVELOPMENT:
            path = path.with_stem(f"{path.stem}_{DEVELOPMENT}")
        fields = {"tested_on": self.data.tested_on, "resolution": self.data.resolution}
        return Results(path, threads=torch.get_num_threads(), **fields)

    def space(self) -> SearchSpace:
        return study_space(len(self.data.classes), self.data.resolution)

    def supernet(self, arrays: Start | None) -> Supernet:
        """Returns a supernet with a new classifier; without arrays, of the plain network's."""
        return study_supernet(self.space(), arrays)

    def teacher_outputs(self) -> tuple[TeacherOutputs, ...]:
        """Returns the teachers' logits and features of the training images."""
        return tuple(self._outputs(name, "train", None) for name in TEACHERS)

    def probe_features(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Returns the features that probes are fitted to, of training and test images, by name."""
        small, *large = (
            [self._outputs(name, role, size).features for role in ("train", self.data.tested_on)]
            for name, size in (("lite0", BASELINE), *((name, None) for name in TEACHERS))
        )
        joined = [torch.cat(parts, dim=1) for parts in zip(*large, strict=True)]
        return {"lite0 128 px": (small[0], small[1]), "teachers": (joined[0], joined[1])}

    def start(self, seed: int = 0) -> Start:
        """Returns the arrays of the supernet pretrained by a seed, with ImageNet's classes."""
        path = self._kept(f"pretrained-{self.pretrain_steps}{f'-{seed}' * bool(seed)}")
        if not path.exists():
            config = pretraining_config(self.data, self.pretrain_steps, seed)
            outputs, begun = self.teacher_outputs()[0], time.process_time()
            supernet = study_supernet(replace(self.space(), classes=1000))
            run = TrainingRun(config, show)
            supernet = pretrain_supernet(supernet, self.data.images, outputs, run)
            seconds = time.process_time() - begun
            print(f"pretrained in {seconds:.0f} s of processor time", flush=True)
            save({**supernet.to_arrays(), SECONDS: np.array([seconds], np.float32)}, path)
        return {name: array for name, array in _read(path).items() if name != SECONDS}

    def start_seconds(self, seed: int = 0) -> float:
        """Returns the processor seconds of that pretraining, without the teacher's features."""
        self.start(seed)
        path = self._kept(f"pretrained-{self.pretrain_steps}{f'-{seed}' * bool(seed)}")
        return float(_read(path)[SECONDS][0])

    def teacher_seconds(self) -> float:
        """Returns the processor seconds in which the teachers saw the training images."""
        self.teacher_outputs()
        paths = [self._kept(f"teacher-{name}-large-train") for name in TEACHERS]
        return sum(float(_read(path)[SECONDS][0]) for path in paths)

    def _kept(self, name: str) -> Path:
        return self.work / f"{name}-{self.data.resolution}px.safetensors"

    def _outputs(self, name: str, role: str, size: int | None) -> TeacherOutputs:
        path = self._kept(f"teacher-{name}-{size or 'large'}-{role}")
        if not path.exists():
            images = self.data.images if role == "train" else self.data.test_images
            begun = time.process_time()
            outputs = run_teacher(name, images, torch.device("cpu"), resolution=size)
            seconds = time.process_time() - begun
            print(f"{path.stem}: {seconds:.0f} s of processor time", flush=True)
            figures = {"logits": outputs.logits.numpy(), "features": outputs.features.numpy()}
            save({**figures, SECONDS: np.array([seconds], np.float32)}, path)
        arrays = _read(path)
        return TeacherOutputs(*(torch.from_numpy(arrays[name]) for name in ("logits", "features")))


def pretraining_config(data: Data, steps: int, seed: int) -> TrainingConfig:
    """Returns how a supernet is pretrained for so many steps."""
    epochs = steps / max(1, len(data.images) // PRETRAINING_BATCH) + 1e-9
    return TrainingConfig(pretrain_epochs=epochs, resolution=data.resolution, seed=seed)


SECONDS = "processor_s"  # beside the arrays of a file: what they took


def _read(path: Path) -> dict[str, FloatArray]:
    return dict(safetensors.numpy.load_file(path))


def save(arrays: dict[str, FloatArray], path: Path) -> None:
    """Writes arrays as safetensors, whole or not at all; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    safetensors.numpy.save_file(arrays, temporary)
    temporary.replace(path)


def subnets(space: SearchSpace) -> dict[str, Subnet]:
    """Returns the subnets that are tested: three named ones and eight of all sizes."""
    ends = {"largest": space.largest(), "middle": space.middle(), "smallest": space.smallest()}
    even = decoded(space, sample(space, np.random.default_rng(7), len(EVEN)))
    return {**ends, **dict(zip(EVEN, even, strict=True))}


def study_space(classes: int, resolution: int = RESOLUTION) -> SearchSpace:
    """Returns the lite0 space up to a resolution in pixels."""
    space = efficientnet_lite0()
    resolutions = tuple(size for size in space.resolutions if size <= resolution)
    return replace(space, classes=classes, resolutions=resolutions)


def study_supernet(space: SearchSpace, arrays: Start | None = None) -> Supernet:
    """Returns a supernet of lite0's weights with a new classifier.

    Args:
        space: whose largest subnet is Lite0 but for resolution and classes.
        arrays: its weights, with any classes; None takes those of the plain network.
    """
    supernet = Supernet(space, LITE_PREPROCESSING)
    arrays = arrays or load_lite("lite0")[1]
    kept = new_classifier(arrays, space.classes, np.random.default_rng(0))
    supernet.load_arrays(kept)
    return supernet


def show(progress: Progress) -> None:
    if progress.step % 50 == 0 or progress.step == progress.steps:
        losses = " ".join(f"{loss:.2f}" for loss in progress.losses)
        figures = " ".join(f"{name} {value:.2f}" for name, value in progress.metrics.items())
        text = f"{progress.phase} {progress.step}/{progress.steps}: {losses} {figures}"
        print(f"{text} ({progress.seconds:.0f} s)", flush=True)
