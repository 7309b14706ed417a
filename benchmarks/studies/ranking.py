"""How well subnets are ranked without labels: Kendall's τ to their accuracy on the test images.

`python -m tofa_edge.benchmarks.studies.ranking cifar10-jpeg.zip --work study`, after
`tofa_edge.benchmarks.studies.transfer` has trained a supernet there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import safetensors.numpy

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.benchmarks.studies.agreement import rank
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.benchmarks.studies.training_study import read_zip, study_space
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.measurement.order_statistics import kendall_tau
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.run.subnet_accuracy import accuracy, subnet_logits

UNLABELLED = 2000


def main() -> None:
    """Ranks random subnets, then reads the test images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--trained", default="trained-25-1.safetensors")
    parser.add_argument("--subnets", type=int, default=24)
    options = parser.parse_args()
    data = read_zip(options.images)
    space = study_space(len(data.classes))
    arrays = dict(safetensors.numpy.load_file(options.work / options.trained))
    rng = np.random.default_rng(11)
    subnets = [space.sample(rng) for _ in range(options.subnets)]
    unlabelled, seen = data.images[:UNLABELLED], data.images[:CALIBRATION_IMAGES]
    nothing, none = data.images[:0], data.labels[:0]
    ranking = rank(space, arrays, LITE_PREPROCESSING, subnets, unlabelled, nothing, none)
    truth = np.array(
        [
            accuracy(
                subnet_logits(space, subnet, arrays, LITE_PREPROCESSING, seen, data.test_images),
                data.test_labels,
            )
            for subnet in subnets
        ]
    )
    costs = np.array([macs(layers(space, subnet)) for subnet in subnets], np.float64)
    row = {
        "made": made(),
        "subnets": len(subnets),
        "test_images": len(data.test_labels),
        "accuracy": [float(truth.min()), float(truth.max())],
        "tau_divergence": kendall_tau(-ranking.divergence, truth),
        "tau_agreement": kendall_tau(ranking.agreement, truth),
        "tau_macs": kendall_tau(costs, truth),
    }
    (options.work / "ranking.json").write_text(json.dumps(row, indent=1))
    print(json.dumps(row))


if __name__ == "__main__":
    main()
