"""What int8 costs, after training as usual and after a quantisation-aware last phase.

`python -m tofa_edge.benchmarks.studies.quantisation_aware cifar10-jpeg.zip --work study` takes the
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
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.registry import backend
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.benchmarks.studies.training_study import (
    Data,
    Study,
    read_zip,
    save,
    show,
    study_supernet,
)
from tofa_edge.benchmarks.studies.transfer import study_config, trained_path
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.cutting.ranges import RANGE_IMAGES, levels_here, ready
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.data.photos import forget_labels, resized
from tofa_edge.train.objective.linear_probe import fit_linear_probe
from tofa_edge.train.objective.objectives import SemiSupervised
from tofa_edge.train.run.loop import Phase
from tofa_edge.train.run.phases import LAST_RATE, train_on
from tofa_edge.train.run.subnet_accuracy import BATCH, subnet_logits
from tofa_edge.train.supernet.supernet import Supernet

RESULTS = Path(__file__).resolve().parents[1] / "results" / "quantisation_aware.json"
LABELS = 25  # a class
RATIO = 2  # unlabelled images for each labelled one
RANDOM_SUBNETS, SUBNET_SEED = 17, 3
RESAMPLES = 2000
CONFIDENCE_IMAGES = 512
PRECISIONS = ("fp32", "int8")

Right = NDArray[np.bool_]  # whether each subnet classified each test image right


def main() -> None:
    """Trains what is missing, tests it, prints and stores the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="zip of */{train,test}/<class>/*.jpg")
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rate", type=float, default=LAST_RATE, help="over that of training")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    study = Study(read_zip(options.images), options.work, 0, options.steps)
    labels = forget_labels(study.data.labels, LABELS, options.draw)
    path = trained_path(options.work, labels, options.draw)
    trained = dict(safetensors.numpy.load_file(path))
    rows: dict[str, Any] = {}
    right: dict[str, dict[str, Right]] = {}
    for name, rounded in (("as trained", None), ("float", False), ("quantisation-aware", True)):
        of = "" if rounded is None else f"{options.steps}-{options.rate:g}-"
        kept = options.work / f"{path.stem}-{of}{name.replace(' ', '-')}.safetensors"
        arrays = trained
        if rounded is not None:
            arrays = _trained_on(study, trained, labels, options, rounded, kept)
        right[name] = _tested(arrays, study.data, kept.with_suffix(".right"))
        rows[name] = compared(right[name])
        print(f"{name}: {json.dumps(rows[name])}", flush=True)
    gain = {
        f"{precision} over float": interval(
            right["quantisation-aware"][precision], right["float"][precision]
        )
        for precision in PRECISIONS
    }
    print(f"quantisation-aware: {json.dumps(gain)}")
    setting = {"labels a class": LABELS, "draw": options.draw, "steps": options.steps}
    setting |= {"rate": options.rate, "subnets": RANDOM_SUBNETS + 3}
    setting |= {"test images": len(study.data.test_labels)}
    setting |= {"weight levels": levels_here(), "threads": torch.get_num_threads()}
    content = {"made": made(), "setting": setting, "supernets": rows, "gain": gain}
    options.out.write_text(json.dumps(content, indent=1) + "\n")


def tested_subnets(space: SearchSpace) -> list[Subnet]:
    """Returns the largest, the middle, the smallest and seventeen random subnets."""
    rng = np.random.default_rng(SUBNET_SEED)
    others = [space.sample(rng) for _ in range(RANDOM_SUBNETS)]
    return [space.largest(), space.middle(), space.smallest(), *others]


def compared(right: Mapping[str, Right]) -> dict[str, Any]:
    """Returns mean accuracies, and what int8 loses, in points, over all subnets.

    Args:
        right: by precision, whether each subnet classified each image right, (subnets, images).
    """
    means = {name: round(100 * float(found.mean()), 2) for name, found in right.items()}
    drops = 100 * (right["fp32"].mean(axis=1) - right["int8"].mean(axis=1))
    return {
        "accuracy": means,
        "drop": interval(right["fp32"], right["int8"]),
        "drop by subnet": [round(float(drop), 2) for drop in drops],
    }


