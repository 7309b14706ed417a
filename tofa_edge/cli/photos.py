"""The command that looks at photos without training on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tofa_edge.cli.app import Force, Json, app
from tofa_edge.cli.host import reads_photos
from tofa_edge.cli.output import print_json, print_lines
from tofa_edge.train.data.reading import ReadingOptions

if TYPE_CHECKING:
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.train.data.account.contact_sheet import Doubt
    from tofa_edge.train.data.account.report import DataReport
    from tofa_edge.train.data.photos import Photos

SHOWN_DOUBTS = 10


@app.command("check-data")
@reads_photos
def check_data(
    *,
    data: Annotated[Path, typer.Argument(metavar="PHOTOS", help="As for train.")],
    out_path: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Page to write with photos of every class."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="A trained one, whose network may doubt labels."),
    ] = None,
    reading: ReadingOptions,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Says what would be read of photos: classes, what is left out and why, copies, labels."""
    from tofa_edge.bundle import bundle as bundles
    from tofa_edge.errors import DataError
    from tofa_edge.storage.files import check_place, write_whole
    from tofa_edge.train.data.account.contact_sheet import SIZE, contact_sheet
    from tofa_edge.train.data.account.report import report_of
    from tofa_edge.train.data.grouping import grouped
    from tofa_edge.train.data.sources import decode_photos, list_photos

    reading.check_place(force)
    if out_path is not None:
        check_place(out_path, force, DataError)
    opened = None if bundle is None else bundles.Bundle.open(bundle)
    size = SIZE if opened is None else opened.space.resolutions[-1]
    peak = None if opened is None else opened.peak
    photos = decode_photos(list_photos(data, 0, reading), size, peak=peak)
    if photos.listed is None:
        raise DataError(f"{data}: a set by name has no files to check")
    found = grouped(photos)
    photos = found.photos
    assert photos.listed is not None
    report = report_of(photos.listed, groups=found.groups)
    doubts = [] if opened is None else _doubts(opened, photos)
    if as_json:
        print_json(_as_json(report, photos, doubts))
    else:
        print_lines([*report.lines(), *_lines(photos, doubts)])
    if reading.report_data is not None:
        report.write(reading.report_data, force)
        print_lines([f"wrote {reading.report_data}"] if not as_json else [])
    if out_path is not None:
        page = contact_sheet(str(data), photos, report, doubts)
        write_whole(out_path, page.encode(), force, DataError)
        print_lines([f"wrote {out_path}"] if not as_json else [])


def _doubts(bundle: Bundle, photos: Photos) -> list[Doubt]:
    from tofa_edge.train.after.doubts import doubted

    return doubted(bundle, photos)


def _lines(photos: Photos, doubts: list[Doubt]) -> list[str]:
    """Returns the photos of each class, and the labels in doubt, in lines for people."""
    counts = ", ".join(
        f"{name} {int((photos.labels == label).sum())}"
        for label, name in enumerate(photos.classes[:SHOWN_DOUBTS])
    )
    more = len(photos.classes) - SHOWN_DOUBTS
    lines = [f"classes: {counts}{f' and {more} more' if more > 0 else ''}"] if counts else []
    if doubts:
        lines.append(f"labels that the network doubts: {len(doubts)}")
    for each in doubts[:SHOWN_DOUBTS]:
        label = photos.classes[photos.labels[each.index]]
        path = photos.listed.paths[each.index] if photos.listed else each.index
        lines.append(f"  {path}: {label} {each.probability:.1%}, the network: {each.guess}")
    return lines


def _as_json(report: DataReport, photos: Photos, doubts: list[Doubt]) -> dict[str, object]:
    paths = photos.listed.paths if photos.listed else ()
    return {
        **report.provenance(),
        "classes": {
            name: int((photos.labels == label).sum()) for label, name in enumerate(photos.classes)
        },
        "left_out_files": [
            {"path": str(each.path), "reason": each.reason, "detail": each.detail}
            for each in report.left_out
        ],
        "doubts": [
            {"path": str(paths[each.index]), "probability": each.probability, "guess": each.guess}
            for each in doubts
        ],
    }
