"""What the one semi-supervised loss is worth: against labels alone, from the same start.

`python -m tofa_edge.benchmarks.transfer cifar10-jpeg.zip --work study` lets the teachers look,
pretrains a supernet without labels, trains it for each draw of labels with and without the
unlabelled images, and reads the test images once for each. Every finished run is kept in
`study/transfer.json`: started again, only what is missing is run. Beside each draw stand probes on
frozen features, with self-training.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import platform
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from PIL import Image

from tofa_edge.cost import macs
from tofa_edge.cutting import CALIBRATION_IMAGES
from tofa_edge.layers import layers
from tofa_edge.network import LITE_PREPROCESSING, FloatArray, ImageArray
from tofa_edge.search import candidates
from tofa_edge.space import SearchSpace, Subnet
from tofa_edge.spaces import efficientnet_lite0
from tofa_edge.train.config import Progress, TrainingConfig
from tofa_edge.train.data import forget_labels
from tofa_edge.train.evaluate import accuracy, resized, subnet_logits
from tofa_edge.train.loop import Choose, sandwich
from tofa_edge.train.phases import optimise, pretrain_supernet
from tofa_edge.train.pretrained import load_lite, new_classifier
from tofa_edge.train.probe import fit_probe, probe_accuracy
from tofa_edge.train.ranking import rank
from tofa_edge.train.supernet import Supernet
from tofa_edge.train.teachers import Look, look

POOL = 10_000  # training images, most of them unlabelled
RESOLUTION = 64
RESULTS = "transfer.json"
TEACHERS = ("lite0", "lite2")
BASELINE = 128  # px: the frozen features that every table shows
KINDS = {  # unlabelled images for each labelled one, whether pretrained, steps over --steps
    "semi-supervised": (2, True, 1.0),
    "labels only": (0, True, 1.0),
    "labels only, equal time": (0, True, 2.3),
    "semi-supervised, not pretrained": (2, False, 1.0),
}
CEILINGS = (32, 15, 7)  # MMACs
RANKED, RANKED_IMAGES = 16, 1000  # subnets below each ceiling, by agreement on unlabelled images


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in memory.

    Attributes:
        classes: names.
        images: uint8, (N, S, S, 3), in mixed order.
        labels: class indices, (N,).
        test_images: uint8, (M, S, S, 3).
        test_labels: class indices, (M,).
    """

    classes: tuple[str, ...]
    images: ImageArray
    labels: NDArray[np.int64]
    test_images: ImageArray
    test_labels: NDArray[np.int64]


def read_zip(path: Path) -> Data:
    """Returns the images of a zip of `*/{train,test}/<class>/*.jpg`: 10,000 to train, all to test.

    Args:
        path: of the zip.
    """
    classes, (images, labels), (test_images, test_labels) = _read(path)
    chosen = _order(labels)[:POOL]
    return Data(
        classes,
        resized(images[chosen], RESOLUTION),
        labels[chosen],
        resized(test_images, RESOLUTION),
        test_labels,
    )


def validation_images(path: Path, count: int = 1000) -> tuple[ImageArray, NDArray[np.int64]]:
    """Returns training images of a zip that `read_zip` leaves out, and their labels.

    Args:
        path: of the zip.
        count: of images.
    """
    _, (images, labels), _ = _read(path)
    chosen = _order(labels)[POOL : POOL + count]
    return resized(images[chosen], RESOLUTION), labels[chosen]


Labelled = tuple[ImageArray, NDArray[np.int64]]


def _read(path: Path) -> tuple[tuple[str, ...], Labelled, Labelled]:
    parts: dict[str, tuple[list[ImageArray], list[str]]] = {"train": ([], []), "test": ([], [])}
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".jpg"):
                _, role, label, _ = name.rsplit("/", 3)
                with Image.open(io.BytesIO(archive.read(name))) as image:
                    parts[role][0].append(np.asarray(image.convert("RGB")))
                parts[role][1].append(label)
    classes = tuple(sorted(set(parts["train"][1])))
    train, test = (
        (np.stack(images), np.array([classes.index(name) for name in names], np.int64))
        for images, names in parts.values()
    )
    return classes, train, test


def _order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(len(labels))


class Results:
    """Rows by name, kept in a file that is written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.rows = json.loads(path.read_text())["runs"]

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Makes a row, unless it is there."""
        if name in self.rows:
            return
        print(f"{name} …", flush=True)
        wall, cpu = time.perf_counter(), time.process_time()
        row = make()
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        self.rows[name] = {**row, **{key: round(value, 1) for key, value in took.items()}}
        machine = {
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
        }
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"machine": machine, "runs": self.rows}, indent=1))
        temporary.replace(self.path)
        print(json.dumps(self.rows[name]), flush=True)


