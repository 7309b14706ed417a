"""Is a searched subnet better than the fixed network at a lower resolution, at equal latency?

    python -m tofa_edge.benchmarks.studies.fixed_network cifar10-jpeg.zip --work study --test

The peer is the whole EfficientNet-Lite0 at several resolutions (`fixed_peer.py`), pretrained and
trained in as much processor time as the supernet. For each draw of labels and each pretraining,
each of its resolutions is timed; its median is the budget for a deployment of the supernet's
bundle, which may have a classifier of its own; both are timed again in turn, and compared on all
images. Intervals are over repetitions and images together.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import tofa_edge
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.command import (
    RESULTS,
    Row,
    hierarchical_interval,
    in_turn,
    store,
)
from tofa_edge.benchmarks.studies.fixed_peer import Peer, Repetition, supernet_bundle
from tofa_edge.benchmarks.studies.study_data import Data, Right
from tofa_edge.benchmarks.studies.study_runs import mmacs
from tofa_edge.benchmarks.studies.training_study import Study, training_options
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES, Cutter
from tofa_edge.device.machine import fingerprint
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.network.slicing import Arrays
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.storage.plain import to_plain
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.photos import forget_labels, resized

SIZES = {"elpv": [64, 96, 128, 160]}  # px of the fixed network
USUAL_SIZES = [32, 40, 48, 56, 64]
WARM_UP, BLOCK, BLOCKS = 10, 30, 30  # runs, runs, blocks of each
LEAST_USED, EQUAL, TRIES = 0.95, 1.02, 4  # of the peer's time


def main() -> None:
    given = training_options(
        __doc__, "images", labels=(25, "a class"), draws=[0, 1], seeds=([0, 1], "of pretraining"),
        pretrain_steps=1500, steps=(1200, "of the supernet's training"),
        sizes={"nargs": "*", "type": int, "help": "px of the fixed network"}, engine="openvino",
        train_only=False, predictor_subnets=TrainingConfig().predictor_subnets,
        out=RESULTS / "fixed_network.json",
    )  # fmt: skip
    sizes = tuple(sorted(given.sizes or SIZES.get(str(given.images), USUAL_SIZES)))
    if sizes[-1] > given.resolution:
        raise SystemExit(
            f"images have {given.resolution} px, the peer wants {sizes[-1]}: give a --resolution"
        )
    study = Study.of(given)
    peer = Peer(study, sizes)
    runs: list[Row] = []
    right: list[tuple[Right, Right]] = []
    for draw, seed in itertools.product(given.draws, given.seeds):
        each = Repetition(given.labels, draw, seed)
        labels = forget_labels(study.data.labels, given.labels, draw)
        bundle, seconds = supernet_bundle(study, labels, each, given.predictor_subnets)
        arrays, figures = peer.arrays(labels, each, seconds)
        if given.train_only:
            continue
        spent = {"pretraining_s": study.start_seconds(seed), "training_s": seconds}
        rows, found = compared(peer, arrays, bundle, given.engine)
        runs.append({"draw": draw, "seed": seed, "supernet": spent, "fixed": figures, "rows": rows})
        right.append(found)
    if runs:
        result = {"device": to_plain(fingerprint()), "labels": given.labels}
        result |= {"tested_on": study.data.tested_on, "steps": given.steps}
        budgets = summary(sizes, runs, *(np.stack(each) for each in zip(*right, strict=True)))
        store(given.out, {**result, "runs": runs, "budgets": budgets})


def summary(sizes: Sequence[int], runs: Sequence[Row], fixed: Right, chosen: Right) -> list[Row]:
    """Returns for each size what was gained over the peer, and whether that is more than chance.

    Args:
        sizes: of the peer.
        runs: with a row for each size under "rows".
        fixed: whether the peer is right on each image, (runs, sizes, images).
        chosen: the same of what was chosen.
    """
    budgets = []
    for index, size in enumerate(sizes):
        gain = chosen[:, index].astype(np.float64) - fixed[:, index]
        low, high = hierarchical_interval(gain)
        equal = sum(bool(run["rows"][index]["equal"]) for run in runs)
        tie = 2 * equal > len(runs) or low <= 0 <= high
        budgets.append({
            "fixed_px": size,
            "fixed_accuracy": round(float(fixed[:, index].mean()), 4),
            "chosen_accuracy": round(float(chosen[:, index].mean()), 4),
            "gain": round(float(gain.mean()), 4),
            "gain_interval": [round(low, 4), round(high, 4)],
            "equal_networks": equal,
            "result": "tie" if tie else ("won" if low > 0 else "lost"),
        })  # fmt: skip
        print(json.dumps(budgets[-1]), flush=True)
    return budgets


class Runnable:
    """A network on an engine as a device runs it."""

    def __init__(
        self, space: SearchSpace, subnet: Subnet, network: Network, engine: Engine, data: Data
    ) -> None:
        self.subnet, self.data, self.session = subnet, data, engine.load(network)
        self.mmacs = mmacs(space, subnet)
        self.run = partial(self.session.run, specimen_images(subnet.resolution)[:1])

    def right(self) -> Right:
        """Whether each image is classified right, one at a time, (N,)."""
        images = resized(self.data.test_images, self.subnet.resolution)
        parts = [self.session.run(images[at : at + 1])[LOGITS] for at in range(len(images))]
        right: Right = np.concatenate(parts).argmax(axis=1) == self.data.test_labels
        return right


def compared(
    peer: Peer, arrays: Arrays, path: Path, engine_name: str
) -> tuple[list[Row], tuple[Right, Right]]:
    """Returns a row for each of the peer's sizes, and what both are right on, (sizes, images)."""
    data, bundle = peer.study.data, Bundle.open(path)
    wanted = tofa_edge.DeployOptions(backend=engine_name, threads=1, precision="fp32")
    with tofa_edge.deploy(bundle, subnet=bundle.space.middle(), options=wanted) as model:
        engine = model.engine
    rows, fixed_right, chosen_right = [], [], []
    for size in peer.sizes:
        whole = replace(peer.space.largest(), resolution=size)
        seen = resized(data.images[:CALIBRATION_IMAGES], size)
        network = cut_network(
            peer.space, whole, arrays, LITE_PREPROCESSING, seen, calibrating_engine()
        )
        fixed = Runnable(peer.space, whole, network, engine, data)
        chosen, times = _as_fast(bundle, engine, data, fixed)
        fixed_right.append(fixed.right())
        chosen_right.append(chosen.right())
        row = {
            "engine": str(engine),
            "fixed_px": size,
            "subnet": str(chosen.subnet),
            "equal": chosen.subnet == whole,
            "mmacs": [fixed.mmacs, chosen.mmacs],
            **times,
            "accuracy": [float(each[-1].mean()) for each in (fixed_right, chosen_right)],
        }
        fixed.session.close()
        chosen.session.close()
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows, (np.stack(fixed_right), np.stack(chosen_right))


