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

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

import tofa_edge
from tofa_edge.architecture.arrays import DoubleArray, FloatArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine, Session
from tofa_edge.benchmarks.studies.provenance import made, store
from tofa_edge.benchmarks.studies.training_study import (
    Data,
    Study,
    read_zip,
    save,
    show,
    study_supernet,
)
from tofa_edge.benchmarks.studies.transfer import study_config
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.device.machine import fingerprint
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.train.data.photos import forget_labels, resized
from tofa_edge.train.run.loop import sandwich
from tofa_edge.train.run.phases import optimise
from tofa_edge.train.run.subnet_accuracy import host_engine
from tofa_edge.train.supernet.supernet import Supernet

SIZES = (32, 40, 48, 56, 64)  # pixels of the fixed network
WARM_UP, BLOCK, BLOCKS = 10, 30, 30  # runs, runs, blocks of each
EQUAL, TRIES = 1.02, 4
RESAMPLED = 2000
EXPECTED_STEPS = 200  # whose subnets are drawn to know what a step costs


def main() -> None:
    """Trains the peer unless it is there, and compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--labels", type=int, default=25, help="a class")
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=1200, help="of the supernet's training")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fixed_network.json"))
    options = parser.parse_args()
    study = Study(read_zip(options.images), options.work, options.pretrain_steps, options.steps)
    path = options.work / f"fixed-{options.labels}-{options.draw}.safetensors"
    steps = equal_steps(study_supernet(len(study.data.classes)).space, options.steps)
    if not path.exists():
        trained, seconds = _trained(study, options.labels, options.draw, steps)
        save({**trained.to_arrays(), "cpu_seconds": np.array([seconds], np.float32)}, path)
    if options.train_only:
        return
    arrays = dict(safetensors.numpy.load_file(path))
    seconds = float(arrays.pop("cpu_seconds")[0])
    rows = _compared(study.data, arrays, Bundle.open(options.bundle), options.engine)
    found = {
        "made": made(),
        "device": fingerprint().to_dict(),
        "labels": options.labels,
        "draw": options.draw,
        "steps": {"supernet": options.steps, "fixed": steps},
        "fixed_cpu_s": round(seconds),
        "budgets": rows,
        "better_beyond_the_interval": sum(row["gain_interval"][0] > 0 for row in rows),
    }
    store(options.out, found)


def at_all_sizes(space: SearchSpace) -> SearchSpace:
    """Returns a space with the peer's resolutions."""
    return replace(space, resolutions=SIZES)


def whole(space: SearchSpace, size: int) -> Subnet:
    """Returns the whole network at a resolution."""
    return replace(space.largest(), resolution=size)


def ladder(space: SearchSpace, rng: np.random.Generator) -> list[Subnet]:
    """Returns what the peer trains in a step: a sandwich of resolutions, the largest first."""
    between = rng.choice(SIZES[1:-1], 2, replace=False)
    return [whole(space, int(size)) for size in (SIZES[-1], SIZES[0], *between)]


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
    start = study_supernet(len(data.classes), study.start())
    supernet = Supernet(at_all_sizes(start.space), LITE_PREPROCESSING)
    supernet.load_arrays(start.to_arrays())
    begun = time.process_time()
    trained = optimise(
        supernet,
        data.images,
        labels,
        config,
        show,
        choose=ladder,
        teacher_outputs=study.teacher_outputs(),
    )
    return trained, time.process_time() - begun


