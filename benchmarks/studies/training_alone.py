"""One network trained for itself, from the plain Lite0: what a shared training is compared with.

In two ways, of which the better counts. Leading, it is all there is: it learns labels and its own
sure pseudo-labels, as the largest subnet of a supernet does. Following, it learns the initial
pseudo-labels from weak views, as the smaller subnets do, and they stay as they are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.benchmarks.studies.command import Row
from tofa_edge.benchmarks.studies.study_runs import RATIO, steps_within
from tofa_edge.benchmarks.studies.training_study import Start, Study, show, study_supernet
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut
from tofa_edge.train.config import (
    LEARNING_RATE,
    PRETRAINING,
    TRAINING,
    OnStep,
    Progress,
    TrainingConfig,
    silent,
)
from tofa_edge.train.objective.initial_pseudo_labels import start_from_probe
from tofa_edge.train.objective.objectives import Distillation, SemiSupervised
from tofa_edge.train.run import loop
from tofa_edge.train.run.loop import Hook, Phase, TrainingState
from tofa_edge.train.run.phases import PRETRAINING_BATCH, train_phase
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

LEADING, FOLLOWING = "leading", "following"
WAYS = (LEADING, FOLLOWING)
TOLERANCE = 0.005  # of the accuracy in the supernet, that alone it may lack
EVERY = 100  # steps, at which it is asked


def space_of_one(space: SearchSpace, subnet: Subnet) -> SearchSpace:
    """Returns the space of one subnet alone.

    Raises:
        ValueError: the blocks of a stage differ.
    """
    stages = []
    for choices, stage in zip(space.stages, subnet.stages, strict=True):
        (block, *others) = dict.fromkeys(stage.blocks)
        if others:
            raise ValueError(f"wanted equal blocks in each stage, got {subnet}")
        stages.append(
            replace(
                choices,
                widths=(stage.width,),
                depths=(len(stage.blocks),),
                kernels=(block.kernel,),
                expands=(block.expand,),
            )
        )
    return replace(space, stages=tuple(stages), resolutions=(subnet.resolution,))


@dataclass(frozen=True, eq=False)
class Alone:
    """A network's own training.

    Attributes:
        study: whose images and teachers.
        labels: class indices, (N,); −1 where unlabelled.
        seed: of the run.
        subnet: which network.
        way: "leading" or "following".
    """

    study: Study
    labels: IndexArray
    seed: int
    subnet: Subnet
    way: str

    @property
    def space(self) -> SearchSpace:
        """What it is trained in: of one, or the study's, of which it is a part."""
        whole = self.study.space()
        return space_of_one(whole, self.subnet) if self.way == LEADING else whole

    def until(self, accuracy: float, pretrain_steps: int, most: int) -> Row:
        """Returns when it first had an accuracy, in steps and processor seconds.

        Args:
            accuracy: wanted, 0..1.
            pretrain_steps: before.
            most: steps of training.
        """
        begun = time.process_time()
        start = self._pretrained(pretrain_steps, show).to_arrays()
        pretrained = time.process_time()
        watch = _Watch(self, accuracy)
        self._trained(start, most, show, watch)
        spent = time.process_time() - pretrained - watch.seconds
        return {
            "wanted": accuracy,
            "reached": bool(watch.accuracies) and watch.accuracies[-1] >= accuracy,
            "accuracy": max(watch.accuracies, default=0.0),
            "accuracies": watch.accuracies,
            "processor_s": {
                "pretraining": round(pretrained - begun, 1), "training": round(spent, 1)
            },
        }  # fmt: skip

    def within(self, pretraining_s: float, training_s: float) -> Row:
        """Returns its accuracy after so many processor seconds of each phase."""
        steps = steps_within(pretraining_s, lambda count: self._pretrained(count, silent))
        begun = time.process_time()
        start = self._pretrained(steps, show).to_arrays()
        spent = [time.process_time() - begun]
        count = steps_within(training_s, lambda count: self._trained(start, count, silent))
        begun = time.process_time()
        arrays = self._trained(start, count, show).to_arrays()
        spent.append(time.process_time() - begun)
        named = zip(("pretraining", "training"), spent, strict=True)
        return {
            "steps": [steps, count],
            "accuracy": self.study.data.accuracy(self.space, self.subnet, arrays),
            "processor_s": {name: round(seconds, 1) for name, seconds in named},
        }

    def _pretrained(self, steps: int, on_step: OnStep) -> Supernet:
        data, (space, arrays) = self.study.data, load_lite("lite0")
        own = replace(self.space, classes=space.classes)
        student = Supernet(own, LITE_PREPROCESSING)
        student.load_arrays(cut(layers(own, own.largest()), arrays))
        teacher = self.study.teacher_outputs()[0]
        objective = Distillation(data.images, teacher.logits, teacher.features, PRETRAINING_BATCH)
        return train_phase(student, objective, self._phase(PRETRAINING, steps), on_step)

    def _trained(
        self, start: Start, steps: int, on_step: OnStep, hook: Hook = lambda progress, state: False
    ) -> Supernet:
        data, outputs = self.study.data, self.study.teacher_outputs()
        supernet = study_supernet(replace(self.space, classes=len(data.classes)), start)
        probe, prior = start_from_probe(supernet, data.images, self.labels, outputs, True)
        batch = TrainingConfig().batch_size
        objective = SemiSupervised(
            data.images, self.labels, len(data.classes), batch, RATIO * batch, probe, prior=prior,
            settled=self.way == FOLLOWING,
        )  # fmt: skip
        phase = self._phase(TRAINING, steps)
        state = loop.begin(supernet, objective, phase)
        loop.run(state, phase, on_step, hook)
        return state.averaged

    def _phase(self, name: str, steps: int) -> Phase:
        return Phase(name, steps, LEARNING_RATE, self.seed, lambda space, step: [self.subnet])


@dataclass(eq=False)
class _Watch:
    """Ends a training when the network has an accuracy; its own time does not count."""

    alone: Alone
    wanted: float
    accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __call__(self, progress: Progress, state: TrainingState) -> bool:
        if progress.step % EVERY and progress.step != progress.steps:
            return False
        begun, data = time.process_time(), self.alone.study.data
        space, arrays = state.averaged.space, state.averaged.to_arrays()
        self.accuracies.append(data.accuracy(space, self.alone.subnet, arrays))
        self.seconds += time.process_time() - begun
        return self.accuracies[-1] >= self.wanted
