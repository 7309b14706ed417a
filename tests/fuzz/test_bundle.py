"""The bundle under a few hundred damages, and the fuzzer that makes them."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import bundle as fuzz_bundle
from tests.fuzz import images as fuzz_images
from tests.fuzz.bundle import KINDS, Outcome, judge, main, make_case, table
from tests.fuzz.crafted import DamagedFile, Sample, replaced
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BundleError


@pytest.fixture(autouse=True)
def own_garbage() -> Iterator[None]:
    """Leaves what other tests keep out of the garbage collections that are timed here."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("index", range(15))
def test_image_bombs_are_cheap(sample: Sample, index: int, tmp_path: Path) -> None:
    content = replaced(sample, "check/00000.jpg", fuzz_images.bombs()[index])
    (tmp_path / "x.tofa").write_bytes(content)
    start = time.process_time()
    try:
        Bundle.open(tmp_path / "x.tofa").verify()
        cheap = True
    except BundleError as error:
        cheap = "check/00000.jpg" in str(error)
    assert cheap
    assert time.process_time() - start < 1


def test_fuzz_cases(sample: Sample, tmp_path: Path) -> None:
    outcomes = [judge(sample, 1, index, tmp_path) for index in range(7 * len(KINDS))]
    violations = [outcome for outcome in outcomes if outcome.verdict == "violation"]
    assert not violations, violations[0]
    assert {outcome.verdict for outcome in outcomes} == {"refused", "identical", "harmless"}
    assert table(outcomes).splitlines()[-1].split()[:2] == ["all", str(len(outcomes))]


def test_fuzz_cases_follow_from_seed_and_number(sample: Sample) -> None:
    for index in range(0, 2 * len(KINDS), 5):
        assert make_case(sample, 3, index) == make_case(sample, 3, index)
    assert make_case(sample, 3, 0) != make_case(sample, 4, 0)


@pytest.mark.parametrize("crime", ["other error", "other content", "new file", "many lines"])
def test_the_fuzzer_sees_violations(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crime: str
) -> None:
    def verify(bundle: Bundle) -> None:
        if crime == "other error":
            raise KeyError("x")
        if crime == "many lines":
            raise BundleError(f"{bundle.path}: a\nb\nc d e f")
        if crime == "new file":
            bundle.path.with_name("extracted.txt").touch()

    case = DamagedFile(replaced(sample, "check/00000.jpg", b"?"), "", harmless=crime == "new file")
    monkeypatch.setattr(Bundle, "verify", verify)
    monkeypatch.setattr(fuzz_bundle, "make_case", lambda *_: ("test", case))
    assert judge(sample, 0, 0, tmp_path).verdict == "violation"


def test_the_fuzzer_reports(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    assert main([str(path), "--cases", str(len(KINDS)), "--seed", "5", "--json", str(out)]) == 0
    made = json.loads(out.read_text())
    assert [outcome["kind"] for outcome in made["outcomes"]] == list(KINDS)
    assert "image_cut" in capsys.readouterr().out


def test_the_fuzzer_fails_on_violations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    bad = Outcome(7, "bit_flip", "violation", "1 bit", "KeyError: x", 0.0, 0)
    monkeypatch.setattr(fuzz_bundle, "run", lambda *_: [[bad]])
    assert main([str(path), "--seed", "3", "--only", "7"]) == 1
    assert "--seed 3 --only 7" in capsys.readouterr().out
