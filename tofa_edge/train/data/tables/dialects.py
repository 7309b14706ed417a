"""A table's text and rows, whatever program wrote it: encoding, separator, quotes."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tofa_edge.errors import DataError
from tofa_edge.images.formats import SUFFIXES
from tofa_edge.train.data.tables.column_names import is_path_name

MOST_BYTES = 1_000_000_000
MARKS = (  # of the encoding, at the beginning of a file; longer ones first
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)  # fmt: skip
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SAMPLE = 65_536  # characters that decide the separator, or bytes that decide the encoding
NAMED_SEPARATOR = re.compile(r'"?sep=(.)"?[\r\n]+')  # a first line that Excel writes and reads
ARCHIVE = b"PK\x03\x04"


@dataclass(frozen=True)
class PhotoTable:
    """The rows of a table.

    Attributes:
        path: of its file.
        rows: cells without spaces around them; empty rows and comments are left out.
        lines: where each row ends in the file, from 1.
        dialect: its encoding and separator, for messages.
        named: whether the first row is known to name the columns.
    """

    path: Path
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    dialect: str
    named: bool = False

    def seen(self) -> str:
        """Returns what was understood of it, for messages: encoding, separator, first row."""
        first = ", ".join(repr(cell[:40]) for cell in self.rows[0][:12]) if self.rows else "none"
        return f"read as {self.dialect}; first row: {first}"


def read_table(path: Path) -> PhotoTable:
    """Returns the rows of a CSV file.

    The encoding is UTF-8, or UTF-16 or UTF-32 by its mark or its zeros; the separator is a comma,
    a semicolon, a tab or a bar, whichever gives the first rows a photo and as many columns.

    Raises:
        DataError: it cannot be read; the message says which line, and why.
    """
    content = read_bytes(path, MOST_BYTES)
    if content.startswith(ARCHIVE):
        raise DataError(f"{path}: wanted CSV, got a workbook or an archive: save it as CSV UTF-8")
    text, encoding = _decoded(path, content)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}: line {line} holds a zero byte: the file is damaged, or no CSV")
    named = NAMED_SEPARATOR.match(text)
    skipped = 0 if named is None else 1
    text = text[named.end() :] if named is not None else text
    separator = named[1] if named is not None else _separator(text)
    rows, lines = [], []
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    try:
        for row in reader:
            cells = tuple(cell.strip() for cell in row)
            if any(cells) and not (len(cells) == 1 and cells[0].startswith("#")):
                rows.append(cells)
                lines.append(reader.line_num + skipped)
    except csv.Error as error:
        line = reader.line_num + skipped
        raise DataError(
            f"{path}: line {line}: {error}: is a quotation mark missing? (read as {encoding}, "
            f"separated by {SEPARATORS.get(separator, separator)})"
        ) from error
    dialect = f"{encoding}, separated by {SEPARATORS.get(separator, repr(separator))}"
    return PhotoTable(path, tuple(rows), tuple(lines), dialect)


def read_bytes(path: Path, most: int) -> bytes:
    """Returns a file's content.

    Raises:
        DataError: it cannot be read, or has more than `most` bytes.
    """
    try:
        size = path.stat().st_size
        if size > most:
            raise DataError(f"{path}: wanted up to {most} bytes, got {size}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _decoded(path: Path, content: bytes) -> tuple[str, str]:
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), None)
    encoding = encoding or _by_zeros(content[:SAMPLE]) or "utf-8"
    try:
        return content.decode(encoding), encoding.upper().removesuffix("-SIG")
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            raise DataError(f"{path}: cannot be read as {encoding}: {error.reason}") from error
        line = content.count(b"\n", 0, error.start) + 1
        meant = content[error.start : error.start + 1].decode("cp1252", "replace")
        raise DataError(
            f"{path}: line {line}: wanted UTF-8 or UTF-16, got byte 0x{content[error.start]:02X} "
            f"(in Windows-1252 it is {meant!r}): save it as CSV UTF-8, or convert it with "
            "iconv -f WINDOWS-1252 -t UTF-8"
        ) from error


def _by_zeros(sample: bytes) -> str | None:
    """Returns UTF-16 where every other byte is mostly 0, as it is in text that lacks the mark."""
    half = len(sample) // 2
    first, second = sample[0::2].count(0), sample[1::2].count(0)
    if second > half / 2 and not first:
        return "utf-16-le"
    return "utf-16-be" if first > half / 2 and not second else None


def _separator(text: str) -> str:
    """Returns the separator that makes most sense of a table's beginning; a comma if none does."""
    sample = text[:SAMPLE]
    if len(text) > SAMPLE:
        sample = sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1] or sample

    def sense(separator: str) -> tuple[bool, float, float]:
        reader = csv.reader(
            io.StringIO(sample, newline=""), delimiter=separator, skipinitialspace=True
        )
        try:
            rows = [[cell.strip() for cell in row] for row in reader if row]
        except csv.Error:
            return False, 0.0, 0.0
        if not rows or len(rows[0]) < 2:
            return False, 0.0, 0.0
        photos = sum(any(map(is_photo_name, row)) for row in rows) / len(rows)
        width = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        return has_path_name(rows[0]), photos, width

    return max(SEPARATORS, key=sense)


def has_path_name(row: Sequence[str]) -> bool:
    """Returns whether a row may be the header of a table of photos."""
    return any(map(is_path_name, row)) and not any(map(is_photo_name, row))


def is_photo_name(cell: str) -> bool:
    """Returns whether a cell ends as the names of photos do."""
    return cell.lower().endswith(SUFFIXES)
