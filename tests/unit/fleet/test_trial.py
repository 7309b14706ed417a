"""Bad updates are refused in their trial, with the reason; honest ones are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.fuzz.crafted import Sample
from tests.unit.fleet.making import CLASSES, right_bundle
from tofa_edge.backends.protocol import Backend
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.write import write_bundle
from tofa_edge.fleet.trial import TrialLimits, TrialOrder, TrialReport, run_trial
from tofa_edge.fleet.trial_process import tried
from tofa_edge.selftest.small_bundle import smooth_photo
from tofa_edge.storage.plain import from_plain, to_plain

pytestmark = pytest.mark.usefixtures("known_engines")


def order(bundles: dict[str, Path], new: Path, **changes: Any) -> TrialOrder:
    digest = Bundle.open(new).digest
    running, budget = str(bundles["first"]), Budget()
    whole = TrialOrder(str(new), digest, running, budget, "reference", None, "fp32")
    return replace(whole, **changes)


def test_an_order_and_a_report_come_through_json(bundles: dict[str, Path]) -> None:
    given = order(bundles, bundles["second"], budget=Budget(latency_ms=3.0), frames=("a.jpg",))
    assert from_plain(TrialOrder, to_plain(given)) == given
    report = TrialReport("", "a network", ("one", "two"))
    assert from_plain(TrialReport, to_plain(report)) == report


def test_an_honest_update_is_taken(bundles: dict[str, Path]) -> None:
    report = tried(order(bundles, bundles["second"]))
    assert report.refusal == ""
    assert report.network
    assert any("lost=0, won=0" in note for note in report.notes), report.notes


def test_mixed_up_class_names_are_refused(tmp_path: Path, bundles: dict[str, Path]) -> None:
    """Its own check photos cannot tell: their labels are mixed up alike."""
    mixed = tmp_path / "mixed.tofa"
    right_bundle(mixed, classes=[*CLASSES[1:], CLASSES[0]])
    assert "worse than the running network" in tried(order(bundles, mixed)).refusal
    assert tried(order(bundles, mixed, gate=False)).refusal == ""


def test_other_classes_are_refused_unless_meant(tmp_path: Path, bundles: dict[str, Path]) -> None:
    other = tmp_path / "other.tofa"
    right_bundle(other, classes=[f"kind {index}" for index in range(len(CLASSES))])
    assert "its classes are not those" in tried(order(bundles, other)).refusal
    meant = tried(order(bundles, other, new_classes=True))
    assert meant.refusal == ""
    assert any("own check photos" in note for note in meant.notes)


def test_spoiled_labels_of_its_own_are_refused(tmp_path: Path, bundles: dict[str, Path]) -> None:
    spoiled = tmp_path / "spoiled.tofa"
    right_bundle(spoiled)
    bundle = Bundle.open(spoiled)
    _, labels = bundle.check_images(bundle.space.resolutions[0])
    photos = bundle._members.read_each(bundle._members.photos("check"), 2**20)
    wrong = [(photo, (int(n) + 1) % len(CLASSES)) for photo, n in zip(photos, labels, strict=True)]
    write_bundle(
        spoiled,
        space=bundle.space,
        classes=bundle.classes,
        preprocessing=bundle.preprocessing,
        arrays=bundle.supernet(),
        golden=bundle.golden_cases(),
        calibration=[smooth_photo(np.random.default_rng(0))] * 2,
        check=wrong,
        provenance={},
    )
    assert "labels are spoiled" in tried(order(bundles, spoiled)).refusal


def test_what_is_too_slow_is_refused(bundles: dict[str, Path]) -> None:
    report = tried(order(bundles, bundles["second"], budget=Budget(latency_ms=1e-4)))
    assert report.refusal
    assert report.network == ""


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, bundles: dict[str, Path]) -> None:
    sample = Sample.of(bundles["second"].read_bytes())
    name = "weights.safetensors"
    arrays = safetensors.numpy.load(sample.members[name])
    first = next(iter(arrays))
    arrays[first] = np.full_like(arrays[first], np.nan)
    broken = tmp_path / "nan.tofa"
    broken.write_bytes(_with(sample, name, safetensors.numpy.save(arrays)))
    assert "finite" in tried(order(bundles, broken)).refusal


def _with(sample: Sample, name: str, content: bytes) -> bytes:
    import hashlib
    import io
    import json
    import zipfile

    members = dict(sample.members)
    members[name] = content
    manifest = json.loads(members["manifest.json"])
    manifest["members"][name] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
    members["manifest.json"] = json.dumps(manifest).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for key, value in members.items():
            archive.writestr(zipfile.ZipInfo(key), value)
    return stream.getvalue()


def test_a_crashing_engine_is_refused(
    bundles: dict[str, Path], offer: Callable[..., dict[str, Backend]]
) -> None:
    offer("illegal")
    given = order(bundles, bundles["second"], backend="illegal", precision=None)
    assert "illegal" in run_trial(given, TrialLimits()).refusal


def test_a_trial_that_crashes_is_refused(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tofa_edge.fleet.trial.PROCESS", "tests.unit.fleet.crashing")
    report = run_trial(order(bundles, bundles["second"]), TrialLimits())
    assert "by SIGSEGV" in report.refusal


def test_without_photos_frames_or_no_gate_are_wanted(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    bare, second = tmp_path / "bare.tofa", tmp_path / "second.tofa"
    right_bundle(bare, checks=0)
    right_bundle(second, checks=0, version=1)
    given = order({"first": bare}, second)
    assert "--frames, or --no-gate" in tried(given).refusal
    assert tried(replace(given, gate=False)).refusal == ""
    frames = [tmp_path / f"{number}.jpg" for number in range(12)]
    for number, path in enumerate(frames):
        path.write_bytes(smooth_photo(np.random.default_rng(number)))
    with_frames = replace(given, frames=tuple(map(str, frames)))
    report = tried(with_frames)
    assert report.refusal == ""
    assert "12 canary frames" in " ".join(report.notes)
    mixed = tmp_path / "mixed.tofa"
    right_bundle(mixed, checks=0, classes=[*CLASSES[1:], CLASSES[0]])
    given = replace(with_frames, bundle=str(mixed), digest=Bundle.open(mixed).digest)
    assert "names 0 of 12 frames" in tried(given).refusal


def test_a_bundle_that_was_exchanged_is_refused(bundles: dict[str, Path]) -> None:
    given = order(bundles, bundles["second"], digest="0" * 64)
    assert "changed while it was tried" in tried(given).refusal
