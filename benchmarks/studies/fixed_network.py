"""Is a searched subnet better than the fixed network at a lower resolution, at equal latency?

    python -m tofa_edge.benchmarks.studies.fixed_network cifar10-jpeg.zip cifar.tofa --work study

after `tofa_edge.benchmarks.studies.transfer` has pretrained and trained a supernet in `study`, from
which the bundle was made. The peer is the whole EfficientNet-Lite0 at five resolutions, which share
its weights: trained from the same start, on the same images and labels, with the same loss and four
networks a step (the largest resolution, the smallest and two others), for as many steps as take the
supernet's MACs. Then each of its resolutions is timed; its median is the budget for a deployment of
the bundle; both are timed again in turn, and compared on all test images, image by image.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

import tofa_edge
from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.command import (
    RESULTS,
    Row,
    bootstrap_interval,
    in_turn,
    options,
    store,
)
from tofa_edge.benchmarks.studies.training_study import WORK, Data, Study, read_zip, save, show
from tofa_edge.benchmarks.studies.transfer import study_config
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.device.machine import fingerprint
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import Arrays
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.storage.plain import to_plain
from tofa_edge.train.data.photos import forget_labels, resized
from tofa_edge.train.run.loop import sandwich
from tofa_edge.train.run.phases import TrainingRun, optimise
from tofa_edge.train.supernet.supernet import Supernet

SIZES = (32, 40, 48, 56, 64)  # pixels of the fixed network
WARM_UP, BLOCK, BLOCKS = 10, 30, 30  # runs, runs, blocks of each
EQUAL, TRIES = 1.02, 4
EXPECTED_STEPS = 200  # whose subnets are drawn to know what a step costs


def main() -> None:
    given = options(
        __doc__, "images", "bundle", work=WORK, labels=(25, "a class"), draw=0, pretrain_steps=1500,
        steps=(1200, "of the supernet's training"), engine="openvino", train_only=False,
        out=RESULTS / "fixed_network.json",
    )  # fmt: skip
    study = Study(read_zip(given.images), given.work, given.pretrain_steps, given.steps)
    path = given.work / f"fixed-{given.labels}-{given.draw}.safetensors"
    steps = equal_steps(study.data.space(), given.steps)
    if not path.exists():
        trained, seconds = _trained(study, given.labels, given.draw, steps)
        save({**trained.to_arrays(), "cpu_seconds": np.array([seconds], np.float32)}, path)
    if given.train_only:
        return
    arrays = dict(safetensors.numpy.load_file(path))
    seconds = float(arrays.pop("cpu_seconds")[0])
    rows = _compared(study.data, arrays, Bundle.open(given.bundle), given.engine)
    result = {
        "device": to_plain(fingerprint()),
        "labels": given.labels,
        "draw": given.draw,
        "steps": {"supernet": given.steps, "fixed": steps},
        "fixed_cpu_s": round(seconds),
        "budgets": rows,
        "better_beyond_the_interval": sum(row["gain_interval"][0] > 0 for row in rows),
    }
    store(given.out, result)


def at_all_sizes(space: SearchSpace) -> SearchSpace:
    """Returns a space with the peer's resolutions."""
    return replace(space, resolutions=SIZES)


def ladder(space: SearchSpace, rng: np.random.Generator) -> list[Subnet]:
    """Returns what the peer trains in a step: a sandwich of resolutions, the largest first."""
    between = rng.choice(SIZES[1:-1], 2, replace=False)
    sizes = (SIZES[-1], SIZES[0], *between)
    return [replace(space.largest(), resolution=int(size)) for size in sizes]


def equal_steps(space: SearchSpace, steps: int) -> int:
    """Returns how many steps of the peer take the MACs of so many steps of the supernet."""
    costs = []
    for choose, its in ((sandwich, space), (ladder, at_all_sizes(space))):
        rng = np.random.default_rng(0)
        drawn = [subnet for _ in range(EXPECTED_STEPS) for subnet in choose(its, rng)]
        costs.append(sum(macs(layers(its, subnet)) for subnet in drawn))
    return round(steps * costs[0] / costs[1])


