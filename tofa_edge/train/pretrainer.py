"""Pretraining for long, on crops of photos of anything: a supernet that every task starts from."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tofa_edge.errors import TrainingError
from tofa_edge.train.after.packing import Contents, pack
from tofa_edge.train.config import (
    PRETRAINED,
    PROBE_EVERY,
    OnStep,
    Progress,
    Report,
    TrainingConfig,
    silent,
)
from tofa_edge.train.data.reading import PLAIN, ReadingOptions
from tofa_edge.train.data.sources import list_unlabelled
from tofa_edge.train.run.checkpoint import Checkpoints, saying_how_to_resume
from tofa_edge.train.run.crop_pretraining import CropPretraining, pretrain_on_crops
from tofa_edge.train.run.feature_probe import FeatureProbe, ProbeLog
from tofa_edge.train.run.output_file import trained_file
from tofa_edge.train.run.phases import TrainingRun
from tofa_edge.train.run.session import join, to_ship
from tofa_edge.train.supernet.start import new_supernet, read_start

log = logging.getLogger(__name__)

DECIDES = ("start", "resolution", "flips", "learning_rate", "seed")  # attributes of a config


@dataclass(frozen=True, slots=True)
class Probing:
    """How a run finds out whether it still helps.

    Attributes:
        data: labelled photos: a folder with a folder for each class, a CSV file, or a named set.
        every: steps between two probes.

    Raises:
        TrainingError: on construction, `every` is below 1.
    """

    data: Path
    every: int = PROBE_EVERY

    def __post_init__(self) -> None:
        if self.every < 1:
            raise TrainingError(f"a probe wants 1 step or more between two, got {self.every}")


def pretrain_on_photos(
    images: Path,
    out: Path,
    how: CropPretraining,
    config: TrainingConfig | None = None,
    probing: Probing | None = None,
    on_step: OnStep = silent,
    resume: bool = False,
    overwrite: bool = False,
    reading: ReadingOptions = PLAIN,
) -> Report:
    """Distils pretrained networks into all subnets of a space, on crops drawn as they are needed.

    No photo is decoded in advance, so that a folder may hold any number of large ones, and a run
    may take days. A checkpoint lies beside `out` meanwhile, as for `train`: a run that is resumed
    ends with the same weights. On CUDA it computes in bfloat16.

    Args:
        images: a folder of photos, with or without folders inside; labels are not read.
        out: the bundle to write, with the classes of the pretrained network. Beside it, in
            `OUT.probes.jsonl`, stand the probes: a line of JSON each.
        how: how long, and by what.
        config: `start`, `resolution`, `flips`, `learning_rate`, `seed`, `device`, and what the
            bundle carries (`calibration_photos` are crops) are read of it.
        probing: how it finds out whether it still helps; None does not.
        on_step: called after each step of each phase.
        resume: whether to go on from the checkpoint of an interrupted run.
        overwrite: whether a file of that name may be replaced; a run that is resumed was asked.
        reading: how tables are read; boxes and a report of the photos are refused.

    Raises:
        DataError, TrainingError, BundleError: as for `train`.
    """
    config = config or TrainingConfig()
    if not config.is_plain:
        got = config.pretrained or config.start
        raise TrainingError(f"pretraining wants a start of {', '.join(PRETRAINED)}, got {got}")
    if reading.crops or reading.report_data is not None:
        raise TrainingError(
            "pretraining by steps reads whole photos, when they are needed: wanted no --crops and "
            "no --report-data, got one of them"
        )
    processes, on_step = join(config, on_step)
    with trained_file(out, overwrite or resume, processes.first) as file:
        paths = list_unlabelled(images, reading).paths
        run = TrainingRun(config, _estimating(on_step), Checkpoints.open(out, resume), processes)
        return replace(_pretrained(paths, file, out, how, run, probing), bundle=out)


def _pretrained(
    paths: Sequence[Path],
    file: Path,
    out: Path,
    how: CropPretraining,
    run: TrainingRun,
    probing: Probing | None,
) -> Report:
    """Writes the bundle under the name that it has meanwhile, `file`."""
    config, processes, checkpoints = run.config, run.processes, run.checkpoints
    supernet = new_supernet(read_start(config), config)
    space = supernet.space
    checkpoints.identify(_identity(paths, how, config))
    log.info(f"{len(paths)} photos, {space.count():.1e} subnets up to {space.resolutions[-1]} px")
    begun = time.perf_counter()
    with saying_how_to_resume(checkpoints):
        probe_log = _probe_log(probing, out, space.resolutions[-1]) if processes.first else None
        supernet, crops = pretrain_on_crops(supernet, paths, how, run, probe_log)
    processes.leave()
    if processes.first:
        classes = tuple(f"imagenet {index}" for index in range(space.classes))
        counts = {"pretrain_steps": how.steps, "pretrained_on_photos": len(paths)}
        contents = Contents(classes, crops[: config.calibration_photos])
        pack(file, config, to_ship(supernet), contents, counts, run.on_step)
        checkpoints.remove()
    return Report(file, {}, time.perf_counter() - begun, written=processes.first)


def _probe_log(probing: Probing | None, out: Path, size: int) -> ProbeLog | None:
    if probing is None:
        return None
    path = out.with_name(f"{out.name}.probes.jsonl")
    return ProbeLog(FeatureProbe.read(probing.data, size), probing.every, path)


def _estimating(on_step: OnStep) -> OnStep:
    """Returns what adds to each step how long the others will take."""

    def estimate(progress: Progress) -> None:
        left = (progress.steps - progress.step) * progress.seconds / progress.step
        on_step(replace(progress, seconds_left=left))

    return estimate


def _identity(
    paths: Sequence[Path], how: CropPretraining, config: TrainingConfig
) -> dict[str, str]:
    """What a resumed run must have in common with the interrupted one: files by name and size."""
    named = sorted((path.name, path.stat().st_size) for path in paths)
    digest = hashlib.sha256(repr(named).encode()).hexdigest()[:16]
    settings = {**asdict(how), **{name: getattr(config, name) for name in DECIDES}}
    return {"photos": digest, **{name: str(value) for name, value in settings.items()}}
