"""Some hundred damaged photos of all formats, and the fuzzer that makes them."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import photos as fuzz_photos
from tests.fuzz.photo_damage import DAMAGES, photos, repaired_png
from tests.fuzz.photos import BATCH, Case, Outcome, judge, main, make_case, run, summary
from tofa_edge.bundle.images import prepare
from tofa_edge.errors import ImageError


def test_every_format_is_among_the_photos(tmp_path: Path) -> None:
    made = [name.split(" ")[0] for name, _ in photos()]
    assert {"JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"} <= {*made}
    for name, content in photos():
        if name.startswith(("JPEG RGB", "PNG RGBA", "TIFF I;16", "WEBP RGB", "GIF P")):
            (tmp_path / "x").write_bytes(content)
            assert prepare(tmp_path / "x", 32).shape == (32, 32, 3)


def test_damaged_photos_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    numbers = [n for n in range(3, 7000, 31) if n % fuzz_photos.BOMB_EACH]
    outcomes = [judge(make_case(1, number), tmp_path) for number in numbers]
    assert [outcome for outcome in outcomes if outcome.verdict == "violation"] == []
    assert {outcome.verdict for outcome in outcomes} == {"refused", "read"}
    assert {outcome.damage for outcome in outcomes} == {damage.__name__ for damage in DAMAGES}
    assert summary(outcomes)["all"]["cases"] == len(numbers)


def test_cases_follow_from_seed_and_number() -> None:
    for number in range(0, 600, 7):
        assert make_case(3, number) == make_case(3, number)
    assert make_case(3, 1) != make_case(4, 1)


def test_a_repaired_png_is_read_again(tmp_path: Path) -> None:
    content = bytearray(next(content for name, content in photos() if name.startswith("PNG RGB ")))
    content[content.index(b"IHDR") + 12] ^= 0xFF  # its checksum is wrong now
    (tmp_path / "x.png").write_bytes(bytes(content))
    with pytest.raises(ImageError):
        prepare(tmp_path / "x.png", 32)
    content[content.index(b"IHDR") + 12] ^= 0xFF
    content[content.index(b"IHDR") + 17] ^= 0xFF
    (tmp_path / "x.png").write_bytes(repaired_png(bytes(content)))
    prepare(tmp_path / "x.png", 32)


@pytest.mark.parametrize(
    ("crime", "said"),
    [
        ("other error", "ValueError: of Pillow"),
        ("many lines", "no clear line"),
        ("no path", "no clear line"),
        ("other shape", "uint8 (3, 3, 3)"),
        ("new file", "files written"),
        ("memory", "MB, then"),
        ("time", "s, "),
    ],
)
def test_the_fuzzer_sees_violations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crime: str, said: str
) -> None:
    def guilty(path: Path, size: int) -> object:
        if crime == "other error":
            raise ValueError("of Pillow")
        if crime == "many lines":
            raise ImageError(f"{path}: wanted\nan image")
        if crime == "no path":
            raise ImageError("wanted an image")
        if crime == "new file":
            (path.parent / "another").touch()
        if crime == "memory":
            np.ones(400_000_000, np.uint8)
        if crime == "time":
            while time.process_time() < until:
                pass
        shape = (3, 3, 3) if crime == "other shape" else (size, size, 3)
        return np.zeros(shape, np.uint8)

    until = time.process_time() + 1.1
    monkeypatch.setattr(fuzz_photos, "prepare", guilty)
    found = judge(make_case(0, 1), tmp_path)
    assert found.verdict == "violation"
    assert said in found.message


def test_a_crash_is_told_apart_from_the_rest_of_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def crashing(case: Case, folder: Path) -> Outcome:
        if case.number == 2:
            os._exit(9)
        return judge(case, folder)

    monkeypatch.setattr(fuzz_photos, "judge", crashing)
    (outcomes,) = run(0, [1, 2, 3])
    verdicts = {outcome.number: outcome.verdict for outcome in outcomes}
    assert verdicts[2] == "violation"
    assert "violation" not in (verdicts[1], verdicts[3])
    assert next(o for o in outcomes if o.number == 2).message.startswith("crash: exit code 9")
    assert len(outcomes) < BATCH


def test_main_reports_each_format(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert main(["--only", "5", "--seed", "2"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[:5] == ["format", "cases", "refused", "read", "violation"]
    assert [row.split()[1] for row in rows] == ["1", "1"]