def _trained(study: Study, count: int, draw: int, steps: int) -> tuple[Supernet, float]:
    data = study.data
    labels = forget_labels(data.labels, count, draw)
    config = study_config(steps, labels, 2, draw, len(data.images))
    start = data.supernet(study.start())
    supernet = Supernet(at_all_sizes(start.space), LITE_PREPROCESSING)
    supernet.load_arrays(start.to_arrays())
    begun, outputs = time.process_time(), study.teacher_outputs()
    run = TrainingRun(config, show)
    trained = optimise(supernet, data.images, labels, run, choose=ladder, teacher_outputs=outputs)
    return trained.supernet, time.process_time() - begun


class Runnable:
    """A subnet on an engine as a device runs it, calibrated with the same training images."""

    def __init__(
        self, space: SearchSpace, subnet: Subnet, arrays: Arrays, engine: Engine, data: Data
    ) -> None:
        seen = resized(data.images[:CALIBRATION_IMAGES], subnet.resolution)
        network = cut_network(space, subnet, arrays, LITE_PREPROCESSING, seen, calibrating_engine())
        self.subnet, self.data, self.session = subnet, data, engine.load(network)
        self.mmacs = round(macs(layers(space, subnet)) / 1e6, 1)
        self.run = partial(self.session.run, specimen_images(subnet.resolution)[:1])

    def right(self) -> NDArray[np.bool_]:
        """Whether each test image is classified right, one at a time, (N,)."""
        images = resized(self.data.test_images, self.subnet.resolution)
        parts = [self.session.run(images[at : at + 1])[LOGITS] for at in range(len(images))]
        right: NDArray[np.bool_] = np.concatenate(parts).argmax(axis=1) == self.data.test_labels
        return right


def _compared(
    data: Data, arrays: dict[str, FloatArray], bundle: Bundle, engine_name: str
) -> list[Row]:
    wanted = tofa_edge.DeployOptions(backend=engine_name, threads=1, precision="fp32")
    with tofa_edge.deploy(bundle, subnet=bundle.space.middle(), options=wanted) as model:
        engine = model.engine
    rows, sizes = [], at_all_sizes(bundle.space)
    for size in SIZES:
        whole = replace(sizes.largest(), resolution=size)
        peer = Runnable(sizes, whole, arrays, engine, data)
        chosen, times = _as_fast(bundle, engine, data, peer)
        row = {
            "engine": str(engine),
            "fixed_px": size,
            "subnet": str(chosen.subnet),
            "mmacs": [peer.mmacs, chosen.mmacs],
            **times,
            **_gain(peer.right(), chosen.right()),
        }
        peer.session.close()
        chosen.session.close()
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def _as_fast(bundle: Bundle, engine: Engine, data: Data, peer: Runnable) -> tuple[Runnable, Row]:
    """Returns what is chosen within the peer's latency, and how both are timed in turn.

    Where that is slower in turn than the peer, the machine changed meanwhile and the budget was
    wrong: it is lowered by as much, at most three times.
    """
    wanted = tofa_edge.DeployOptions(engine.backend.name, threads=1, precision="fp32")
    budget_ms = float(np.median(in_turn([peer.run], BLOCKS, BLOCK, WARM_UP)))
    for attempt in range(TRIES):
        budget = Budget(latency_ms=budget_ms, percentile=50)
        with tofa_edge.deploy(bundle, budget=budget, remember=False, options=wanted) as model:
            subnet = model.subnet
        chosen = Runnable(bundle.space, subnet, bundle.supernet(), engine, data)
        peer_ms, chosen_ms = in_turn([peer.run, chosen.run], BLOCKS, BLOCK, WARM_UP)
        ratio = float(np.median(chosen_ms / peer_ms))
        if ratio <= EQUAL or attempt == TRIES - 1:
            break
        chosen.session.close()
        budget_ms /= ratio
    return chosen, {
        "budget_ms": round(budget_ms, 4),
        "fixed_p50_ms": round(float(np.median(peer_ms)), 4),
        "chosen_over_fixed": round(ratio, 3),
    }


def _gain(fixed: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> Row:
    """Returns both accuracies and their difference with its 95 % interval, image by image."""
    gain = chosen.astype(float) - fixed
    return {
        "fixed_accuracy": round(float(fixed.mean()), 4),
        "chosen_accuracy": round(float(chosen.mean()), 4),
        "gain": round(float(gain.mean()), 4),
        "gain_interval": [round(bound, 4) for bound in bootstrap_interval(gain)],
    }


if __name__ == "__main__":
    main()
