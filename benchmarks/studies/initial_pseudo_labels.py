"""How right initial pseudo-labels are, by teachers, with and without label spreading, or as chosen.

`python -m tofa_edge.benchmarks.studies.initial_pseudo_labels elpv --work study`, in a folder of
`tofa_edge.benchmarks.studies.transfer`. Hidden labels of training images judge, of draws that no
table of accuracies uses; test images are not touched. Finished runs are kept in
`study/initial_pseudo_labels.json`.
"""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.benchmarks.studies.command import Row
from tofa_edge.benchmarks.studies.training_study import TEACHERS, Study, training_options
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective.class_prior import class_prior
from tofa_edge.train.objective.label_spreading import Neighbours, spread
from tofa_edge.train.objective.linear_probe import fit_linear_probe
from tofa_edge.train.objective.probe_settings import choose_settings

GROUPS = (("lite0",), ("lite0", "lite2"), TEACHERS)
DRAWS = (3, 4, 5)


def main() -> None:
    given = training_options(__doc__, "images", labels=[4, 25, 100])
    study = Study.of(given)
    results = study.results("initial_pseudo_labels.json")
    teacher_outputs = dict(zip(TEACHERS, study.teacher_outputs(), strict=True))
    for names, count in itertools.product(GROUPS, given.labels):
        features = torch.cat([teacher_outputs[name].features for name in names], dim=1)
        row = partial(_row, features, study.data.labels, count)
        results.once(f"{given.images.stem}, {'+'.join(names)}, {count} labels a class", row)


def _row(features: Tensor, truth: IndexArray, count: int) -> Row:
    ways = ("probe", "self-trained", "spread", "chosen")
    row: Row = {f"{figure}, {way}": [] for figure in ("accuracy", "log loss") for way in ways}
    classes, neighbours = int(truth.max()) + 1, Neighbours.of(features)
    for draw in DRAWS:
        labels = forget_labels(truth, count, draw)
        judged = torch.from_numpy(np.flatnonzero((labels < 0) & (truth >= 0)))
        prior = class_prior(features, labels, classes)
        first = fit_linear_probe(features, labels, classes, rounds=0, prior=prior)
        trained = fit_linear_probe(features, labels, classes, prior=prior)
        pseudo_labels = [probe.probabilities(features) for probe in (first, trained)]
        pseudo_labels.append(spread(pseudo_labels[1], labels, neighbours))
        best = choose_settings(features, labels, classes, prior, neighbours)
        probe = fit_linear_probe(features, labels, classes, best.rounds, prior, best.decay)
        chosen = probe.probabilities(features)
        pseudo_labels.append(spread(chosen, labels, neighbours) if best.spreads else chosen)
        expected = torch.from_numpy(truth)[judged]
        for way, probabilities in zip(ways, pseudo_labels, strict=True):
            right = probabilities[judged].argmax(dim=1) == expected
            row[f"accuracy, {way}"].append(round(float(right.float().mean()), 4))
            loss = F.nll_loss(probabilities[judged].clamp(min=1e-6).log(), expected)
            row[f"log loss, {way}"].append(round(float(loss), 3))
    return row


if __name__ == "__main__":
    main()