def interval(more: Right, less: Right) -> dict[str, float]:
    """Returns by how many points one is right more often, and a 95 % interval.

    A paired bootstrap over images; the subnets stay as they are.

    Args:
        more: whether each subnet classified each image right, (subnets, images).
    """
    by_image = 100 * (more.mean(axis=0) - less.mean(axis=0))
    rng = np.random.default_rng(0)
    means = [rng.choice(by_image, len(by_image)).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    named = {"mean": by_image.mean(), "low": low, "high": high}
    return {name: round(float(value), 2) for name, value in named.items()}


def _trained_on(
    study: Study,
    start: dict[str, FloatArray],
    labels: IndexArray,
    options: argparse.Namespace,
    rounded: bool,
    kept: Path,
) -> dict[str, FloatArray]:
    """Returns the arrays of a supernet trained on for some steps."""
    if kept.exists():
        return dict(safetensors.numpy.load_file(kept))
    config = study_config(options.steps, labels, RATIO, options.draw, len(study.data.images))
    supernet = study_supernet(len(study.data.classes), start)
    supernet.load_arrays(start)
    objective = _objective(study, supernet, labels, config.batch_size)
    phase = Phase(
        kept.stem, options.steps, options.rate * config.learning_rate, config.seed, rounded=rounded
    )
    made = train_on(supernet, objective, phase, show).to_arrays()
    save(made, kept)
    return made


def _objective(
    study: Study, supernet: Supernet, labels: IndexArray, batch_size: int
) -> SemiSupervised:
    """Returns the objective of the training before; its moving averages as they are at the end."""
    data = study.data
    seen = torch.cat([look.features for look in study.teacher_outputs()], dim=1)
    probe = fit_linear_probe(seen, labels, len(data.classes)).probabilities(seen)
    objective = SemiSupervised(
        data.images, labels, len(data.classes), batch_size, RATIO * batch_size, probe
    )
    logits = subnet_logits(
        supernet.space,
        supernet.space.largest(),
        supernet.to_arrays(),
        LITE_PREPROCESSING,
        data.images[:CALIBRATION_IMAGES],
        data.images[:CONFIDENCE_IMAGES],
    )
    said = torch.from_numpy(logits).softmax(dim=1)
    objective.pseudo.load_state(
        {"mean": said.mean(dim=0), "confidence": said.max(dim=1).values.mean()}
    )
    return objective


def _tested(arrays: dict[str, FloatArray], data: Data, kept: Path) -> dict[str, Right]:
    """Returns by precision whether each subnet classified each test image right.

    Kept after each subnet.
    """
    right: dict[str, FloatArray] = {
        name: np.zeros((0, len(data.test_labels)), np.float32) for name in PRECISIONS
    }
    if kept.exists():
        right = dict(safetensors.numpy.load_file(kept))
    space = study_supernet(len(data.classes), arrays).space
    chosen = tested_subnets(space)
    for number, subnet in enumerate(chosen[len(right["int8"]) :], len(right["int8"]) + 1):
        for precision, logits in _logits(space, subnet, arrays, data).items():
            row = (logits.argmax(axis=1) == data.test_labels).astype(np.float32)
            right[precision] = np.concatenate([right[precision], row[None]])
        save(right, kept)
        shares = ", ".join(f"{name} {found[-1].mean():.2%}" for name, found in right.items())
        print(f"{kept.stem}: {number}/{len(chosen)}, {shares}", flush=True)
    return {name: found > 0 for name, found in right.items()}


def _logits(
    space: SearchSpace, subnet: Subnet, arrays: dict[str, FloatArray], data: Data
) -> dict[str, FloatArray]:
    """Returns the logits of the test images as a device computes them, (N, classes)."""
    engine = Engine(backend("onnxruntime"), Target())
    batches = _batches(data, subnet.resolution)
    seen = resized(data.images[:CALIBRATION_IMAGES], subnet.resolution)
    network = cut_network(space, subnet, arrays, LITE_PREPROCESSING, seen, engine)
    found = {}
    for precision in PRECISIONS:
        target = replace(engine.target, precision=precision)
        prepared = ready(network, target, seen[:RANGE_IMAGES], engine)
        session = Engine(engine.backend, target).load(prepared)
        found[precision] = np.concatenate([session.run(part)[LOGITS] for part in batches])
        session.close()
    return found


def _batches(data: Data, size: int) -> list[ImageArray]:
    images = resized(data.test_images, size)
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]


if __name__ == "__main__":
    main()
