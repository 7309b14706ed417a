"""Damaged tables and annotations are read, or refused with one clear error; nothing else."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from tests.host.train.data.drawn_photos import draw
from tofa_edge.errors import DataError
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.sources import list_photos

CASES = 150
PIECES = (
    b"\0", b'"', b"\xff\xfe", b"\xe4", b",", b";", b"\r", b"\n", b"[", b"{", b"<", b"&x;", b"1e999",
    b"-1", b"NaN", b"null", b"..", b"\\", b"C:\\", b"a" * 3000, b"\xf0\x9f\x90\x88",
)  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "1.png", "width": 8, "height": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 1, 4, 4]}],
    "categories": [{"id": 2, "name": "bolt"}],
}
FILES = {
    "list.csv": b"path,label,split\n1.png,cat,train\nimages/2.png,dog,test\n",
    "16.csv": "path;label\n1.png;cat\nimages/2.png;dog\n".encode("utf-16"),
    "metadata.jsonl": b'{"file_name": "1.png", "label": 1}\n{"file_name": "images/2.png"}\n',
    "_classes.csv": b"filename, cat, dog\n1.png, 1, 0\nimages/2.png, 0, 1\n",
    "coco.json": json.dumps(COCO).encode(),
    "1.xml": b"<annotation><size><width>8</width><height>8</height></size><object><name>cat</name>"
    b"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>",
    "labels/2.txt": b"0 0.5 0.5 0.5 0.5\n1 .1 .1 .2 .1 .3 .3\n",
    "data.yaml": b"train: images\nnames:\n  0: cat\n  1: dog\n",
}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(rng.integers(1, 4)):
        start, length = rng.integers(0, len(content) + 1), rng.integers(0, 5)
        piece = PIECES[rng.integers(len(PIECES))] if rng.random() < 0.8 else rng.bytes(3)
        content = content[:start] + piece + content[start + length :]
    return content[: rng.integers(1, len(content) + 1)] if rng.random() < 0.1 else content


@pytest.mark.parametrize("name", FILES)
def test_damaged(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    draw(tmp_path, "1.png", "images/2.png")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for other in ("labels/2.txt", "data.yaml"):
        if name in ("labels/2.txt", "data.yaml"):
            (tmp_path / other).parent.mkdir(exist_ok=True)
            (tmp_path / other).write_bytes(FILES[other])
    boxes = name in ("coco.json", "1.xml", "labels/2.txt", "data.yaml")
    source = path if path.suffix in (".csv", ".jsonl", ".json") else tmp_path
    reading = ReadingOptions(crops=boxes)
    path.write_bytes(FILES[name])
    assert list_photos(source, 1, reading).classes
    rng, messages = np.random.default_rng(len(name)), []
    for _ in range(CASES):
        path.write_bytes(damaged(FILES[name], rng))
        try:
            list_photos(source, 1, reading)
        except DataError as error:
            messages.append(str(error))
    assert messages
    assert all(str(tmp_path) in message for message in messages)  # each says in which file
    assert max(map(len, messages)) < 8000
