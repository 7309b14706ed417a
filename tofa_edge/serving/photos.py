"""Predictions of many photo files: one that cannot be read has an error, and the others go on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tofa_edge.bundle.photo_files import PhotoFile
from tofa_edge.errors import ImageError
from tofa_edge.serving.model import Model
from tofa_edge.serving.prediction import Prediction
from tofa_edge.storage.text import spreadsheet_cell


@dataclass(frozen=True, eq=False)
class PhotoPrediction:
    """The prediction for one photo file, or why there is none.

    Attributes:
        path: of the file.
        prediction: None where it cannot be read.
        error: what was wrong, in one sentence; "" where there is a prediction.
    """

    path: Path
    prediction: Prediction | None
    error: str = ""


def predict_photos(
    model: Model, photos: Iterable[PhotoFile], strict: bool = False
) -> Iterator[PhotoPrediction]:
    """Yields the prediction for each photo, or its error, as soon as it is there.

    Args:
        model: to predict with.
        photos: files, as `find_photos` returns them.
        strict: whether the first error is the last result.

    Raises:
        BackendError: the model is closed, or the engine fails.
    """
    for photo in photos:
        result = _predicted(model, photo)
        yield result
        if strict and result.error:
            return


def _predicted(model: Model, photo: PhotoFile) -> PhotoPrediction:
    if photo.error:
        return PhotoPrediction(photo.path, None, photo.error)
    try:
        return PhotoPrediction(photo.path, model(photo.path))
    except ImageError as error:
        return PhotoPrediction(photo.path, None, str(error))


def as_json(results: Iterable[PhotoPrediction], top: int) -> dict[str, Any]:
    """Returns results by path as JSON takes them.

    Args:
        results: of any photos.
        top: how many classes to give of each, the best first.
    """
    return {
        os.fspath(result.path): (
            {"error": result.error}
            if result.prediction is None
            else {"known": result.prediction.known, "top": result.prediction.top(top)}
        )
        for result in results
    }


def as_csv(results: Iterable[PhotoPrediction], top: int) -> str:
    """Returns results as comma-separated values with a heading, for spreadsheets.

    Letters of names that would not show, or would make a formula, are escaped as
    `spreadsheet_cell` does.

    Args:
        results: of any photos.
        top: how many classes have columns, the best first.
    """
    numbers = ["", *(f"_{number}" for number in range(2, top + 1))]
    classes = [name for end in numbers for name in (f"label{end}", f"probability{end}")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "known", *classes, "error"])
    writer.writerows(_row(result, top) for result in results)
    return text.getvalue()


def _row(result: PhotoPrediction, top: int) -> Sequence[str]:
    path, error = spreadsheet_cell(os.fspath(result.path)), spreadsheet_cell(result.error)
    best = [] if result.prediction is None else result.prediction.top(top)
    cells = [cell for label, p in best for cell in (spreadsheet_cell(label), f"{p:.6f}")]
    known = "" if result.prediction is None else str(result.prediction.known).lower()
    return [path, known, *cells, *[""] * (2 * top - len(cells)), error]
