"""How well subnets are ranked without labels: Kendall's τ to their accuracy on the test images.

`python -m tofa_edge.benchmarks.studies.ranking cifar10-jpeg.zip --work study --test`, after
`tofa_edge.benchmarks.studies.transfer` has trained a supernet there for each draw of labels.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors.numpy

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.benchmarks.studies.best_subnets import rank
from tofa_edge.benchmarks.studies.command import Row, random_subnets, store
from tofa_edge.benchmarks.studies.training_study import Study, training_options
from tofa_edge.measurement.order_statistics import kendall_tau

UNLABELLED = 2000


def main() -> None:
    trained = [f"trained-25-{draw}.safetensors" for draw in range(3)]
    given = training_options(__doc__, "images", trained=trained, subnets=24)
    study = Study.of(given)
    rows = [_row(study, given.work / name, given.subnets) for name in given.trained]
    store(given.work / "ranking.json", {"tested_on": study.data.tested_on, "draws": rows})


def _row(study: Study, trained: Path, count: int) -> Row:
    data, space, arrays = study.data, study.space(), safetensors.numpy.load_file(trained)
    subnets = random_subnets(space, 11, count)
    ranking = rank(space, arrays, subnets, data.images[:UNLABELLED])
    truth = np.array([data.accuracy(space, subnet, arrays) for subnet in subnets])
    costs = np.array([macs(layers(space, subnet)) for subnet in subnets], np.float64)
    row = {
        "subnets": len(subnets),
        "test_images": len(data.test_labels),
        "accuracy": [float(truth.min()), float(truth.max())],
        "tau_divergence": kendall_tau(-ranking.divergence, truth),
        "tau_agreement": kendall_tau(ranking.agreement, truth),
        "tau_macs": kendall_tau(costs, truth),
    }
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
