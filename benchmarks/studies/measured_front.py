"""The finalists of a trained bundle on photos that it has not seen: accuracy over latency here."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.benchmarks.studies.command import Row
from tofa_edge.benchmarks.suite.fields import rounded
from tofa_edge.benchmarks.suite.row import Effort, Measurer, measurer_of
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.measure import unexplained
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import passing_engines
from tofa_edge.storage.plain import to_plain
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.photos import resized
from tofa_edge.train.trainer import train

EFFORT = Effort(runs=200, seconds=1.0, most_seconds=4.0)
UNLABELLED_FOLDER = "unlabelled"


def trained_bundle(
    images: ImageArray, labels: IndexArray, classes: tuple[str, ...], config: TrainingConfig,
    out: Path,
) -> Path:  # fmt: skip
    """Trains a bundle by the package's own command on photos, written as files, and returns it.

    Args:
        images: uint8, (N, S, S, 3).
        labels: class indices, (N,); −1 where there is none.
        classes: names.
        config: how to train.
        out: the bundle.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = Path(folder) / (UNLABELLED_FOLDER if label < 0 else classes[label])
            place.mkdir(exist_ok=True)
            Image.fromarray(image).save(place / f"{number:06}.png")
        train(Path(folder), out, config, overwrite=True)
    return out


def front_rows(
    path: Path, images: ImageArray, labels: IndexArray, most: int, whole: tuple[int, ...]
) -> list[Row]:
    """Returns what finalists reach and take on one thread, and what the whole network takes.

    Args:
        path: of the bundle.
        images: to classify, uint8, (N, S, S, 3), in their largest size.
        labels: class indices in the order of the bundle's classes, (N,).
        most: finalists, spread over the MACs of those on the front.
        whole: resolutions that the largest network is timed at, without accuracy.
    """
    bundle = Bundle.open(path)
    engine = next(each for each in passing_engines(bundle) if each.target.threads == 1)
    rows: list[Row] = []
    with measuring_turn() as turn:
        measurer = measurer_of(bundle, [engine], turn != "busy")
        for subnet in _on_front(bundle, most):
            finished = measurer.device.finish(subnet, engine)
            with unexplained(bundle, finished.session, subnet, engine) as model:
                seen = resized(images, subnet.resolution)
                right = [model(image).index for image in seen] == labels
                timed = _latency(measurer, partial(model, specimen_images(subnet.resolution)[0]))
            share = float(np.mean(right))
            rows.append({**_named(bundle, subnet), "accuracy": share, **timed})
        for size in whole:
            subnet = Subnet(size, bundle.space.largest().stages)
            session = engine.load(measurer.device.stored(subnet, engine))
            timed = _latency(measurer, partial(session.run, specimen_images(size)[:1]))
            session.close()
            rows.append({**_named(bundle, subnet), "whole": True, **timed})
    return rows


def _on_front(bundle: Bundle, most: int) -> list[Subnet]:
    """Returns finalists that no smaller one beats in tested accuracy, at most so many."""
    listed = sorted(bundle.listed_finalists, key=lambda each: _macs(bundle, each.subnet))
    best, front = -1.0, []
    for each in listed:
        if each.accuracy > best:
            best = each.accuracy
            front.append(each.subnet)
    front = front or [bundle.space.smallest(), bundle.space.middle(), bundle.space.largest()]
    chosen = np.unique(np.linspace(0, len(front) - 1, min(most, len(front))).round().astype(int))
    return [front[number] for number in chosen]


def _latency(measurer: Measurer, run: object) -> Row:
    recording, reasons = measurer.recorded(run, 1, EFFORT)  # type: ignore[arg-type]
    return {"latency": to_plain(rounded(recording.latency)), "reasons": list(reasons)}


def _named(bundle: Bundle, subnet: Subnet) -> Row:
    mmacs = round(_macs(bundle, subnet) / 1e6, 2)
    return {"subnet": str(subnet), "resolution": subnet.resolution, "mmacs": mmacs}


def _macs(bundle: Bundle, subnet: Subnet) -> int:
    return macs(layers(bundle.space, subnet))