def _as_fast(bundle: Bundle, engine: Engine, data: Data, peer: Runnable) -> tuple[Runnable, Row]:
    """Returns what is chosen within the peer's latency, and how both are timed in turn.

    Where that is slower in turn than the peer, or leaves much of its time, the machine may have
    changed meanwhile and the budget was wrong: it is scaled by as much, at most three times. The
    slowest that keeps the peer's time is compared.
    """
    wanted = tofa_edge.DeployOptions(engine.backend.name, threads=1, precision="fp32")
    budget_ms = float(np.median(in_turn([peer.run], BLOCKS, BLOCK, WARM_UP)))
    tried: list[tuple[float, Row, Subnet]] = []
    for _ in range(TRIES):
        budget = Budget(latency_ms=budget_ms, percentile=50)
        with tofa_edge.deploy(bundle, budget=budget, remember=False, options=wanted) as model:
            subnet = model.subnet
        with contextlib.closing(runnable_of(bundle, subnet, engine, data).session) as session:
            run = partial(session.run, specimen_images(subnet.resolution)[:1])
            peer_ms, chosen_ms = in_turn([peer.run, run], BLOCKS, BLOCK, WARM_UP)
        ratio = float(np.median(chosen_ms / peer_ms))
        row = {
            "budget_ms": round(budget_ms, 4),
            "fixed_p50_ms": round(float(np.median(peer_ms)), 4),
            "chosen_over_fixed": round(ratio, 3),
        }
        tried.append((ratio, row, subnet))
        if LEAST_USED <= ratio <= EQUAL:
            break
        budget_ms /= ratio
    ratio, row, subnet = min(tried, key=lambda each: (each[0] > EQUAL, abs(each[0] - 1)))
    return runnable_of(bundle, subnet, engine, data), {**row, "tries": len(tried)}


def runnable_of(bundle: Bundle, subnet: Subnet, engine: Engine, data: Data) -> Runnable:
    """Returns a subnet of a bundle on an engine, cut and calibrated as on a device."""
    network = Cutter(bundle).network(subnet, calibrating_engine())
    return Runnable(bundle.space, subnet, network, engine, data)


if __name__ == "__main__":
    main()
