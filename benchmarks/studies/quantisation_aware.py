"""What int8 costs, after training as usual and after a quantisation-aware last phase.

`python -m tofa_edge.benchmarks.studies.quantisation_aware cifar10-jpeg.zip --test` takes the
supernet that `transfer` trained, semi-supervised, and compares three of them: as it is, trained on
in float, and trained on quantisation-aware for as many steps. Twenty subnets of each classify the
test images in fp32 and in int8, as onnxruntime computes them on this processor. Every finished
part is kept in the folder: started again, only what is missing is run. The intervals are over test
images; another draw of labels, or another order of training, is not in them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from tofa_edge.architecture.arrays import FloatArray, IndexArray
from tofa_edge.architecture.encodings import decoded
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.registry import backend
from tofa_edge.benchmarks.studies.command import RESULTS, Row, bootstrap_interval, store
from tofa_edge.benchmarks.studies.study_data import Data, Right
from tofa_edge.benchmarks.studies.study_runs import RATIO, study_config, trained_path
from tofa_edge.benchmarks.studies.training_study import Study, save, show, training_options
from tofa_edge.cutting.accuracy_drop import logits_of
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.cutting.ranges import RANGE_IMAGES, levels_here, ready
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.data.photos import forget_labels, resized
from tofa_edge.train.objective.class_prior import class_prior
from tofa_edge.train.objective.linear_probe import fit_linear_probe
from tofa_edge.train.objective.objectives import PROBE_LEAST, SemiSupervised
from tofa_edge.train.run.loop import Phase
from tofa_edge.train.run.phases import LAST_RATE, train_phase
from tofa_edge.train.run.subnet_accuracy import subnet_logits
from tofa_edge.train.supernet.supernet import Supernet

LABELS = 25  # a class
RANDOM_SUBNETS, SUBNET_SEED = 17, 3
PRECISIONS = ("fp32", "int8")


def main() -> None:
    rate = (LAST_RATE, "over that of training")
    out = RESULTS / "quantisation_aware.json"
    given = training_options(__doc__, "images", draw=0, steps=150, rate=rate, out=out)
    study = Study.of(given)
    labels = forget_labels(study.data.labels, LABELS, given.draw)
    path = trained_path(given.work, labels, given.draw)
    arrays = start = dict(safetensors.numpy.load_file(path))
    rows: Row = {}
    right: dict[str, dict[str, Right]] = {}
    for name, rounded in (("as trained", None), ("float", False), ("quantisation-aware", True)):
        of = "" if rounded is None else f"{given.steps}-{given.rate:g}-"
        kept = given.work / f"{path.stem}-{of}{name.replace(' ', '-')}.safetensors"
        if rounded is not None:
            arrays = _trained_on(study, start, labels, given, rounded, kept)
        kept = kept.with_name(f"{kept.stem}-{study.data.tested_on}.right")
        right[name] = _tested(arrays, study, kept)
        rows[name] = _compared(right[name])
        print(f"{name}: {json.dumps(rows[name])}", flush=True)
    aware, usual = right["quantisation-aware"], right["float"]
    gain = {f"{kind} over float": _interval(aware[kind], usual[kind]) for kind in PRECISIONS}
    print(f"quantisation-aware: {json.dumps(gain)}")
    setting = {"labels a class": LABELS, "draw": given.draw, "steps": given.steps}
    setting |= {"rate": given.rate, "subnets": RANDOM_SUBNETS + 3}
    setting |= {"images": len(study.data.test_labels), "tested on": study.data.tested_on}
    setting |= {"weight levels": levels_here(), "threads": torch.get_num_threads()}
    store(given.out, {"setting": setting, "supernets": rows, "gain": gain})


def _compared(right: Mapping[str, Right]) -> Row:
    """Returns mean accuracies, and what int8 loses, in points, over all subnets."""
    drops = 100 * (right["fp32"].mean(axis=1) - right["int8"].mean(axis=1))
    return {
        "accuracy": {name: round(100 * float(each.mean()), 2) for name, each in right.items()},
        "drop": _interval(right["fp32"], right["int8"]),
        "drop by subnet": [round(float(drop), 2) for drop in drops],
    }


def _interval(more: Right, less: Right) -> dict[str, float]:
    """Returns by how many points one is right more often, and a 95 % interval.

    A paired bootstrap over images; the subnets stay as they are.
    """
    by_image = 100 * (more.mean(axis=0) - less.mean(axis=0))
    low, high = bootstrap_interval(by_image)
    figures = {"mean": by_image.mean(), "low": low, "high": high}
    return {name: round(float(value), 2) for name, value in figures.items()}


def _trained_on(
    study: Study,
    start: dict[str, FloatArray],
    labels: IndexArray,
    given: argparse.Namespace,
    rounded: bool,
    kept: Path,
) -> dict[str, FloatArray]:
    """Returns the arrays of a supernet trained on for some steps."""
    if not kept.exists():
        config = study_config(study.data, given.steps, labels, RATIO, given.draw)
        supernet = study.supernet(start)
        supernet.load_arrays(start)
        objective = _objective(study, supernet, labels, config.batch_size)
        rate = given.rate * config.learning_rate
        phase = Phase(kept.stem, given.steps, rate, config.seed, rounded=rounded)
        save(train_phase(supernet, objective, phase, show).to_arrays(), kept)
    return dict(safetensors.numpy.load_file(kept))


def _objective(
    study: Study, supernet: Supernet, labels: IndexArray, batch_size: int
) -> SemiSupervised:
    """Returns the objective of the training before, its targets as they are at the end."""
    data, space = study.data, supernet.space
    images, classes = data.images, len(data.classes)
    outputs = study.teacher_outputs()
    features = torch.cat([output.features for output in outputs], dim=1)
    prior = class_prior(features, labels, classes)
    probe = fit_linear_probe(features, labels, classes, prior=prior).probabilities(features)
    logits = subnet_logits(
        space, space.largest(), supernet.to_arrays(), LITE_PREPROCESSING,
        images[:CALIBRATION_IMAGES], images,
    )  # fmt: skip
    targets = torch.lerp(torch.from_numpy(logits).softmax(dim=1), probe, PROBE_LEAST)
    return SemiSupervised(
        images, labels, classes, batch_size, RATIO * batch_size, targets, prior=prior,
        settled=True,
    )  # fmt: skip


def _tested(arrays: dict[str, FloatArray], study: Study, kept: Path) -> dict[str, Right]:
    """Returns by precision whether each subnet classified each test image right.

    Kept after each subnet.
    """
    data, space = study.data, study.space()
    right = {name: np.zeros((0, len(data.test_labels)), np.float32) for name in PRECISIONS}
    if kept.exists():
        right = dict(safetensors.numpy.load_file(kept))
    others = decoded(space, sample(space, np.random.default_rng(SUBNET_SEED), RANDOM_SUBNETS))
    subnets = [space.largest(), space.middle(), space.smallest(), *others]
    for number, subnet in enumerate(subnets[len(right["int8"]) :], len(right["int8"]) + 1):
        for precision, logits in _logits(space, subnet, arrays, data).items():
            row = (logits.argmax(axis=1) == data.test_labels).astype(np.float32)
            right[precision] = np.concatenate([right[precision], row[None]])
        save(right, kept)
        shares = ", ".join(f"{name} {rows[-1].mean():.2%}" for name, rows in right.items())
        print(f"{kept.stem}: {number}/{len(subnets)}, {shares}", flush=True)
    return {name: rows > 0 for name, rows in right.items()}


def _logits(
    space: SearchSpace, subnet: Subnet, arrays: dict[str, FloatArray], data: Data
) -> dict[str, FloatArray]:
    """Returns the logits of the test images as a device computes them, (N, classes)."""
    engine = Engine(backend("onnxruntime"), Target())
    images = resized(data.test_images, subnet.resolution)
    seen = resized(data.images[:CALIBRATION_IMAGES], subnet.resolution)
    network = cut_network(space, subnet, arrays, LITE_PREPROCESSING, seen, engine)
    logits = {}
    for precision in PRECISIONS:
        target = replace(engine.target, precision=precision)
        prepared = ready(network, target, seen[:RANGE_IMAGES], engine)
        logits[precision] = logits_of(prepared, Engine(engine.backend, target), images)
    return logits


if __name__ == "__main__":
    main()
