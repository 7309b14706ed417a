"""Data sets of detectors as photos with labels: each box cropped to a photo of its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tofa_edge.errors import DataError
from tofa_edge.train.data.boxes.coco import coco_files, read_coco
from tofa_edge.train.data.boxes.drawn import Boxes, gathered, usable
from tofa_edge.train.data.boxes.voc import read_voc, voc_files
from tofa_edge.train.data.boxes.yolo import is_yolo, read_yolo
from tofa_edge.train.data.photos import LabelledPaths
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.tables.listing import labelled

COCO, YOLO, VOC = "COCO", "YOLO", "Pascal VOC"
JSON = ".json"


def kind_of_boxes(source: Path) -> str | None:
    """Returns what a data set of boxes is, "COCO", "YOLO" or "Pascal VOC"; None for other sources.

    Args:
        source: a folder, or the JSON file of COCO.

    Raises:
        OSError: it cannot be read.
    """
    found = _found(source)
    return None if found is None else found[0]


def _found(source: Path) -> tuple[str, Callable[[ReadingOptions], Boxes]] | None:
    """Returns what a data set of boxes is, as `kind_of_boxes`, and what reads it."""
    if not source.is_dir():
        is_coco = source.suffix.lower() == JSON
        return (COCO, partial(_read_all_coco, {source: None})) if is_coco else None
    if files := coco_files(source):
        return COCO, partial(_read_all_coco, files)
    if annotations := voc_files(source):
        return VOC, partial(read_voc, source, annotations)
    return (YOLO, partial(read_yolo, source)) if is_yolo(source) else None


def _read_all_coco(files: Mapping[Path, str | None], reading: ReadingOptions) -> Boxes:
    return gathered([read_coco(path, role, reading) for path, role in files.items()])


def read_crops(source: Path, least_classes: int, reading: ReadingOptions) -> LabelledPaths:
    """Returns the boxes of a data set as photos of their class.

    Args:
        source: as for `kind_of_boxes`.
        least_classes: how many there must be.
        reading: what the user allows.

    Raises:
        DataError: there are no boxes, or they cannot be read.
        OSError: the folder cannot be read.
    """
    found = _found(source)
    if found is None:
        raise DataError(
            f"{source}: --crops wants boxes: the JSON file of COCO or a folder with it, a YOLO "
            "folder (images/, labels/, data.yaml), or a Pascal VOC folder (Annotations/*.xml)"
        )
    kind, read = found
    photos = usable(source, kind, read(reading), reading.crop_margin)
    return labelled(source, photos, least_classes)


def refuse_boxes(source: Path, kind: str) -> None:
    """Refuses to read a data set of boxes as whole photos.

    Args:
        source: the data set.
        kind: by `kind_of_boxes`.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"{source}: its labels are boxes ({kind}), and one class for each photo is wanted: give "
        "--crops to read each box as a photo of its class; where the folders are the classes, move "
        "the boxes' files elsewhere"
    )
