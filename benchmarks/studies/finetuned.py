"""The alternative: EfficientNet-Lite0 fine-tuned on the same labels, at several sizes.

`python -m tofa_edge.benchmarks.studies.finetuned DATA --work study --test` draws labels, fine-tunes
the whole network at each size with the best of a small grid by cross-validation, and trains a
bundle by the package with its defaults, which also sees the photos without a label. Then accuracy
stands over latency, measured on one thread, and the processor time of training beside it. DATA is
a zip, or elpv or fashion-mnist; `finetuned.json` in the folder keeps what is finished.
"""

from __future__ import annotations

import time
from functools import partial

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.benchmarks.studies.command import Row
from tofa_edge.benchmarks.studies.fine_tuning import (
    EPOCHS,
    FOLDS,
    RATES,
    Recipe,
    accuracy,
    cross_validated,
    fine_tuned,
    recipes,
)
from tofa_edge.benchmarks.studies.measured_front import front_rows, trained_bundle
from tofa_edge.benchmarks.studies.training_study import Study, training_options
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.photos import forget_labels

POINTS = 12  # of the bundle's front


def main() -> None:
    given = training_options(
        __doc__, "images", labels=[25], draws=[0], sizes=[48, 64, 96, 128],
        rates=list(RATES), epochs=list(EPOCHS), folds=FOLDS, points=POINTS,
        settings=({"default": {}, "type": settings_of}, "of TrainingConfig, as name=value,…"),
    )  # fmt: skip
    study = Study.of(given)
    results = study.results("finetuned.json")
    sizes = [size for size in given.sizes if size <= study.data.resolution]
    tried = recipes(given.rates, given.epochs)
    for count in given.labels:
        for draw in given.draws:
            labels = forget_labels(study.data.labels, count, draw)
            of = f"{count} labels a class, draw {draw}"
            for size in sizes:
                row = partial(_fine_tuned_row, study, labels, size, tried, given.folds, draw)
                results.once(f"fine-tuned {size} px, {of}", row)
            config = TrainingConfig(resolution=study.data.resolution, seed=draw, **given.settings)
            ours = partial(_bundle_row, study, labels, config, given.points, tuple(sizes), of)
            results.once(f"bundle, {of}", ours)


def settings_of(text: str) -> dict[str, float]:
    """Returns numbers by name out of "epochs=1,predictor_subnets=0"."""
    pairs = (part.split("=") for part in text.split(",") if part)
    return {name: float(value) if "." in value else int(value) for name, value in pairs}


def _fine_tuned_row(
    study: Study, labels: IndexArray, size: int, tried: list[Recipe], folds: int, seed: int
) -> Row:
    data = study.data.at(size)
    known = labels >= 0
    seen = (data.images[known], labels[known], len(data.classes))
    begun = time.process_time()
    scores = cross_validated(*seen, tried, folds) if len(tried) > 1 else {tried[0]: None}
    best = max(scores, key=lambda recipe: scores[recipe] or 0.0)
    chosen = time.process_time()
    network = fine_tuned(*seen, best, seed)
    spent = time.process_time() - chosen
    return {
        "resolution": size,
        "recipe": {"rate": best.rate, "epochs": best.epochs},
        "cross_validated": scores[best],
        "accuracy": accuracy(network, data.test_images, data.test_labels),
        "processor_s": {"choosing": round(chosen - begun, 1), "training": round(spent, 1)},
    }


def _bundle_row(
    study: Study, labels: IndexArray, config: TrainingConfig, points: int, sizes: tuple[int, ...],
    name: str,
) -> Row:  # fmt: skip
    data = study.data
    begun = time.process_time()
    out = study.work / f"finetuned-{name.replace(', ', '-').replace(' ', '-')}.tofa"
    path = trained_bundle(data.images, labels, data.classes, config, out)
    spent = round(time.process_time() - begun, 1)
    rows = front_rows(path, data.test_images, data.test_labels, points, sizes)
    return {"processor_s": {"training": spent}, "front": rows}


if __name__ == "__main__":
    main()
