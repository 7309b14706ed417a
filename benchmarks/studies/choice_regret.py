"""How much accuracy does the choice within a latency budget leave on the table?

    python -m tofa_edge.benchmarks.studies.choice_regret parts.tofa cifar10-jpeg.zip --test

Subnets of all sizes are cut, timed and run on all images. For each budget the best of the 60
slowest within it is chosen by one half of the images and compared with what `deploy` chose, without
any of them, on the other half, and the other way round: no device can choose that well, and chance
gains nothing by it. The images must not be those that the bundle was trained on.
"""

from __future__ import annotations

import json

import numpy as np

import tofa_edge
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.command import RESULTS, Row, in_turn, random_subnets, store
from tofa_edge.benchmarks.studies.fixed_network import BLOCK, BLOCKS, WARM_UP, runnable_of
from tofa_edge.benchmarks.studies.study_data import Data, Right
from tofa_edge.benchmarks.studies.training_study import Study, training_options
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.device.machine import fingerprint
from tofa_edge.storage.plain import to_plain

COMPARED = 60  # subnets within each budget
QUANTILES = (0.3, 0.45, 0.6, 0.8, 1.0)  # of the subnets' latencies: the budgets


def main() -> None:
    given = training_options(
        __doc__, "bundle", "images", subnets=(150, "of all sizes"), engine="openvino",
        out=RESULTS / "choice_regret.json",
    )  # fmt: skip
    data = Study.of(given).data
    bundle = Bundle.open(given.bundle)
    rows = regrets(bundle, data, given.engine, given.subnets)
    fields = {"device": to_plain(fingerprint()), "tested_on": data.tested_on}
    store(given.out, {**fields, "images": len(data.test_labels), "budgets": rows})


def regrets(bundle: Bundle, data: Data, engine_name: str, count: int) -> list[Row]:
    """Returns a row for each budget.

    Args:
        bundle: a trained one.
        data: whose test images are looked at.
        engine_name: of a backend that is installed.
        count: of random subnets.
    """
    wanted = tofa_edge.DeployOptions(backend=engine_name, threads=1, precision="fp32")
    with tofa_edge.deploy(bundle, subnet=bundle.space.middle(), options=wanted) as model:
        engine = model.engine
    subnets = random_subnets(bundle.space, seed=23, count=count)
    measured = [_measured(bundle, each, engine, data) for each in subnets]
    times, right = np.array([ms for ms, _ in measured]), np.stack([row for _, row in measured])
    rows = []
    for budget_ms in np.quantile(times, QUANTILES).tolist():
        budget = Budget(latency_ms=budget_ms, percentile=50)
        with tofa_edge.deploy(bundle, budget=budget, remember=False, options=wanted) as model:
            chosen = model.subnet
        chosen_ms, chosen_right = _measured(bundle, chosen, engine, data)
        order = np.argsort(times)
        within = order[times[order] <= budget_ms][-COMPARED:]
        rows.append({
            "budget_ms": round(budget_ms, 4),
            "chosen": str(chosen),
            "chosen_ms": round(chosen_ms, 4),
            "chosen_accuracy": round(float(chosen_right.mean()), 4),
            "compared": len(within),
            **regret(right[within], chosen_right),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def regret(right: Right, chosen: Right) -> Row:
    """Returns by how much the best of some subnets is better than the chosen one, and its error.

    Args:
        right: whether each of the subnets is right on each image, (subnets, images).
        chosen: the same of the chosen one, (images,).
    """
    gains = np.empty(right.shape[1])
    for part in (0, 1):
        best = right[:, 1 - part :: 2].mean(axis=1).argmax()
        gains[part::2] = right[best, part::2].astype(np.float64) - chosen[part::2]
    error = gains.std(ddof=1) / len(gains) ** 0.5
    return {"regret": round(float(gains.mean()), 4), "standard_error": round(float(error), 4)}


def _measured(bundle: Bundle, subnet: Subnet, engine: Engine, data: Data) -> tuple[float, Right]:
    """Returns the latency of a subnet in ms, and whether it is right on each image, (images,)."""
    runnable = runnable_of(bundle, subnet, engine, data)
    try:
        (times,) = in_turn([runnable.run], BLOCKS, BLOCK, WARM_UP)
        return float(np.median(times)), runnable.right()
    finally:
        runnable.session.close()


if __name__ == "__main__":
    main()
