"""Solar cells as published: all labels, in the split of the paper, beside its two figures.

`python -m tofa_edge.benchmarks.studies.elpv_published --work study` trains a bundle on three
quarters of all 2,624 cells, stratified by grade and kind of wafer, and tests its front on the rest,
once for each seed. A cell whose probability of a defect is above one half counts as defective, so
that the uncertain grades (a third, two thirds) count as well. The bundle is the package's own
training with a largest input of `--resolution` pixels.

Source: Deitsch et al., "Automatic classification of defective photovoltaic module cells in
electroluminescence images", Solar Energy 185 (2019): 75 % to train, 25 % to test, accuracy.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.benchmarks.studies.command import Results, Row, options
from tofa_edge.benchmarks.studies.fine_tuning import stratified_folds
from tofa_edge.benchmarks.studies.finetuned import settings_of
from tofa_edge.benchmarks.studies.measured_front import front_rows, trained_bundle
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.photos import resized

CLASSES = ("defective", "functional")
PUBLISHED = {"CNN": 0.8842, "SVM": 0.8244}  # accuracies
PARTS = 4  # of which one is tested
SEEDS = (0, 1, 2, 3, 4)
POINTS = 12

Cells = tuple[ImageArray, IndexArray, IndexArray]  # photos, labels, strata


def main() -> None:
    given = options(
        __doc__, work=Path("study"), resolution=224, seeds=list(SEEDS), points=POINTS,
        settings=({"default": {}, "type": settings_of}, "of TrainingConfig, as name=value,…"),
    )  # fmt: skip
    given.work.mkdir(parents=True, exist_ok=True)
    cells = read_cells()
    results = Results(given.work / "elpv_published.json", published=PUBLISHED)
    for seed in given.seeds:
        config = TrainingConfig(resolution=given.resolution, seed=seed, **given.settings)
        out = given.work / f"elpv-published-{seed}.tofa"
        results.once(f"seed {seed}", partial(_row, cells, config, given.points, out))


def read_cells() -> Cells:
    """Returns all photos, uint8 (N, S, S, 3), their labels, (N,), and strata to divide by, (N,)."""
    from elpv_dataset.utils import load_dataset

    photos, grades, wafers = load_dataset()
    grades = np.asarray(grades, np.float64)
    kinds = np.unique(np.asarray(wafers), return_inverse=True)[1]
    strata = (10 * np.rint(3 * grades) + kinds).astype(np.int64)
    grey = np.asarray(photos, np.uint8)
    colours = np.repeat(grey[..., None], 3, axis=3) if grey.ndim == 3 else grey
    return colours, np.where(grades > 0.5, 0, 1).astype(np.int64), strata


def _row(cells: Cells, config: TrainingConfig, points: int, out: Path) -> Row:
    photos, labels, strata = cells
    tested = stratified_folds(strata, PARTS, config.seed) == 0
    path = trained_bundle(photos[~tested], labels[~tested], CLASSES, config, out)
    images = resized(photos[tested], config.resolution)
    rows = front_rows(path, images, labels[tested], points, ())
    return {"photos": [int((~tested).sum()), int(tested.sum())], "front": rows}


if __name__ == "__main__":
    main()
