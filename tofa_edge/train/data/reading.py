"""What may be read as photos with labels beyond the plain cases: what the user allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tofa_edge.errors import DataError
from tofa_edge.storage.files import check_place


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How tables, boxes and class names are read. The help of the options is read from here.

    Attributes:
        crops: Read each box of a COCO file, a YOLO or a Pascal VOC folder as a photo of its class.
        crop_margin: Share of a box's longer side that a crop shows around it, on each side.
        allow_outside: Tables and boxes may name photos outside of the folder that they lie in.
        classes_as_given: Accept classes called nan or null, and names that differ in case or
            spaces alone as different classes.
        report_data: Table (CSV) to write, with what became of every file: read or left out, and
            why.

    Raises:
        DataError: on construction, when the margin is not in 0..1.
    """

    crops: bool = False
    crop_margin: float = 0.1
    allow_outside: bool = False
    classes_as_given: bool = False
    report_data: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.crop_margin <= 1:
            raise DataError(f"--crop-margin must be a number in 0..1, got {self.crop_margin}")

    def check_place(self, overwrite: bool) -> None:
        """Checks that `report_data` can be written and replaces nothing, before photos are read.

        Raises:
            DataError: it cannot; or there is a file, and `overwrite` is false.
        """
        if self.report_data is not None:
            check_place(self.report_data, overwrite, DataError)


PLAIN = ReadingOptions()
