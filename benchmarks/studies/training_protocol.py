"""Ways to train a supernet, each at equal processor time, compared on the development set.

`python -m tofa_edge.benchmarks.studies.training_protocol cifar10-jpeg.zip` pretrains and trains a
supernet in each way (`training_arms.py`) for each draw of labels: the same labels, images and seed.
How many steps take the time is found by two short trainings of each. Finished runs are kept in
`study/training_protocol_development.json`.

The best subnet below a ceiling of MACs is chosen by one half of the images and scored on the other,
both ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import safetensors.numpy
import torch

from tofa_edge.architecture.encodings import decoded
from tofa_edge.architecture.sampling import sample
from tofa_edge.benchmarks.studies.command import RESULTS, Results, Row, store
from tofa_edge.benchmarks.studies.study_data import Data
from tofa_edge.benchmarks.studies.study_runs import (
    CEILINGS,
    best_on_other_half,
    frozen_probes,
    mmacs,
    steps_within,
)
from tofa_edge.benchmarks.studies.training_arms import ARMS, AS_IT_IS, Arm
from tofa_edge.benchmarks.studies.training_study import (
    EVEN,
    MEAN,
    NAMED,
    Start,
    Study,
    save,
    show,
    study_supernet,
    subnets,
    training_options,
)
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.config import LEARNING_RATE, PRETRAINING, TRAINING, OnStep, silent
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective.initial_pseudo_labels import start_from_probe
from tofa_edge.train.run.loop import Phase
from tofa_edge.train.run.phases import train_phase
from tofa_edge.train.supernet.supernet import Supernet

COLUMNS = (*NAMED, MEAN, *CEILINGS)


def main() -> None:
    names = {"nargs": "*", "default": list(ARMS), "choices": list(ARMS)}
    given = training_options(
        __doc__, "images", labels=(25, "a class"), draws=[0, 1], arms=names,
        higher=(96, "px, the higher resolution"), seconds_pretrain=(1200.0, "of processor time"),
        seconds=(900.0, "of processor time of training"), candidates=(64, "subnets below ceilings"),
        out=RESULTS / "training_protocol.json",
    )  # fmt: skip
    base, given.resolution = given.resolution, max(given.resolution, given.higher)
    study = Study.of(given)
    results = study.results("training_protocol.json")
    seconds = (given.seconds_pretrain, given.seconds)
    lower = study.data.at(base)
    protocol = Protocol(study, results, lower, given.labels, seconds, given.candidates)
    for draw in given.draws:
        for name in given.arms:
            results.once(f"{name}, draw {draw}", partial(protocol.row, ARMS[name], draw))
    rows = {name: row for name, row in results.rows.items() if "accuracy" in row}
    print_table(rows)
    setting = {"labels a class": given.labels, "resolutions": [base, study.data.resolution]}
    setting |= {"seconds": list(seconds), "tested_on": study.data.tested_on}
    setting |= {"images": len(study.data.test_labels), "threads": torch.get_num_threads()}
    store(given.out, {"setting": setting, "runs": results.rows})


@dataclass(frozen=True, eq=False)
class Protocol:
    """What all arms share.

    Attributes:
        study: its images have the higher resolution.
        results: the finished rows.
        lower: the same images at the lower resolution.
        labels: a class.
        seconds: of processor time, of pretraining and of training.
        candidates: subnets of which the best below ceilings are chosen.
    """

    study: Study
    results: Results
    lower: Data
    labels: int
    seconds: tuple[float, float]
    candidates: int

    def row(self, arm: Arm, draw: int) -> Row:
        """Returns what an arm reaches with a draw of labels, and what it took."""
        data = self.study.data if arm.higher else self.lower
        labels = forget_labels(data.labels, self.labels, draw)
        begin, pretraining_s = self._start(arm.pretraining, data, draw)
        supernet = study_supernet(arm.space(len(data.classes), data.resolution), begin)
        outputs = self.study.teacher_outputs()
        targets = start_from_probe(supernet, data.images, labels, outputs, True)
        fitted = supernet.to_arrays()
        probes = frozen_probes(supernet, data, labels, NAMED)

        def train(steps: int, on_step: OnStep = silent) -> Supernet:
            begun = study_supernet(supernet.space)
            begun.load_arrays(fitted)
            objective = arm.training_objective(data, labels, targets)
            phase = Phase(TRAINING, steps, arm.rate * LEARNING_RATE, draw, arm.choose)
            return train_phase(begun, objective, phase, on_step)

        steps = self._steps(TRAINING, arm, self.seconds[1], train)
        begun = time.process_time()
        trained = train(steps, show)
        spent = {"pretraining": pretraining_s, "training": time.process_time() - begun}
        processor = {name: round(value, 1) for name, value in spent.items()}
        tested = tested_subnets(trained, data, self.candidates)
        return {"steps": steps, "processor_s": processor, "probes": probes, **tested}

    def _start(self, arm: Arm, data: Data, seed: int) -> tuple[Start, float]:
        """Returns the weights of an arm's pretraining, and what it took; kept."""
        path = self.study.work / f"protocol-{_name(arm).replace(' ', '-')}-{seed}.safetensors"
        teacher = self.study.teacher_outputs()[0]
        classes = teacher.logits.shape[1]

        def pretrain(steps: int, on_step: OnStep = silent) -> Supernet:
            student = Supernet(arm.space(classes, data.resolution), LITE_PREPROCESSING)
            student.load_arrays(arm.plain())
            phase = Phase(PRETRAINING, steps, LEARNING_RATE, seed, arm.choose)
            return train_phase(student, arm.pretraining_objective(data, teacher), phase, on_step)

        if not path.exists():
            steps = self._steps(PRETRAINING, arm, self.seconds[0], pretrain)
            begun = time.process_time()
            arrays = pretrain(steps, show).to_arrays()
            spent = np.array([time.process_time() - begun], np.float32)
            save({**arrays, "seconds": spent}, path)
        kept = dict(safetensors.numpy.load_file(path))
        return kept, float(kept.pop("seconds")[0])

    def _steps(self, phase: str, arm: Arm, seconds: float, train: Callable[[int], Supernet]) -> int:
        """Returns how many steps of an arm take the time; found once for all draws."""
        name = f"steps of {phase}: {_name(arm)}"
        share = arm.share * seconds
        self.results.once(name, lambda: {"steps": steps_within(share, train), "seconds": share})
        return int(self.results.rows[name]["steps"])


