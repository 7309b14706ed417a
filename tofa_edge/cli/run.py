"""The command that classifies photos: run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tofa_edge.cli import app as shared
from tofa_edge.cli.app import BundlePath, Force, Json, app
from tofa_edge.cli.deploying import deployed, limits_of, options_of
from tofa_edge.cli.output import print_exactly, print_json, print_lines, tell
from tofa_edge.errors import DataError
from tofa_edge.storage.files import check_place, write_whole
from tofa_edge.storage.text import escaped

if TYPE_CHECKING:
    from tofa_edge import Model
    from tofa_edge.bundle.photo_files import PhotoFile
    from tofa_edge.serving.photos import PhotoPrediction

STANDARD_OUTPUT = "-"


@dataclass(frozen=True)
class Form:
    """In which form results are given."""

    top: int  # classes of each photo
    as_json: bool
    csv_path: str | None
    force: bool

    def check(self) -> None:
        """Refuses a table that could not be written, before anything is classified."""
        if self.csv_path == STANDARD_OUTPUT:
            if self.as_json:
                raise typer.BadParameter("--json and --csv - both want the output: name a file")
        elif self.csv_path is not None:
            check_place(Path(self.csv_path), self.force, DataError)

    def show(self, result: PhotoPrediction) -> None:
        """Prints one result as a line for people, an error to the error stream."""
        if result.prediction is None:
            tell(escaped(f"tofa-edge: {result.error}"))
        elif not self.as_json and self.csv_path != STANDARD_OUTPUT:
            best = ", ".join(f"{label} {p:.1%}" for label, p in result.prediction.top(self.top))
            unknown = "" if result.prediction.known else "unknown, "
            print_lines([escaped(f"{result.path}: {unknown}{best}")])

    def finish(self, results: Sequence[PhotoPrediction]) -> None:
        """Gives all results as JSON and as a table, where that is asked for."""
        from tofa_edge.serving.photos import as_csv, as_json

        if self.csv_path is not None:
            table = as_csv(results, self.top)
            if self.csv_path == STANDARD_OUTPUT:
                print_exactly(table)
            else:
                write_whole(Path(self.csv_path), table.encode(), self.force, DataError)
        if self.as_json:
            print_json(as_json(results, self.top))


@app.command()
def run(
    bundle: BundlePath,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE…",
            help="Photos to classify; also folders of them, and patterns.",
        ),
    ],
    latency_ms: shared.LatencyMs = None,
    memory_mb: shared.MemoryMb = None,
    subnet: shared.SubnetJson = None,
    backend: shared.BackendName = None,
    threads: shared.Threads = None,
    precision: shared.Precision = None,
    max_accuracy_drop: shared.MaxDrop = 1.0,
    observed: shared.Observed = False,
    min_check_accuracy: shared.MinCheckAccuracy = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to print for each photo.")] = 1,
    unknown_below: Annotated[
        float,
        typer.Option(min=0, max=1, help="Call a photo unknown if its best class is less probable."),
    ] = 0.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first photo that cannot be read.")
    ] = False,
    frames: shared.Frames = None,
    frames_share: shared.FramesShare = None,
    csv_path: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE", help="Write a table for spreadsheets; - prints it."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Deploys a bundle and classifies photos.

    One that cannot be read does not stop the others; then the exit code is 1. After Ctrl-C, --json
    and --csv give what was done.
    """
    from tofa_edge.bundle.photo_files import find_photos

    form = Form(top, as_json, csv_path, force)
    form.check()
    photos = find_photos(images)
    limits = limits_of(latency_ms, memory_mb, max_accuracy_drop, observed, min_check_accuracy)
    options = options_of(
        frames, frames_share, backend=backend, threads=threads, precision=precision
    )

    def model() -> Model:
        return deployed(bundle, limits, subnet, options, unknown_below=unknown_below)

    failed, left = _classify(model, photos, form, strict)
    if failed and len(photos) > 1:
        rest = f", {left} not tried" if left else ""
        tell(f"tofa-edge: {failed} of {len(photos)} photos cannot be read{rest}")
    if failed:
        raise typer.Exit(1)


def _classify(
    model: Callable[[], Model], photos: Sequence[PhotoFile], form: Form, strict: bool
) -> tuple[int, int]:
    """Gives the result of each photo; returns how many failed, and how many were not tried."""
    from tofa_edge.serving.photos import PhotoPrediction, predict_photos

    results: list[PhotoPrediction] = []
    try:
        if all(photo.error for photo in photos):  # nothing to deploy for
            for photo in photos[:1] if strict else photos:
                results.append(PhotoPrediction(photo.path, None, photo.error))
                form.show(results[-1])
        else:
            with model() as deployed_model:
                for result in predict_photos(deployed_model, photos, strict):
                    results.append(result)
                    form.show(result)
    finally:
        if results:
            form.finish(results)
    return sum(bool(result.error) for result in results), len(photos) - len(results)
