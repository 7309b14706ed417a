"""`check-data`: the account without training, and a page that shows photos of every class."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cli.photos import check_data
from tofa_edge.errors import DataError
from tofa_edge.train.after.doubts import doubted
from tofa_edge.train.data.account.contact_sheet import MOST_OF_A_CLASS, Doubt, contact_sheet
from tofa_edge.train.data.account.report import report_of
from tofa_edge.train.data.sources import read_photos

HOSTILE = "<script>alert(1)</script>"


def write_photos(root: Path, *classes: str, count: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number} & <b>.png")
    return root


def test_the_page_escapes_and_is_bounded(tmp_path: Path) -> None:
    root = write_photos(tmp_path / "photos", "cat", 'a"b', count=MOST_OF_A_CLASS + 9)
    photos = read_photos(root, 32)
    assert photos.listed is not None
    first, second = photos.listed.paths[:2]
    report = replace(report_of(photos.listed), alike=((first, second),))
    photos = replace(photos, classes=(HOSTILE, "dog"))
    page = contact_sheet(f"x{HOSTILE}", photos, report, [Doubt(0, 0.02, HOSTILE)])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<img") == 2 * MOST_OF_A_CLASS + 2 + 1
    assert {source[:23] for source in re.findall('src="([^"]*)"', page)} == {
        "data:image/jpeg;base64,"
    }
    assert "http" not in page.replace("http-equiv", "")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_photos(tmp_path / "photos", "cat", "dog")
    (root / "cat" / "raw.nef").write_bytes(b"x")
    table, page = tmp_path / "all.csv", tmp_path / "page.html"
    check_data(data=root, out_path=page, report_data=table, **_defaults())
    printed = capsys.readouterr().out
    assert "read: 8 photos of 2 classes, 0 without a label" in printed
    assert "1 of a format that is not read (1 .nef)" in printed
    assert "classes: cat 4, dog 4" in printed
    assert page.read_text().count("<img") == 8
    with table.open(newline="") as file:
        assert len([*csv.DictReader(file)]) == 9
    with pytest.raises(DataError, match="exists"):
        check_data(data=root, out_path=page, report_data=None, **_defaults())
    check_data(data=root, out_path=None, report_data=None, **{**_defaults(), "as_json": True})
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == {"cat": 4, "dog": 4}
    assert found["left_out_files"][0]["reason"] == "format"
    pytest.importorskip("sklearn")
    with pytest.raises(DataError, match="has no files to check"):
        check_data(data=Path("digits"), out_path=None, report_data=None, **_defaults())


def _defaults() -> dict[str, Any]:
    return {
        "bundle": None, "crops": False, "crop_margin": 0.1, "allow_outside": False,
        "classes_as_given": False, "force": False, "as_json": False,
    }  # fmt: skip


def test_doubts_are_the_labels_that_the_network_does_not_give(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    bundle = Bundle.open(tiny_bundle)
    root = write_photos(tmp_path / "photos", *bundle.classes[:2], count=8)
    photos = read_photos(root, bundle.space.resolutions[-1])
    doubts = doubted(bundle, photos, most=5)
    assert 0 < len(doubts) <= 5
    given = [each.probability for each in doubts]
    assert given == sorted(given)
    for each in doubts:
        assert each.guess != photos.classes[photos.labels[each.index]]
    strange = replace(photos, classes=("nobody", "else"))
    with pytest.raises(DataError, match="lacks the classes else, nobody"):
        doubted(bundle, strange)
