"""Whether a supernet pretrained on photos of anything is a better start than a plain network.

`python -m tofa_edge.benchmarks.studies.pretraining_gate pool --work gate --steps 5000` pretrains a
supernet on crops of the photos in `pool` (`photo_pool.py` gathers some), then, on each set, goes on
from it for 300 steps on the set's own photos, without labels, and from the plain network for 1,000.
Linear probes of frozen features of eight subnets of even sizes, fitted to 25 labels a class, tell
which is ahead; the mean over subnets and draws of labels counts. The gate is open if the pretrained
supernet is not behind on two sets of three.

Every finished part is kept in the folder, and a checkpoint of the one that is running: after
Ctrl-C, SIGTERM (`timeout 3h python -m …`) or a crash, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from tofa_edge.benchmarks.studies.command import Row
from tofa_edge.benchmarks.studies.study_data import DEVELOPMENT, TEST, Data, read_data
from tofa_edge.benchmarks.studies.study_runs import frozen_probes
from tofa_edge.benchmarks.studies.training_study import (
    EVEN,
    MEAN,
    Start,
    Study,
    save,
    show,
    study_space,
    training_options,
)
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import PRETRAINED, PRETRAINING, TrainingConfig
from tofa_edge.train.data.files.folders import list_files
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective.objectives import Distillation
from tofa_edge.train.objective.teachers import TeacherOutputs, run_teacher
from tofa_edge.train.run.checkpoint import Checkpoints
from tofa_edge.train.run.crop_pretraining import CropPretraining, pretrain_on_crops
from tofa_edge.train.run.loop import Phase
from tofa_edge.train.run.phases import PRETRAINING_BATCH, TrainingRun, train_phase
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

SETS = ("cifar10-jpeg.zip", "elpv", "fashion-mnist")
LABELS = 25  # a class
TASK_STEPS, PLAIN_TASK_STEPS = 300, 1000
SETS_TO_WIN = 2
PLAIN, GENERAL = "plain", "pretrained"


def main() -> None:
    """Runs the command."""
    given = training_options(
        __doc__, "pool", steps=(5000, "of pretraining on the pool"), sets=[*SETS], draws=[0, 1, 2],
        task_steps=(TASK_STEPS, "on a set's photos, from the pretrained supernet"),
        plain_task_steps=(PLAIN_TASK_STEPS, "the same from the plain network"),
        batch=(PRETRAINING_BATCH, "crops a step"),
        crop=(CropPretraining(1).teacher_resolution, "px, of crops and of the teachers' input"),
        steps_per_batch=(CropPretraining(1).steps_per_batch, "that the same crops serve"),
        teachers=[*PRETRAINED],
    )  # fmt: skip
    given.work.mkdir(parents=True, exist_ok=True)
    starts: Mapping[str, Callable[[], Start]] = {
        PLAIN: lambda: load_lite("lite0")[1],
        GENERAL: partial(_pretrained, given),
    }
    gains = {}
    for source in given.sets:
        data = read_data(Path(source), given.resolution, TEST if given.test else DEVELOPMENT)
        gains[Path(source).stem] = _gain(data, Path(source).stem, starts, given)
    won = sum(gain >= 0 for gain in gains.values())
    verdict = {"gains": gains, "sets_not_behind": won, "open": won >= SETS_TO_WIN}
    print(json.dumps(verdict), flush=True)


def _gain(
    data: Data, name: str, starts: Mapping[str, Callable[[], Start]], given: argparse.Namespace
) -> float:
    """Returns by how much the pretrained supernet is ahead on a set, 0..1; negative: behind."""
    study = Study(data, given.work)
    results = study.results(f"pretraining_gate-{name}-{given.steps}.json")
    runs = [(PLAIN, 0), (GENERAL, 0), (GENERAL, given.task_steps)]
    runs += [(PLAIN, given.task_steps), (PLAIN, given.plain_task_steps)]
    for start, steps in runs:
        run = partial(_row, study, name, start, starts[start], steps, given)
        results.once(_called(start, steps), run)
    accuracy = {
        start: results.rows[_called(start, steps)]["accuracy"][MEAN]
        for start, steps in ((GENERAL, given.task_steps), (PLAIN, given.plain_task_steps))
    }
    gain: float = round(accuracy[GENERAL] - accuracy[PLAIN], 4)
    print(f"{name}: {accuracy}, ahead by {100 * gain:.1f} points", flush=True)
    return gain


def _called(start: str, steps: int) -> str:
    return f"{start}, {steps} steps on the set"


def _row(
    study: Study,
    name: str,
    start: str,
    read: Callable[[], Start],
    steps: int,
    given: argparse.Namespace,
) -> Row:
    space = replace(study_space(len(study.data.classes), given.resolution), classes=1000)
    supernet = Supernet(space, LITE_PREPROCESSING)
    supernet.load_arrays(read())
    if steps:
        kept = given.work / f"task-{name}-{start}-{steps}"
        supernet = _on_the_set(supernet, study, name, steps, kept)
    return {"accuracy": _probed(supernet, study.data, given.draws)}


def _on_the_set(supernet: Supernet, study: Study, name: str, steps: int, kept: Path) -> Supernet:
    """Returns a supernet after pretraining steps on a set's photos, by the plain network."""
    images, outputs = study.data.images, _outputs(study, name)
    objective = Distillation(images, outputs.logits, outputs.features, PRETRAINING_BATCH)
    phase = Phase(PRETRAINING, steps, TrainingConfig().learning_rate)
    checkpoints = _checkpoints(kept, {"steps": str(steps), "resolution": str(images.shape[1])})
    learned = train_phase(supernet, objective, phase, show, checkpoints)
    checkpoints.remove()
    return learned


