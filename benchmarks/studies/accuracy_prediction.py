"""How well the accuracy of unseen subnets is predicted: against the test images, read once.

`python -m tofa_edge.benchmarks.studies.accuracy_prediction cifar10-jpeg.zip --test`, after
`tofa_edge.benchmarks.studies.transfer` has trained a supernet there. The predictor is fitted as
`train` does, on 240 subnets, unlabelled training images and 1,000 validation images that no other
step has seen; once more with 100 of these, as a user of few labels would. 60 other subnets are then
tested.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.numpy

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, decoded
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables
from tofa_edge.benchmarks.studies.command import Row, random_encodings, store
from tofa_edge.benchmarks.studies.study_data import Data
from tofa_edge.benchmarks.studies.training_study import Study, training_options
from tofa_edge.measurement.order_statistics import kendall_tau
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import Arrays
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.train.after.subnet_tests import evaluate_subnets

SUBNETS, UNSEEN = 240, 60
VALIDATED = (1000, 100)


def main() -> None:
    out = Path("accuracy_prediction.json")
    given = training_options(__doc__, "images", trained="trained-25-0.safetensors", out=out)
    study = Study.of(given)
    data, space = study.data, study.space()
    validated, labels = data.validation
    arrays = dict(safetensors.numpy.load_file(given.work / given.trained))
    unseen = random_encodings(space, 99, UNSEEN)
    truth = _accuracies(given.work / f"truth_{data.tested_on}.npy", space, unseen, arrays, data)
    macs = tables(space).costs(unseen).macs.astype(np.float64)
    rows: Row = {
        "unseen_subnets": len(unseen),
        "test_images": len(data.test_labels),
        "tested_on": data.tested_on,
        "accuracies": [float(truth.min()), float(truth.max())],
        "tau_of_macs": round(kendall_tau(macs, truth), 4),
    }
    begun = time.perf_counter()
    tested = evaluate_subnets(
        space, arrays, LITE_PREPROCESSING, data.images, validated, labels, SUBNETS, seed=0
    )
    rows["testing_s"] = round(time.perf_counter() - begun, 1)
    for count in VALIDATED:
        predictor = replace(tested, right=tested.right[:, :count]).predictor()
        rows[f"{count} validation images"] = _errors(predictor, space, unseen, truth)
        print(json.dumps(rows), flush=True)
    fields = {name: getattr(tested, name) for name in ("encodings", "divergences", "right")}
    np.savez(given.work / "tested.npz", unseen=unseen, truth=truth, **fields)
    store(given.out, rows)


def _accuracies(
    kept: Path, space: SearchSpace, encodings: Encodings, arrays: Arrays, data: Data
) -> DoubleArray:
    """Returns the accuracy of subnets on the test images, (N,); those kept are not read again."""
    truth = np.load(kept) if kept.exists() else np.zeros(0)
    for number, subnet in enumerate(decoded(space, encodings)[len(truth) :], len(truth) + 1):
        truth = np.append(truth, data.accuracy(space, subnet, arrays))
        print(f"tested {number} of {len(encodings)}: {truth[-1]:.4f}", flush=True)
    np.save(kept, truth)
    return truth


def _errors(
    predictor: AccuracyPredictor, space: SearchSpace, encodings: Encodings, truth: DoubleArray
) -> Row:
    error = predictor.expected(space, encodings) - truth
    return {
        "tau": round(kendall_tau(error + truth, truth), 4),
        "mean_error": round(float(np.abs(error).mean()), 5),
        "mean_error_but_for_level": round(float(np.abs(error - error.mean()).mean()), 5),
        "expected_deviation": round(float(predictor.deviation(space, encodings).mean()), 5),
        "cross_validated_tau": round(predictor.tau, 4),
        "cross_validated_error": round(predictor.error, 5),
    }


if __name__ == "__main__":
    main()