def _compared(
    data: Data, arrays: dict[str, FloatArray], bundle: Bundle, engine_name: str
) -> list[dict[str, Any]]:
    with tofa_edge.deploy(
        bundle, subnet=bundle.space.middle(), backend=engine_name, threads=1, precision="fp32"
    ) as model:
        engine = model.engine
    rows, sizes = [], at_all_sizes(bundle.space)
    for size in SIZES:
        subnet = whole(sizes, size)
        fixed = _network(sizes, subnet, arrays, data)
        peer = engine.load(fixed)
        chosen, ours, own, times = _as_fast(bundle, engine, data, (peer, fixed))
        right = [_right(data, *each) for each in ((peer, fixed), (own, ours))]
        peer.close()
        own.close()
        costs = (macs(layers(sizes, subnet)), macs(layers(bundle.space, chosen)))
        rows.append(
            {
                "engine": str(engine),
                "fixed_px": size,
                "subnet": str(chosen),
                "mmacs": [round(cost / 1e6, 1) for cost in costs],
                **times,
                **_gain(*right),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _as_fast(
    bundle: Bundle, engine: Engine, data: Data, peer: tuple[Session, Network]
) -> tuple[Subnet, Network, Session, dict[str, float]]:
    """Returns what is chosen within the peer's latency, and how both are timed in turn.

    Where that is slower in turn than the peer, the machine changed meanwhile and the budget was
    wrong: it is lowered by as much, at most three times.
    """
    session, fixed = peer
    budget = float(np.median(_in_turn([session], [fixed.input_size])[0]))
    for attempt in range(TRIES):
        with tofa_edge.deploy(
            bundle,
            budget=Budget(latency_ms=budget, percentile=50),
            backend=engine.backend.name,
            threads=1,
            precision="fp32",
            remember=False,
        ) as model:
            chosen = model.subnet
        ours = _network(bundle.space, chosen, bundle.supernet(), data)
        own = engine.load(ours)
        theirs_ms, ours_ms = _in_turn([session, own], [fixed.input_size, ours.input_size])
        ratio = float(np.median(ours_ms / theirs_ms))
        if ratio <= EQUAL or attempt == TRIES - 1:
            break
        own.close()
        budget /= ratio
    times = {
        "budget_ms": round(budget, 4),
        "fixed_p50_ms": round(float(np.median(theirs_ms)), 4),
        "chosen_over_fixed": round(ratio, 3),
    }
    return chosen, ours, own, times


def _gain(fixed: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Returns both accuracies and their difference with its 95 % interval, image by image."""
    gain = chosen.astype(float) - fixed
    drawn = np.random.default_rng(0).integers(0, len(gain), (RESAMPLED, len(gain)))
    low, high = np.percentile(gain[drawn].mean(axis=1), (2.5, 97.5))
    return {
        "fixed_accuracy": round(float(fixed.mean()), 4),
        "chosen_accuracy": round(float(chosen.mean()), 4),
        "gain": round(float(gain.mean()), 4),
        "gain_interval": [round(float(low), 4), round(float(high), 4)],
    }


def _network(
    space: SearchSpace, subnet: Subnet, arrays: dict[str, FloatArray], data: Data
) -> Network:
    """Returns a network as a device makes it, calibrated with the same training images."""
    seen = resized(data.images[:CALIBRATION_IMAGES], subnet.resolution)
    return cut_network(space, subnet, arrays, LITE_PREPROCESSING, seen, host_engine())


def _right(data: Data, session: Session, network: Network) -> NDArray[np.bool_]:
    images = resized(data.test_images, network.input_size)
    parts = [session.run(images[at : at + 1])[LOGITS] for at in range(len(images))]
    found: NDArray[np.bool_] = np.concatenate(parts).argmax(axis=1) == data.test_labels
    return found


def _in_turn(sessions: Sequence[Session], sizes: Sequence[int]) -> list[DoubleArray]:
    """Returns the median of each block in milliseconds, (BLOCKS,), of one after the other.

    The first runs of a block do not count: they bring the weights back into the caches.
    """
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8) for size in sizes]
    medians: list[list[float]] = [[] for _ in sessions]
    for _ in range(BLOCKS):
        for session, image, found in zip(sessions, images, medians, strict=True):
            seconds = []
            for _ in range(WARM_UP + BLOCK):
                begun = time.perf_counter()
                session.run(image)
                seconds.append(time.perf_counter() - begun)
            found.append(1e3 * float(np.median(seconds[WARM_UP:])))
    return [np.array(found) for found in medians]


if __name__ == "__main__":
    main()
