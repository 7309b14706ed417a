"""The demo: a pretrained network bundled unchanged, then one bundle under three budgets."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tofa_edge
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cli.output import out, print_lines, table, tell, training_progress
from tofa_edge.errors import TrainingError
from tofa_edge.selftest.records import engine_records
from tofa_edge.serving.explanation import Measured
from tofa_edge.serving.model import Model
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.files.folders import read_folder
from tofa_edge.train.data.photos import LabelledPaths

BUDGETS = (0.8, 0.5, 0.33)  # of the largest subnet's p50
TEST_SHARE = 0.25
GRADES = {"functional": 0.0, "defective": 1.0}  # defect probability, as graded by experts
LICENSE = (
    "Solar-cell photos: elpv-dataset, CC BY-NC-SA 4.0, not for commercial use. The bundle made "
    "from them carries some: do not publish it."
)


def play(folder: Path, epochs: int, seed: int) -> dict[str, object]:
    """Runs the demo in `folder` and prints it; returns its figures.

    Args:
        folder: where photos and bundles are kept.
        epochs: of training on the solar-cell photos.
        seed: of the split and the training.
    """
    begin = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    right_of_20 = _deploy_unchanged(folder / "lite0.tofa")
    tell(f"\n2. One bundle, three budgets\n{LICENSE}")
    data = _solar_cells(folder / "solar-cells", seed)
    bundle = folder / "solar-cells.tofa"
    config = TrainingConfig(  # short
        epochs=epochs, pretrain_epochs=0.0, resolution=96, predictor_subnets=60, seed=seed
    )
    from tofa_edge.train.trainer import train  # torch

    with training_progress() as on_step:
        train(data / "train", bundle, config, on_step, overwrite=True)
    rows = list(_rows(bundle, read_folder(data / "test")))
    _print(rows)
    seconds = time.perf_counter() - begin
    out.print(
        f"\n{seconds:.0f} s in all. Next, with your own photos in photos/<class>/*.jpg:\n"
        "  tofa-edge train photos --out parts.tofa\n"
        "  tofa-edge deploy parts.tofa --latency-ms 10\n"
        f"  tofa-edge run {bundle} {next((data / 'test').rglob('*.png'))}"
    )
    return {"imagenet_right_of_20": right_of_20, "budgets": rows, "seconds": seconds}


def _deploy_unchanged(bundle: Path) -> dict[str, int]:
    """Classifies foolbox's photos with every engine; returns how many each gets right."""
    tell("1. EfficientNet-Lite0, bundled unchanged, on 20 ImageNet photos")
    from tofa_edge.train.trainer import train  # torch

    train(None, bundle, TrainingConfig(epochs=0), overwrite=True)
    photos = imagenet_photos()
    truth = [int(photo.stem.rsplit("_", 1)[1]) for photo in photos]
    right = {}
    for name in engine_records(Bundle.open(bundle)):
        with tofa_edge.deploy(bundle, options=tofa_edge.DeployOptions(backend=name)) as model:
            predicted = [model(photo).index for photo in photos]
            right[name] = sum(p == t for p, t in zip(predicted, truth, strict=True))
            latency = _chosen(model).latency
            print_lines([f"{name}: {right[name]} of {len(photos)} right, {latency}"])
    return right


def imagenet_photos() -> list[Path]:
    """Returns the 20 ImageNet photos that foolbox brings; names end in the class index.

    Raises:
        TrainingError: foolbox is not installed.
    """
    return sorted((_package("foolbox") / "data").glob("imagenet_*.jpg"))


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise TrainingError(f"the demo needs {name}: pip install 'tofa-edge[demo]'")
    return Path(next(iter(spec.submodule_search_locations)))


def _solar_cells(folder: Path, seed: int) -> Path:
    """Writes the photos that experts graded as surely functional or defective, one folder each."""
    _package("elpv_dataset")
    from elpv_dataset.utils import load_dataset
    from PIL import Image

    photos, grades, _ = load_dataset()
    rng = np.random.default_rng(seed)
    for name, grade in GRADES.items():
        members = rng.permutation(np.flatnonzero(np.isclose(grades, grade)))
        for place, index in enumerate(members):
            role = "test" if place < TEST_SHARE * len(members) else "train"
            path = folder / role / name / f"{index:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photos[index]).save(path, compress_level=1)
    return folder


def _rows(bundle: Path, test: LabelledPaths) -> Iterator[dict[str, object]]:
    """Deploys the largest subnet, then one for each budget; each is tested on held-out photos."""
    with tofa_edge.deploy(bundle) as model:
        yield _row("largest", None, model, test)
        largest = _chosen(model).latency.p50_ms
        backend, threads = model.engine.backend.name, model.engine.target.threads
    for share in BUDGETS:
        budget = round(share * largest, 3)
        with tofa_edge.deploy(
            bundle,
            latency_ms=budget,
            options=tofa_edge.DeployOptions(backend=backend, threads=threads),
        ) as model:
            yield _row(f"{share:.0%} of its p50", budget, model, test)


def _chosen(model: Model) -> Measured:
    assert model.explanation.chosen is not None
    return model.explanation.chosen


def _row(name: str, budget: float | None, model: Model, test: LabelledPaths) -> dict[str, object]:
    chosen = _chosen(model)
    paths = list(test.paths)
    predictions = [
        prediction.index
        for start in range(0, len(paths), 64)
        for prediction in model.batch(paths[start : start + 64])
    ]
    right = np.array(predictions) == test.labels
    return {
        "name": name,
        "budget_ms": budget,
        "subnet": str(model.subnet),
        "input_size": model.input_size,
        "engine": str(model.engine),
        "mmacs": round(chosen.macs / 1e6, 1),
        "latency": dataclasses.asdict(chosen.latency),
        "accuracy": float(right.mean()),
        "test_photos": len(right),
    }


def _print(rows: list[dict[str, object]]) -> None:
    columns = ("budget", "p95 ≤ ms", "engine", "pixels", "MMACs", "p50 ms", "p95 ms", "accuracy")
    title = f"\n{rows[0]['test_photos']} photos never seen in training"
    out.print(table(title, *columns, rows=map(_cells, rows)))
    print_lines(f"{row['name']}: {row['subnet']}" for row in rows)


def _cells(row: dict[str, object]) -> Iterator[str]:
    latency, budget = row["latency"], row["budget_ms"]
    assert isinstance(latency, dict)
    yield str(row["name"])
    yield "" if budget is None else f"{budget:.2f}"
    yield from (str(row[key]) for key in ("engine", "input_size", "mmacs"))
    yield from (f"{latency[key]:.2f}" for key in ("p50_ms", "p95_ms"))
    yield f"{row['accuracy']:.1%}"