def _outputs(study: Study, name: str) -> TeacherOutputs:
    """Returns the plain network's outputs for a set's training photos, computed once."""
    path = study.work / f"teacher-{name}-{study.data.resolution}px.safetensors"
    if not path.exists():
        made = run_teacher("lite0", study.data.images, torch.device("cpu"))
        save({"logits": made.logits.numpy(), "features": made.features.numpy()}, path)
    arrays = safetensors.numpy.load_file(path)
    return TeacherOutputs(*(torch.from_numpy(arrays[role]) for role in ("logits", "features")))


def _probed(supernet: Supernet, data: Data, draws: Sequence[int]) -> dict[str, float]:
    """Returns the accuracy of probes of even subnets, over draws of labels, and their mean."""
    each = [
        frozen_probes(supernet, data, forget_labels(data.labels, LABELS, draw), EVEN)
        for draw in draws
    ]
    accuracy = {name: float(np.mean([found[name] for found in each])) for name in EVEN}
    return {**accuracy, MEAN: float(np.mean([*accuracy.values()]))}


def _pretrained(given: argparse.Namespace) -> Start:
    """Returns the arrays of the supernet pretrained on the pool, made once."""
    size = f"{given.batch}x{given.crop}px"
    path = given.work / f"pretrained-{given.steps}-{size}-{given.resolution}px.safetensors"
    if not path.exists():
        config = TrainingConfig(resolution=given.resolution)
        supernet = Supernet(study_space(1000, given.resolution), LITE_PREPROCESSING)
        supernet.load_arrays(load_lite("lite0")[1])
        how = CropPretraining(
            given.steps, tuple(given.teachers), given.batch, given.crop, given.steps_per_batch
        )
        paths = list_files(given.pool).paths
        checkpoints = _checkpoints(path, {"how": str(how), "photos": str(len(paths))})
        run = TrainingRun(config, show, checkpoints)
        learned, _ = pretrain_on_crops(supernet, paths, how, run)
        save(learned.to_arrays(), path)
        checkpoints.remove()
    return dict(safetensors.numpy.load_file(path))


def _checkpoints(kept: Path, identity: Mapping[str, str]) -> Checkpoints:
    """Returns the checkpoint beside a file, gone on with if there is one."""
    there = kept.with_name(f"{kept.name}.checkpoint").exists()
    checkpoints = Checkpoints.open(kept, resume=there)
    checkpoints.identify(identity)
    return checkpoints


if __name__ == "__main__":
    main()
