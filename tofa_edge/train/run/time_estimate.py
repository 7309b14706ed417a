"""How long training will take: expected before it starts, then corrected by what was measured.

A phase costs its MACs times the time of one MAC, measured on the supernet, times a factor that was
measured once on one machine; smaller things cost constants of that machine.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from tofa_edge.architecture import encodings
from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.train.config import (
    PRETRAINING,
    PSEUDO_LABELS,
    QUANTISATION_AWARE,
    READING,
    TRAINING,
    OnStep,
    Progress,
    TrainingConfig,
    teacher_features,
)
from tofa_edge.train.data.files.decoding import decoded
from tofa_edge.train.data.photos import LabelledPaths, Photos
from tofa_edge.train.data.steps import Step
from tofa_edge.train.objective.label_spreading import BLOCK
from tofa_edge.train.objective.objectives import PROBED_REFRESHES, REFRESHES, computes_bfloat16
from tofa_edge.train.objective.subnets import HIGHEST_FROM, space_at, stratified
from tofa_edge.train.objective.teachers import teacher_resolution
from tofa_edge.train.run.checkpoint import Checkpoint
from tofa_edge.train.run.early_stopping import EVALUATIONS, named_subnets
from tofa_edge.train.run.phases import PRETRAINING_BATCH, last, pretraining_steps, training_plan
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)

IMAGES, REPEATS = 32, 4
SAMPLES, STEPS = 16, 96  # subnets that are tested, and steps, drawn to know what one costs
FORWARD = 0.28  # the cost of a pass without gradients over one with
FORWARD_BFLOAT16 = 0.21  # the same in bfloat16, where the machine computes it
FEATURES = 0.45  # the same of a whole set with batch statistics
ENGINE = 0.17  # the same by an inference engine
STEP = 0.95  # a step over its passes as measured: more images at once, but smaller subnets
ROUNDED = 1.25  # a step with rounded weights and values over one without
STEP_PER_PARAMETER = 6e-8  # seconds: slices, gradients, AdamW, averaging
CUT_SECONDS, CUT_PER_PARAMETER = 0.02, 4e-8  # to cut a subnet and load it
RESIZE_PER_PIXEL = 6e-8  # seconds, of an image to a subnet's resolution
LOAD_SECONDS = 0.4  # of a pretrained network
PROBE_SECONDS = 8e-8  # for each image, channel and class on one thread: all fits of linear probes
SPREAD_SECONDS = 3e-11  # for each channel of each pair of images on one thread
CHANNELS = 1280  # that every pretrained network's classifier reads
STEPS_KIND = "steps"
SHOWN_SECONDS = 2.0  # phases that are shorter are not named


@dataclass(frozen=True)
class PhaseCosts:
    """What a supernet costs on this machine.

    Attributes:
        space: of the supernet.
        mac: seconds of one MAC of one image, forward and backward.
        parameters: of the supernet.
        tested: MACs of a subnet that is tested, on average.
        macs_of_step: for each image of a step, of all the subnets that learn from it, on average.
        late: the cost of a step with the highest resolution over one without it.
        calibration: images that calibrate a subnet.
    """

    space: SearchSpace
    mac: float
    parameters: int
    tested: float
    macs_of_step: float
    late: float
    calibration: int

    @staticmethod
    def of(supernet: Supernet, trained: int = CALIBRATION_IMAGES) -> PhaseCosts:
        """Returns the costs of a supernet with so many photos `trained` on; measures a moment."""
        space = supernet.space
        drawn = sample(space, np.random.default_rng(0), SAMPLES)
        tested = float(np.mean([_macs(space, each) for each in encodings.decoded(space, drawn)]))
        parameters = sum(value.numel() for value in supernet.parameters())
        calibration, mac = min(CALIBRATION_IMAGES, trained), seconds_per_mac(supernet)
        steps = np.array([_macs_of_step(space, Step(n, STEPS, 0)) for n in range(STEPS)])
        early, late = np.split(steps, [round(HIGHEST_FROM * STEPS)])
        ratio = float(late.mean() / early.mean())
        return PhaseCosts(space, mac, parameters, tested, float(steps.mean()), ratio, calibration)

    def steps(self, count: int, batch: int) -> float:
        """Returns the seconds of a `count` of steps on a `batch`."""
        work = batch * self.macs_of_step
        return count * (STEP * work * self.mac + self.parameters * STEP_PER_PARAMETER)

    def predictions(self, images: int) -> float:
        """Returns the seconds in which the largest subnet predicts so many `images`."""
        return images * _macs(self.space, self.space.largest()) * self.mac * FORWARD

    def evaluation(self, images: int, macs_of_one: float | None = None) -> float:
        """Returns the seconds to cut and calibrate a subnet, and to run it on so many `images`.

        It is one that is tested by default, or one of so many MACs (`macs_of_one`).
        """
        resizing = self.space.resolutions[-1] ** 2 * RESIZE_PER_PIXEL
        each = (macs_of_one or self.tested) * self.mac * ENGINE + resizing
        cut = CUT_SECONDS + self.parameters * CUT_PER_PARAMETER
        return cut + (self.calibration + images) * each

    def three_evaluations(self, images: int) -> float:
        """Returns the seconds to evaluate the smallest, middle and largest subnet on `images`."""
        named = named_subnets(self.space).values()
        return sum(self.evaluation(images, _macs(self.space, each)) for each in named)


def expected_seconds(
    costs: PhaseCosts, listed: LabelledPaths | Photos, labels: IndexArray, config: TrainingConfig
) -> dict[str, float]:
    """Returns about how long each phase up to the end of training will take, in seconds.

    Args:
        costs: of the supernet to train.
        listed: all photos.
        labels: of those to train on, −1 where unlabelled, (N,); none for pretraining alone.
        config: how to train.
    """
    space, count = costs.space, len(labels) or len(listed.labels)
    expected = {READING: seconds_to_read(listed, space.resolutions[-1])}
    teachers = config.teachers_to_run(bool((labels < 0).any()))
    factor = FORWARD_BFLOAT16 if computes_bfloat16("cpu") else FORWARD
    for name in teachers:
        teacher = load_lite(name)[0]
        scale = (teacher_resolution(space.resolutions[-1]) / teacher.resolutions[-1]) ** 2
        work = count * _macs(teacher, teacher.largest()) * scale
        expected[teacher_features(name)] = LOAD_SECONDS + work * factor * costs.mac
    if config.is_plain and config.pretrain_epochs:
        steps = pretraining_steps(count, config)
        expected[PRETRAINING] = LOAD_SECONDS + costs.steps(steps, PRETRAINING_BATCH)
    if not len(labels):
        return expected
    if not config.starts_from_nothing:
        expected[PSEUDO_LABELS] = _pseudo_labels(costs, count, len(listed.classes), teachers)
    unlabelled, steps = training_plan(labels, config)
    batch = config.batch_size + unlabelled
    evaluations = EVALUATIONS * costs.three_evaluations((len(listed.labels) - count) // 2)
    refreshes = REFRESHES if config.starts_from_nothing else PROBED_REFRESHES
    expected[TRAINING] = costs.steps(steps, batch) + evaluations
    expected[TRAINING] += costs.predictions(refreshes * count)
    if config.quantisation_aware_epochs:
        _, steps = training_plan(labels, last(config))
        expected[QUANTISATION_AWARE] = ROUNDED * costs.steps(steps, batch)
    return expected


def _pseudo_labels(costs: PhaseCosts, count: int, classes: int, teachers: Sequence[str]) -> float:
    channels = CHANNELS * max(1, len(teachers))
    probes = PROBE_SECONDS * count * channels * classes
    spreading = SPREAD_SECONDS * count * min(count, BLOCK) * channels
    own = count * _macs(costs.space, costs.space.largest()) * costs.mac * FEATURES
    return own + (probes + spreading) / torch.get_num_threads()


def seconds_per_mac(supernet: Supernet) -> float:
    """Returns the time of one MAC of one image, forward and backward, measured."""
    space = supernet.space
    size = space.resolutions[-1]
    device = next(supernet.parameters()).device
    images = torch.zeros(IMAGES, 3, size, size, device=device)
    images += torch.arange(size, device=device)  # all alike would make denormals
    parameters, seconds = list(supernet.parameters()), []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        (logits,) = supernet(images, space.largest())
        torch.autograd.grad(logits.square().mean(), parameters, allow_unused=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # it returns before it is done
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / IMAGES / _macs(space, space.largest())


def _macs_of_step(space: SearchSpace, step: Step) -> float:
    """Returns the MACs for each image of a step, of all the subnets that learn from it."""
    largest, subnets = space_at(space, step).largest(), stratified(space, step)
    others = max(1, sum(subnet != largest for subnet in subnets))
    return sum(_macs(space, each) / (1 if each == largest else others) for each in subnets)


def _macs(space: SearchSpace, subnet: Subnet) -> int:
    return macs(layers(space, subnet))


def seconds_to_read(listed: LabelledPaths | Photos, size: int) -> float:
    """Returns about how long decoding will take; decodes a few images to measure it."""
    count = len(listed.labels)
    sources = listed.images if isinstance(listed, Photos) else listed.sources
    chosen = np.linspace(0, count - 1, min(count, SAMPLES)).astype(int)
    begun = time.perf_counter()
    for index in chosen:
        decoded(sources[index], size)
    seconds = (time.perf_counter() - begun) / len(chosen) * count
    return seconds if isinstance(listed, Photos) else seconds / (os.cpu_count() or 1)


@dataclass(eq=False)
class TimeLeft:
    """How long each phase will still take; call it with each progress.

    Attributes:
        seconds: left of each phase, in their order, as expected or measured.
        on_step: called with each progress and the time left in all.
        late: the cost of a step in the last third of training over one before.
    """

    seconds: dict[str, float]
    on_step: OnStep
    late: float = 1.0
    _latest: Progress | None = None
    _expected: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._expected = dict(self.seconds)

    def __call__(self, progress: Progress) -> None:
        """Corrects the estimate, and hands the `progress` on with it."""
        phase = progress.phase
        if self._latest is not None and self._latest.phase != phase:
            self._end(self._latest)  # early
        if phase in self.seconds:
            self._skip_to(phase)
        done = self._done(progress)
        self.seconds[phase] = progress.seconds * (1 - done) / done
        self._latest = progress
        self.on_step(replace(progress, seconds_left=sum(self.seconds.values())))
        if progress.step == progress.steps:
            self._end(progress)

    def resume(self, found: Checkpoint | None) -> None:
        """Takes off what an interrupted run, `found`, has done, but not what it does again."""
        if found is None or found.phase not in self.seconds:
            return
        kept = dict(self.seconds)
        self._skip_to(found.phase)
        again = kept if found.phase == PRETRAINING else kept.keys() & {READING}
        self.seconds |= {name: kept[name] for name in again}
        self.seconds[found.phase] = max(0.0, kept[found.phase] - found.seconds)

    def _skip_to(self, phase: str) -> None:
        for earlier in itertools.takewhile(lambda name: name != phase, self.seconds):
            self.seconds[earlier] = 0.0

    def _end(self, progress: Progress) -> None:
        """Ends a phase; those like it will be as much slower or faster than expected."""
        self._latest, self.seconds[progress.phase] = None, 0.0
        expected = self._expected.get(progress.phase, 0.0)
        if expected:
            ratio = progress.seconds / self._done(progress) / expected
            for name, seconds in self.seconds.items():
                if seconds and _kind(name) == _kind(progress.phase):
                    self.seconds[name] = ratio * self._expected[name]
        if progress.seconds >= SHOWN_SECONDS and any(self.seconds.values()):
            log.info(f"{progress.phase}: {duration(progress.seconds)}; {self} left")

    def _done(self, progress: Progress) -> float:
        """Returns what share of a phase's work is done, 0..1."""
        done = progress.step / progress.steps
        if _kind(progress.phase) != STEPS_KIND:
            return done
        work = done + max(0.0, done - HIGHEST_FROM) * (self.late - 1)
        return work / (1 + (1 - HIGHEST_FROM) * (self.late - 1))

    def __str__(self) -> str:
        parts = [f"{k} {duration(v)}" for k, v in self.seconds.items() if v >= SHOWN_SECONDS]
        named = f" ({', '.join(parts)})" if parts else ""
        return f"about {duration(sum(self.seconds.values()))}{named}"


def _kind(phase: str) -> str:
    """Returns what phases have in common that are slow or fast together."""
    steps = (PRETRAINING, TRAINING, QUANTISATION_AWARE)
    return STEPS_KIND if phase in steps else phase.partition(" (")[0]


def duration(seconds: float) -> str:
    """Returns a time in words, such as "8 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
