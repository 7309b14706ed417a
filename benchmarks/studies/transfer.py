"""What the one semi-supervised loss is worth: against labels alone, from the same start.

`python -m tofa_edge.benchmarks.studies.transfer cifar10-jpeg.zip --work study --test` computes the
teachers' features, pretrains a supernet without labels, trains it for each draw of labels with and
without the unlabelled images, and reads the test images once for each. The images are a zip, or
elpv or fashion-mnist. Every finished run is kept in `study/transfer.json`: started again, only what
is missing is run. Beside each draw stand probes on frozen features: of the teachers, with
self-training; and of each subnet of the pretrained supernet, from labels alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.benchmarks.studies.command import Row
from tofa_edge.benchmarks.studies.study_data import Data
from tofa_edge.benchmarks.studies.study_runs import (
    CEILINGS,
    frozen_probes,
    measured,
    study_run,
    trained_path,
)
from tofa_edge.benchmarks.studies.training_study import (
    EVEN,
    MEAN,
    NAMED,
    Start,
    Study,
    save,
    training_options,
)
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective.class_prior import class_prior
from tofa_edge.train.objective.linear_probe import fit_linear_probe, probe_accuracy

PRETRAINING_STEP = 0.6  # its MACs over those of a semi-supervised one: 64 images for 96
KINDS = {  # unlabelled images for each labelled one, whether pretrained, steps over --steps
    "semi-supervised": (2, True, 1.0),
    "labels only": (0, True, 1.0),
    "labels only, equal time": (0, True, 3.0),
    "semi-supervised, not pretrained, equal time": (2, False, 1.0),
}


def main() -> None:
    given = training_options(
        __doc__, "images", labels=[25], draws=[0, 1, 2], pretrain_steps=1500, steps=1400,
        kinds={"nargs": "*", "default": list(KINDS), "choices": list(KINDS)},
        named_only=(False, "search no subnets below ceilings"),
    )  # fmt: skip
    study = Study.of(given)
    results = study.results("transfer.json")
    names = (*NAMED, *EVEN) if given.named_only else ()
    for count, draw in itertools.product(given.labels, given.draws):
        labels = forget_labels(study.data.labels, count, draw)
        of = f"{count} labels a class, draw {draw}"
        for name, features in study.probe_features().items():
            row = partial(_probe_row, *features, labels, study.data)
            results.once(f"frozen-feature probe {name}, {of}", row)
        results.once(f"labels only, frozen features, {of}", partial(_frozen_row, study, labels))
        for kind in given.kinds:
            ratio, pretrained, factor = KINDS[kind]
            steps = int(given.steps * factor)
            steps += 0 if pretrained else int(PRETRAINING_STEP * given.pretrain_steps)
            start = study.start() if pretrained else None
            run = partial(_trained_row, study, start, labels, ratio, steps, draw, names)
            results.once(f"{kind}, {steps} steps, {of}", run)
    results.print_accuracies((*NAMED, MEAN, *CEILINGS, "probe"))


def _frozen_row(study: Study, labels: IndexArray) -> Row:
    supernet = study.supernet(study.start())
    return _with_mean({"accuracy": frozen_probes(supernet, study.data, labels, (*NAMED, *EVEN))})


def _with_mean(row: Row) -> Row:
    accuracy = row["accuracy"]
    mean = float(np.mean([accuracy[name] for name in EVEN]))
    return {**row, "accuracy": {**accuracy, MEAN: mean}}


def _probe_row(seen: torch.Tensor, test: torch.Tensor, labels: IndexArray, data: Data) -> Row:
    classes = len(data.classes)
    probe = fit_linear_probe(seen, labels, classes, prior=class_prior(seen, labels, classes))
    return {"accuracy": {"probe": probe_accuracy(probe, test, data.test_labels)}}


def _trained_row(
    study: Study,
    start: Start | None,
    labels: IndexArray,
    ratio: int,
    steps: int,
    seed: int,
    names: Sequence[str],
) -> Row:
    trained, row = study_run(study, start, labels, ratio, steps, seed)
    if ratio and start is not None:
        save(trained.supernet.to_arrays(), trained_path(study.work, labels, seed))
    return _with_mean({**row, **measured(trained.supernet, study.data, names)})


if __name__ == "__main__":
    main()