def main() -> None:
    """Runs what is missing of the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="zip of */{train,test}/<class>/*.jpg")
    parser.add_argument("--work", type=Path, default=Path("study"))
    parser.add_argument("--labels", type=int, nargs="*", default=[25], help="a class")
    parser.add_argument("--draws", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    results = Results(options.work / RESULTS)
    study = Study(read_zip(options.images), options.work, options.pretrain_steps, options.steps)
    for count, draw in itertools.product(options.labels, options.draws):
        labels = forget_labels(study.data.labels, count, draw)
        of = f"{count} labels a class, draw {draw}"
        for name, features in study.probed().items():
            row = partial(_probe_row, features, labels, study.data)
            results.once(f"frozen-feature probe {name}, {of}", row)
        for kind in options.kinds:
            ratio, pretrained, factor = KINDS[kind]
            steps = int(options.steps * factor)
            start = study.start() if pretrained else None
            run = partial(_trained_row, study, start, labels, ratio, steps, draw)
            results.once(f"{kind}, {steps} steps, {of}", run)
    _print(results)


@dataclass(frozen=True, eq=False)
class Study:
    """What the runs of a study share, made once and kept in its folder.

    Attributes:
        data: the images.
        work: the folder.
        pretrain_steps: of the pretrained start.
        steps: of a run.
    """

    data: Data
    work: Path
    pretrain_steps: int
    steps: int

    def looks(self) -> tuple[Look, ...]:
        """Returns what the teachers say of the training images."""
        return tuple(self._look(name, "train", None) for name in TEACHERS)

    def probed(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Returns the features that probes are fitted to, of training and test images, by name."""
        both = [
            [self._look(name, role, size).features for role in ("train", "test")]
            for name, size in (("lite0", BASELINE), *((name, None) for name in TEACHERS))
        ]
        small, *large = both
        joined = [torch.cat(parts, dim=1) for parts in zip(*large, strict=True)]
        return {"lite0 128 px": (small[0], small[1]), "teachers": (joined[0], joined[1])}

    def start(self) -> dict[str, FloatArray]:
        """Returns the arrays of the pretrained supernet, with ImageNet's classes."""
        path = self.work / f"pretrained-{self.pretrain_steps}.safetensors"
        if not path.exists():
            epochs = self.pretrain_steps / (POOL // 64) + 1e-9
            config = TrainingConfig(pretrain_epochs=epochs, resolution=RESOLUTION)
            seen = self.looks()[0]
            begun = time.perf_counter()
            made = pretrain_supernet(study_supernet(1000), self.data.images, seen, config, _show)
            print(f"pretrained in {time.perf_counter() - begun:.0f} s", flush=True)
            _save(made.to_arrays(), path)
        return dict(safetensors.numpy.load_file(path))

    def _look(self, name: str, role: str, size: int | None) -> Look:
        path = self.work / f"look-{name}-{size or 'large'}-{role}.safetensors"
        if not path.exists():
            images = self.data.images if role == "train" else self.data.test_images
            begun = time.perf_counter()
            seen = look(name, images, torch.device("cpu"), resolution=size)
            print(f"{path.stem}: {time.perf_counter() - begun:.0f} s", flush=True)
            _save({"logits": seen.logits.numpy(), "features": seen.features.numpy()}, path)
        stored = safetensors.numpy.load_file(path)
        return Look(torch.from_numpy(stored["logits"]), torch.from_numpy(stored["features"]))


def _save(arrays: dict[str, FloatArray], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    safetensors.numpy.save_file(arrays, temporary)
    temporary.replace(path)


def subnets(space: SearchSpace) -> dict[str, Subnet]:
    """Returns the subnets that are tested: three named ones and five random ones."""
    rng = np.random.default_rng(7)
    named = {"largest": space.largest(), "middle": space.middle(), "smallest": space.smallest()}
    return {**named, **{f"random {number}": space.sample(rng) for number in range(5)}}


def study_space(classes: int) -> SearchSpace:
    """Returns the lite0 space up to 64 px.

    Args:
        classes: of the classifier.
    """
    space = efficientnet_lite0()
    resolutions = tuple(size for size in space.resolutions if size <= RESOLUTION)
    return replace(space, classes=classes, resolutions=resolutions)


def study_supernet(classes: int, arrays: dict[str, FloatArray] | None = None) -> Supernet:
    """Returns a lite0 supernet up to 64 px with a new classifier.

    Args:
        classes: of the classifier.
        arrays: its weights; None takes the plain pretrained network's.
    """
    supernet = Supernet(study_space(classes), LITE_PREPROCESSING)
    kept = new_classifier(arrays or load_lite("lite0")[1], classes, np.random.default_rng(0))
    supernet.load_arrays(kept)
    return supernet


def _probe_row(
    seen: tuple[torch.Tensor, torch.Tensor], labels: NDArray[np.int64], data: Data
) -> dict[str, Any]:
    probe = fit_probe(seen[0], labels, len(data.classes))
    return {"accuracy": {"probe": probe_accuracy(probe, seen[1], data.test_labels)}}


def _trained_row(
    study: Study,
    start: dict[str, FloatArray] | None,
    labels: NDArray[np.int64],
    ratio: int,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    trained, seconds = study_run(study, start, labels, ratio, steps, seed)
    if ratio and start is not None:
        _save(trained.to_arrays(), trained_path(study.work, labels, seed))
    return {"training_s": round(seconds, 1), **measured_on_test(trained, study.data)}


def study_run(
    study: Study,
    start: dict[str, FloatArray] | None,
    labels: NDArray[np.int64],
    ratio: int,
    steps: int,
    seed: int,
    choose: Choose = sandwich,
) -> tuple[Supernet, float]:
    """Returns a trained supernet and the seconds of its training, the probe included.

    Args:
        study: with training images and what the teachers say of them.
        start: arrays of the pretrained supernet; None takes the plain network's.
        labels: class indices, −1 where unlabelled.
        ratio: unlabelled images for each labelled one; 0 leaves them out.
        steps: of training.
        seed: of the run.
        choose: the subnets of a step.
    """
    data = study.data
    used = labels >= 0 if not ratio else np.ones(len(labels), bool)
    looks = study.looks() if ratio else ()
    config = study_config(steps, labels, ratio, seed)
    supernet = study_supernet(len(data.classes), start)
    begun = time.perf_counter()
    trained = optimise(
        supernet, data.images[used], labels[used], config, _show, choose=choose, looks=looks
    )
    return trained, time.perf_counter() - begun


def study_config(steps: int, labels: NDArray[np.int64], ratio: int, seed: int) -> TrainingConfig:
    """Returns how a run trains.

    Args:
        steps: of training.
        labels: class indices, −1 where unlabelled.
        ratio: unlabelled images for each labelled one.
        seed: of the run.
    """
    pool = POOL // (32 * ratio) if ratio else int((labels >= 0).sum()) // 32
    return TrainingConfig(
        epochs=steps / pool + 1e-9,
        resolution=RESOLUTION,
        unlabelled_ratio=ratio,
        seed=seed,
        learning_rate=5e-4,
    )


def measured_on_test(supernet: Supernet, data: Data, names: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the accuracy of subnets on the test images, and their MMACs.

    Args:
        supernet: whose.
        data: with test images.
        names: of the subnets; by default all, and the best below each ceiling of MACs.
    """
    space, arrays = supernet.space, supernet.to_arrays()
    seen = data.images[:CALIBRATION_IMAGES]
    row: dict[str, dict[str, float]] = {"mmacs": {}, "accuracy": {}}
    chosen = subnets(space)
    chosen = {name: chosen[name] for name in names} if names else chosen | below(supernet, data)
    for name, subnet in chosen.items():
        logits = subnet_logits(space, subnet, arrays, LITE_PREPROCESSING, seen, data.test_images)
        row["accuracy"][name] = accuracy(logits, data.test_labels)
        row["mmacs"][name] = round(macs(layers(space, subnet)) / 1e6, 1)
    return row


def below(supernet: Supernet, data: Data) -> dict[str, Subnet]:
    """Returns the best subnet below each ceiling of MACs, without looking at any label.

    Of 16 random ones that use 85 % or more of it, the one that agrees best with the largest subnet
    on unlabelled training images.
    """
    space, rng = supernet.space, np.random.default_rng(5)
    found = {}
    for ceiling in CEILINGS:
        fitting: list[Subnet] = []
        while len(fitting) < RANKED:
            fitting += [
                subnet
                for subnet in [*candidates(space, rng, 500), space.largest()]
                if 0.85 * ceiling <= macs(layers(space, subnet)) / 1e6 <= ceiling
            ]
        images, nothing = data.images[:RANKED_IMAGES], data.images[:0]
        ranking = rank(
            space,
            supernet.to_arrays(),
            LITE_PREPROCESSING,
            fitting[-RANKED:],
            images,
            nothing,
            data.labels[:0],
        )
        best = int(np.argmin(ranking.divergence))
        found[f"≤ {ceiling} MMACs"] = ranking.subnets[best]
    return found


def trained_path(work: Path, labels: NDArray[np.int64], draw: int) -> Path:
    """Returns where the supernet of a semi-supervised run is kept."""
    count = int(np.bincount(labels[labels >= 0]).max())
    return work / f"trained-{count}-{draw}.safetensors"


def _show(progress: Progress) -> None:
    if progress.step % 50 == 0 or progress.step == progress.steps:
        losses = " ".join(f"{loss:.2f}" for loss in progress.losses)
        figures = " ".join(f"{name} {value:.2f}" for name, value in progress.metrics.items())
        text = f"{progress.phase} {progress.step}/{progress.steps}: {losses} {figures}"
        print(f"{text} ({progress.seconds:.0f} s)", flush=True)


def _print(results: Results) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in results.rows.items():
        groups.setdefault(name.rsplit(", draw", 1)[0], []).append(row)
    for group, rows in groups.items():
        parts = []
        for size in ("largest", "middle", "smallest", *(f"≤ {n} MMACs" for n in CEILINGS), "probe"):
            found = [100 * row["accuracy"][size] for row in rows if size in row["accuracy"]]
            if found:
                spread = np.std(found, ddof=1) if len(found) > 1 else 0.0
                parts.append(f"{size} {np.mean(found):.1f} ± {spread:.1f} %")
        print(f"{group} ({len(rows)} draws): {', '.join(parts)}")


if __name__ == "__main__":
    main()
