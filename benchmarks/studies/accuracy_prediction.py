"""How well the accuracy of unseen subnets is predicted: against the test images, read once.

`python -m tofa_edge.benchmarks.studies.accuracy_prediction cifar10-jpeg.zip --work study`, after
`tofa_edge.benchmarks.studies.transfer` has trained a supernet there. The predictor is fitted as
`train` does, on 240 subnets, unlabelled training images and 1,000 validation images that no other
step has seen; once more with 100 of these, as a user of few labels would. 60 other subnets are then
tested.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from tofa_edge.architecture.encodings import decoded, distinct, sample
from tofa_edge.architecture.tables import tables
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.benchmarks.studies.study import read_zip, study_space, validation_images
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.measurement.order_statistics import kendall_tau
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.after.subnet_tests import evaluate_subnets
from tofa_edge.train.run.subnet_accuracy import accuracy, subnet_logits

SUBNETS, UNSEEN = 240, 60
VALIDATED = (1000, 100)


def main() -> None:
    """Fits, predicts, tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--trained", default="trained-25-0.safetensors")
    parser.add_argument("--out", type=Path, default=Path("accuracy_prediction.json"))
    options = parser.parse_args()
    data = read_zip(options.images)
    validated, labels = validation_images(options.images)
    space = study_space(len(data.classes))
    arrays = dict(safetensors.numpy.load_file(options.work / options.trained))
    unseen = distinct(space, sample(space, np.random.default_rng(99), UNSEEN))
    seen = data.images[:CALIBRATION_IMAGES]
    kept = options.work / "tested_truth.npy"
    truth = np.load(kept).tolist() if kept.exists() else []
    for number, subnet in enumerate(decoded(space, unseen)[len(truth) :], len(truth)):
        logits = subnet_logits(space, subnet, arrays, LITE_PREPROCESSING, seen, data.test_images)
        truth.append(accuracy(logits, data.test_labels))
        print(f"tested {number + 1} of {len(unseen)}: {truth[-1]:.4f}", flush=True)
    wanted = np.array(truth)
    np.save(kept, wanted)
    macs = tables(space).costs(unseen).macs.astype(np.float64)
    rows: dict[str, Any] = {
        "unseen_subnets": len(unseen),
        "test_images": len(data.test_labels),
        "accuracies": [float(wanted.min()), float(wanted.max())],
        "tau_of_macs": round(kendall_tau(macs, wanted), 4),
    }
    begun = time.perf_counter()
    tested = evaluate_subnets(
        space, arrays, LITE_PREPROCESSING, data.images, validated, labels, SUBNETS, seed=0
    )
    rows["testing_s"] = round(time.perf_counter() - begun, 1)
    for count in VALIDATED:
        predictor = replace(tested, right=tested.right[:, :count]).predictor()
        off = predictor.expected(space, unseen) - wanted
        rows[f"{count} validation images"] = {
            "tau": round(kendall_tau(off + wanted, wanted), 4),
            "mean_error": round(float(np.abs(off).mean()), 5),
            "mean_error_but_for_level": round(float(np.abs(off - off.mean()).mean()), 5),
            "expected_deviation": round(float(predictor.deviation(space, unseen).mean()), 5),
            "cross_validated_tau": round(predictor.tau, 4),
            "cross_validated_error": round(predictor.error, 5),
        }
        print(json.dumps(rows), flush=True)
    np.savez(
        options.work / "tested.npz",
        encodings=tested.encodings, divergences=tested.divergences, right=tested.right,
        unseen=unseen, truth=wanted,
    )  # fmt: skip
    options.out.write_text(json.dumps({"made": made(), **rows}, indent=1))


if __name__ == "__main__":
    main()
