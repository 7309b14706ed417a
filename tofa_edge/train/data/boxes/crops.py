"""Data sets of detectors as photos with labels: each box cropped to a photo of its class."""

from __future__ import annotations

from pathlib import Path

from tofa_edge.errors import DataError
from tofa_edge.train.data.boxes.coco import coco_files, read_coco
from tofa_edge.train.data.boxes.drawn import gathered, usable
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
    if source.suffix.lower() == JSON and not source.is_dir():
        return COCO
    if not source.is_dir():
        return None
    if coco_files(source):
        return COCO
    if voc_files(source):
        return VOC
    return YOLO if is_yolo(source) else None


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
    kind = kind_of_boxes(source)
    if kind is None:
        raise DataError(
            f"{source}: --crops wants boxes: the JSON file of COCO or a folder with it, a YOLO "
            "folder (images/, labels/, data.yaml), or a Pascal VOC folder (Annotations/*.xml)"
        )
    if kind == COCO:
        files = coco_files(source) if source.is_dir() else {source: None}
        boxes = gathered([read_coco(path, role, reading) for path, role in files.items()])
    elif kind == VOC:
        boxes = read_voc(source, voc_files(source), reading)
    else:
        boxes = read_yolo(source, reading)
    photos = usable(source, kind, boxes, reading.crop_margin)
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
