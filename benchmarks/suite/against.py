"""External networks beside those of the bundle: same machine, same run, same validity.

What is timed is the engine's call alone, from the array that the file wants: normalising pixels,
which the bundle's networks do themselves, comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tofa_edge.benchmarks.result.row import Row
from tofa_edge.benchmarks.result.row_parts import Accuracy, Configuration
from tofa_edge.benchmarks.suite.fields import UNMEASURED, summary, with_latency
from tofa_edge.benchmarks.suite.other_network import ENGINES, Array, Loaded, load
from tofa_edge.benchmarks.suite.row import QUICK, Effort, share_right
from tofa_edge.benchmarks.suite.schedule import Benchmark
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BackendError, TofaError
from tofa_edge.network.network import Preprocessing
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.storage.files import one_line, printable

PRECISION = "as stored"
AGAINST_SHARE = 0.5  # of the time, at which they should be done
TIMED = "timed from the array that the file wants: normalising pixels comes on top"
NO_PREPROCESSING = "no accuracy: say how pixels are normalised (--against-mean, --against-std)"
NO_PHOTOS = "no accuracy: the bundle has no check photos"
IN_ORDER = "the file names no classes: taken to be those of the bundle, in their order"


@dataclass(frozen=True, slots=True)
class Against:
    """A network to compare with.

    Attributes:
        path: of an ONNX or a TFLite file.
        preprocessing: that it wants; None where unknown: then its accuracy is not measured, unless
            it takes pixels as they are.
        labels: its classes in their order; empty for those that the file names.
        size: of its image, where the file takes any.
    """

    path: Path
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    size: int | None = None


@dataclass(frozen=True, eq=False, slots=True)
class OtherNetwork:
    """A network to compare with that its engine takes."""

    asked: Against

    @staticmethod
    def open(asked: Against) -> OtherNetwork:
        """Returns it after a first run, so that a wrong file is refused before anything else.

        Raises:
            BackendError: the file is no image classifier that its engine takes.
        """
        if not asked.path.is_file():
            raise BackendError(f"{asked.path}: wanted an ONNX or a TFLite file, there is none")
        _first_run(asked, load(asked.path, 1, asked.size))
        return OtherNetwork(asked)


def measured_against(run: Benchmark, others: Sequence[OtherNetwork]) -> None:
    """Adds each network to what is found, on as many threads as its engine has in this run."""
    wanted = [(other.asked, threads) for other in others for threads in _threads(run, other.asked)]
    run.schedule.part(len(wanted), AGAINST_SHARE)
    for asked, threads in wanted:  # asked for by name: measured whatever time is left
        row = _row(run, asked, threads)
        run.found.against.append(row)
        run.schedule.done(summary(row))


def _threads(run: Benchmark, asked: Against) -> list[int]:
    name = ENGINES[asked.path.suffix.lower()]
    known = {e.target.threads for e in run.engines if e.backend.name == name}
    return sorted(known) or [1]


def _row(run: Benchmark, asked: Against, threads: int) -> Row:
    name = printable(asked.path.name, 120)
    whole = Configuration(ENGINES[asked.path.suffix.lower()], "cpu", PRECISION, threads)
    try:
        loaded = load(asked.path, threads, asked.size)
        array = _first_run(asked, loaded)
        accuracy, note = accuracy_on(run.measurer.bundle, asked, loaded)
        effort = QUICK if run.quick else Effort()
        recording, reasons = run.measurer.recorded(lambda: loaded.run(array), threads, effort)
    except (TofaError, OSError) as error:
        return Row("against", whole, file=name, failed=one_line(error))
    row = Row(
        "against",
        whole,
        file=name,
        resolution=loaded.input.size,
        failed=UNMEASURED,
        notes=(TIMED, *([note] if note else [])),
        artefact_bytes=asked.path.stat().st_size,
        accuracy=accuracy,
    )
    return with_latency(row, recording, reasons)


def _first_run(asked: Against, loaded: Loaded) -> Array:
    """Runs a network once; returns the array that it was run with, (1, …)."""
    size = loaded.input.size or 1
    array = loaded.input.array(specimen_images(size)[0], asked.preprocessing)
    try:
        count = len(loaded.run(array))
    except Exception as error:  # engines raise many kinds
        raise BackendError(f"{asked.path} cannot be run: {one_line(error)}") from error
    if asked.labels and len(asked.labels) != count:
        raise BackendError(
            f"{asked.path}: wanted as many labels as outputs, {count}, got {len(asked.labels)}"
        )
    return array


def accuracy_on(bundle: Bundle, asked: Against, loaded: Loaded) -> tuple[Accuracy | None, str]:
    """Returns the accuracy on the check photos, or None, and why, or what to know of it."""
    if not bundle.check_count:
        return None, NO_PHOTOS
    if asked.preprocessing is None and not loaded.input.takes_pixels():
        return None, NO_PREPROCESSING
    images, labels = bundle.check_images(loaded.input.size or 1)
    rows = [loaded.run(loaded.input.array(each, asked.preprocessing)) for each in images]
    names = asked.labels or loaded.labels
    classes = list(bundle.classes)
    if names and sorted(names) != sorted(classes):
        return None, f"no accuracy: its classes are others: {one_line(', '.join(names[:3]))}, …"
    if not names and len(rows[0]) != len(classes):
        return (
            None,
            f"no accuracy: it has {len(rows[0])} outputs, the bundle {len(classes)} classes",
        )
    order = [classes.index(name) for name in names] or list(range(len(classes)))
    named = [order[int(row.argmax())] for row in rows]
    return share_right(named, labels.tolist()), "" if names else IN_ORDER