def _name(arm: Arm) -> str:
    return next(name for name, each in ARMS.items() if each == arm)


def tested_subnets(supernet: Supernet, data: Data, candidates: int) -> Row:
    """Returns accuracies of named and even subnets, and of the best below ceilings of MACs.

    Args:
        supernet: trained.
        data: whose images test.
        candidates: subnets of all sizes of which the best are chosen, beside those.
    """
    space, arrays, named = supernet.space, supernet.to_arrays(), subnets(supernet.space)
    drawn = decoded(space, sample(space, np.random.default_rng(8), candidates))
    every = [*dict.fromkeys((*named.values(), *drawn))]
    right = {subnet: data.right(space, subnet, arrays) for subnet in every}
    costs = {subnet: mmacs(space, subnet) for subnet in every}
    accuracy = {name: float(right[subnet].mean()) for name, subnet in named.items()}
    matrix = np.stack([right[subnet] for subnet in every])
    accuracy |= best_on_other_half(matrix, [costs[subnet] for subnet in every], CEILINGS)
    return {
        "mmacs": {name: costs[subnet] for name, subnet in named.items()},
        "accuracy": {**accuracy, MEAN: float(np.mean([accuracy[name] for name in EVEN]))},
    }


def print_table(rows: dict[str, Row]) -> None:
    """Prints mean accuracies over draws, and what each draw differs from training as it is."""
    names = dict.fromkeys(name.rsplit(", draw ", 1)[0] for name in rows)
    width = max(map(len, names), default=0)
    print(" | ".join(["arm".ljust(width), *COLUMNS, "mean of even ones over as it is, by draw"]))
    for name in names:
        runs = {key: row for key, row in rows.items() if key.rsplit(", draw ", 1)[0] == name}
        cells = []
        for column in COLUMNS:
            values = [row["accuracy"][column] for row in runs.values() if column in row["accuracy"]]
            cells.append(f"{100 * np.mean(values):.1f}" if values else "–")
        gains = []
        for key, row in runs.items():
            usual = rows.get(key.replace(name, AS_IT_IS, 1))
            if usual is not None:
                gain = row["accuracy"][MEAN] - usual["accuracy"][MEAN]
                gains.append(f"{100 * gain:+.1f}")
        print(" | ".join([name.ljust(width), *cells, ", ".join(gains)]), flush=True)


if __name__ == "__main__":
    main()
