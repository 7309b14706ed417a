"""How well subnets are ranked without labels: Kendall's τ to their accuracy on the test images.

`python -m tofa_edge.benchmarks.studies.ranking cifar10-jpeg.zip --work study`, after
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
from tofa_edge.benchmarks.studies.command import Row, options, store
from tofa_edge.benchmarks.studies.training_study import WORK, Data, read_zip
from tofa_edge.measurement.order_statistics import kendall_tau

UNLABELLED = 2000


def main() -> None:
    trained = [f"trained-25-{draw}.safetensors" for draw in range(3)]
    given = options(__doc__, "images", work=WORK, trained=trained, subnets=24)
    data = read_zip(given.images)
    rows = [_row(data, given.work / name, given.subnets) for name in given.trained]
    store(given.work / "ranking.json", {"draws": rows})


def _row(data: Data, trained: Path, count: int) -> Row:
    space, arrays = data.space(), safetensors.numpy.load_file(trained)
    rng = np.random.default_rng(11)
    subnets = [space.sample(rng) for _ in range(count)]
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
