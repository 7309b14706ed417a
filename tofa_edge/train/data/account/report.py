"""What was read: one account of every file, for people, for a bundle's provenance, and as CSV."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.bundle.manifest import MOST_NAME, PEAK
from tofa_edge.errors import DataError
from tofa_edge.images.depth import FRACTIONS, bits_of
from tofa_edge.images.formats import WITH_HEIF, is_image
from tofa_edge.images.reading import ALPHA, CENTRE, CMYK, DEEP, FIRST_FRAME, REDUCED, ROTATED
from tofa_edge.images.walk import FORMAT, HIDDEN, LINK, THUMBNAILS
from tofa_edge.storage.files import check_place, write_whole
from tofa_edge.storage.text import is_formula
from tofa_edge.train.data.files.decoding import TOO_LARGE, UNREADABLE
from tofa_edge.train.data.files.doubles import DOUBLED, IN_TWO_CLASSES
from tofa_edge.train.data.files.folders import BESIDE, KEPT_TO_TEST, LINKED_OUT
from tofa_edge.train.data.photos import LabelledPaths
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.tables.tables import NOT_LISTED

log = logging.getLogger(__name__)

LEFT_OUT, READ = "left out", "read"
IN_WORDS = {
    FORMAT: "of a format that is not read",
    UNREADABLE: "unreadable",
    TOO_LARGE: "too large",
    LINK: "links",
    HIDDEN: "hidden",
    THUMBNAILS: "in folders of thumbnails or what was deleted",
    BESIDE: "in folders beside train, val and test",
    KEPT_TO_TEST: "kept to test",
    NOT_LISTED: "that the table does not list",
    DEEP: "of more than 8 bits",
    CMYK: "in CMYK",
    ALPHA: "with transparency, dropped",
    ROTATED: "turned upright",
    FIRST_FRAME: "of several frames, the first taken",
    REDUCED: "reduced while decoding",
    CENTRE: "far from square, of which the centre is seen",
}
COLUMNS = ("path", "fate", "label", "reason", "detail", "changes")
MOST_SUFFIXES = 3  # that a line names


@dataclass(frozen=True, slots=True)
class FileFate:
    """What became of a file.

    Attributes:
        path: of it.
        fate: its role, "read" where there are none, or "left out".
        label: its class; "" without one.
        reason: why it is left out.
        detail: more about it.
        changes: what was changed on reading, of `reading.CHANGES`.
    """

    path: Path
    fate: str
    label: str = ""
    reason: str = ""
    detail: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataReport:
    """What was read of a set of photos.

    Attributes:
        classes: names.
        files: every photo, then every file that is left out.
        peak: the largest value of the photos of more than 8 bits; None: there are none.
        alike: groups of photos that are nearly equal, where somebody looked for them.
    """

    classes: tuple[str, ...]
    files: tuple[FileFate, ...]
    peak: float | None = None
    alike: tuple[tuple[Path, ...], ...] = field(default=())

    @property
    def read(self) -> tuple[FileFate, ...]:
        """The files that are photos and were read."""
        return tuple(each for each in self.files if each.fate != LEFT_OUT)

    @property
    def left_out(self) -> tuple[FileFate, ...]:
        """The files that were not."""
        return tuple(each for each in self.files if each.fate == LEFT_OUT)

    def lines(self) -> list[str]:
        """Returns the account in a few lines for people."""
        return [*self._lines()]

    def _lines(self) -> Iterator[str]:
        unlabelled = sum(not each.label for each in self.read)
        labelled = len(self.read) - unlabelled
        classes = f"{labelled} photos of {len(self.classes)} classes, " if self.classes else ""
        yield f"read: {classes}{unlabelled} without a label"
        roles = Counter(each.fate for each in self.read)
        if roles.keys() - {READ}:
            named = {"none" if role == READ else role: count for role, count in roles.items()}
            yield f"roles: {', '.join(f'{count} {role}' for role, count in named.items())}"
        reasons = Counter(each.reason for each in self.left_out)
        others = [f"{n} {IN_WORDS[r]}" for r, n in reasons.items() if r in IN_WORDS and r != FORMAT]
        if line := ", ".join([*self._of_formats(), *others]):
            yield f"left out: {line}"
        doubled = [f"{reasons[reason]} {reason.removeprefix('doubled ')}" for reason in DOUBLED
                   if reasons[reason]]  # fmt: skip
        if doubled:
            yield f"doubled, of which one copy is read: {', '.join(doubled)}"
        if reasons[IN_TWO_CLASSES]:
            yield f"the same photo in two classes has no label: {self._named_in_two_classes()}"
        changes = Counter(change for each in self.read for change in each.changes)
        if changes:
            counts = ", ".join(f"{n} {IN_WORDS[c]}" for c, n in changes.items())
            yield f"changed on reading: {counts}{self._range()}"
        outside = sum(each.detail == LINKED_OUT for each in self.read)
        if outside:
            yield f"links: {outside} photos lie outside of the folder"

    def _of_formats(self) -> Iterator[str]:
        """Yields how many images of other formats there are, and how many other files."""
        files = [each for each in self.left_out if each.reason == FORMAT]
        for images, words in (
            (True, IN_WORDS[FORMAT]),
            (False, "that are no images by their names"),
        ):
            chosen = [each for each in files if is_image(each.path) == images]
            if chosen:
                suffixes = Counter(each.path.suffix.lower() or "none" for each in chosen)
                named = ", ".join(f"{n} {s}" for s, n in suffixes.most_common(MOST_SUFFIXES))
                how = f"; {WITH_HEIF}" if any(each.detail == WITH_HEIF for each in chosen) else ""
                yield f"{len(chosen)} {words} ({named}{how})"

    def _named_in_two_classes(self) -> str:
        paths = [each.path for each in self.left_out if each.reason == IN_TWO_CLASSES]
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        return ", ".join(str(path) for path in paths[:3]) + more

    def _range(self) -> str:
        if self.peak is None:
            return ""
        bits = bits_of(self.peak)
        range_ = "fractions up to 1" if bits == FRACTIONS else f"{bits} bits"
        return f" (largest value {self.peak:g}: scaled as {range_})"

    def provenance(self) -> dict[str, str | int | float]:
        """Returns the account as a bundle holds it: counts by name, reasons in a line."""
        read = self.read
        counts: dict[str, str | int | float] = {
            "photos_read": len(read),
            "photos_without_label": sum(not each.label for each in read),
            "files_left_out": len(self.left_out),
        }
        reasons = Counter(each.reason for each in self.left_out)
        changes = Counter(change for each in read for change in each.changes)
        for name, counter in (("left_out", reasons), ("changed_on_reading", changes)):
            if counter:
                line = ", ".join(f"{reason} {count}" for reason, count in counter.most_common())
                counts[name] = line[:MOST_NAME]
        return counts if self.peak is None else {**counts, PEAK: self.peak}

    def csv_text(self) -> str:
        """Returns a table with a row for every file.

        A cell that a spreadsheet would take for a formula gets an apostrophe in front, a path "./".
        Unlike `spreadsheet_cell`, names stay as they are: programs find the files by them.
        """
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for each in self.files:
            path = f"./{each.path}" if is_formula(str(each.path)) else str(each.path)
            others = (each.fate, each.label, each.reason, each.detail, "; ".join(each.changes))
            writer.writerow([path, *(f"'{cell}" if is_formula(cell) else cell for cell in others)])
        return stream.getvalue()

    def write(self, path: Path, overwrite: bool = False) -> None:
        """Writes `csv_text`, names byte for byte as the file system has them.

        Args:
            path: of the file.
            overwrite: whether a file of that name may be replaced.

        Raises:
            DataError: it cannot be written, or would replace a file.
        """
        check_place(path, overwrite, DataError)
        content = self.csv_text().encode("utf-8", "surrogateescape")
        write_whole(path, content, overwrite, DataError)


def account(
    listed: LabelledPaths | None,
    reading: ReadingOptions,
    roles: Mapping[str, IndexArray] | None = None,
    overwrite: bool = False,
    writes: bool = True,
    groups: IndexArray | None = None,
) -> dict[str, str | int | float]:
    """Logs the account of photos that were read, and writes its table if one is asked for.

    Args:
        listed: by `decode_all`; None for a set that is no files.
        reading: names the table.
        roles: as for `report_of`.
        overwrite: whether the table may replace a file.
        writes: whether this process, of several that train together, writes the table.
        groups: as for `report_of`.

    Returns:
        what a bundle's provenance says of it.

    Raises:
        DataError: the table cannot be written.
    """
    if listed is None:
        return {}
    report = report_of(listed, roles, groups)
    for line in report.lines():
        log.info(line)
    if reading.report_data is not None and writes:
        report.write(reading.report_data, overwrite)
        log.info(f"wrote {reading.report_data}: what became of every file")
    elif report.left_out:
        log.info("--report-data FILE.csv lists every file")
    return report.provenance()


def report_of(
    listed: LabelledPaths,
    roles: Mapping[str, IndexArray] | None = None,
    groups: IndexArray | None = None,
) -> DataReport:
    """Returns the account of photos that were read.

    Args:
        listed: by `decode_all`: what was read, and what was left out.
        roles: indices of photos, (N,) integers each, by the role that they were dealt; those in
            none keep the role of their data set.
        groups: number of each photo's group of nearly equal ones, (N,); None: nobody looked.
    """
    fates = [role or READ for role in listed.roles] or [READ] * len(listed)
    for role, chosen in (roles or {}).items():
        for index in chosen.tolist():
            fates[index] = role
    remarks = listed.remarks or ("",) * len(listed)
    changes = listed.changes or ((),) * len(listed)
    names = (*listed.classes, "")
    read = [
        FileFate(path, fate, names[label], "", remark, changed)
        for path, fate, label, remark, changed in zip(
            listed.paths, fates, listed.labels.tolist(), remarks, changes, strict=True
        )
    ]
    left_out = [
        FileFate(each.path, LEFT_OUT, "", each.reason, each.detail) for each in listed.passed_over
    ]
    return DataReport(listed.classes, (*read, *left_out), listed.peak, _alike(listed, groups))


def _alike(listed: LabelledPaths, groups: IndexArray | None) -> tuple[tuple[Path, ...], ...]:
    """Returns the photos of each group of two or more."""
    if groups is None:
        return ()
    members: dict[int, list[Path]] = defaultdict(list)
    for path, group in zip(listed.paths, groups.tolist(), strict=True):
        members[group].append(path)
    return tuple(tuple(paths) for paths in members.values() if len(paths) > 1)
