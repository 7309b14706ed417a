"""How right first targets of unlabelled images are, by teachers, with and without spreading.

`python -m tofa_edge.benchmarks.studies.first_targets elpv --work study`, in a folder of
`tofa_edge.benchmarks.studies.transfer`. Hidden labels of training images judge, of draws that no
table of accuracies uses; test images are not touched. Finished runs are kept in
`study/first_targets.json`.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.benchmarks.studies.study import TEACHERS, Results, Study, read_data
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.objective.class_prior import class_prior
from tofa_edge.train.objective.initial_pseudo_labels import spread
from tofa_edge.train.objective.linear_probe import fit_linear_probe

GROUPS = (("lite0",), ("lite0", "lite2"), TEACHERS)
DRAWS = (3, 4, 5)


def main() -> None:
    """Runs what is missing of the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--labels", type=int, nargs="*", default=[4, 25, 100], help="a class")
    options = parser.parse_args()
    study = Study(read_data(options.images), options.work, 0, 0)
    results = Results(options.work / "first_targets.json")
    teacher_outputs = dict(zip(TEACHERS, study.teacher_outputs(), strict=True))
    for names, count in itertools.product(GROUPS, options.labels):
        seen = torch.cat([teacher_outputs[name].features for name in names], dim=1)
        row = partial(_row, seen, study.data.labels, count)
        results.once(f"{options.images.stem}, {'+'.join(names)}, {count} labels a class", row)


def _row(seen: Tensor, truth: IndexArray, count: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        f"{figure}, {way}": []
        for figure in ("accuracy", "log loss")
        for way in ("probe", "self-trained", "spread")
    }
    classes = int(truth.max()) + 1
    for draw in DRAWS:
        labels = forget_labels(truth, count, draw)
        judged = torch.from_numpy(np.flatnonzero((labels < 0) & (truth >= 0)))
        prior = class_prior(seen, labels, classes)
        first = fit_linear_probe(seen, labels, classes, rounds=0, prior=prior)
        trained = fit_linear_probe(seen, labels, classes, prior=prior)
        said = {
            "probe": first.probabilities(seen),
            "self-trained": trained.probabilities(seen),
            "spread": spread(trained, seen, labels),
        }
        expected = torch.from_numpy(truth)[judged]
        for way, probabilities in said.items():
            right = probabilities[judged].argmax(dim=1) == expected
            row[f"accuracy, {way}"].append(round(float(right.float().mean()), 4))
            loss = F.nll_loss(probabilities[judged].clamp(min=1e-6).log(), expected)
            row[f"log loss, {way}"].append(round(float(loss), 3))
    return row


if __name__ == "__main__":
    main()
