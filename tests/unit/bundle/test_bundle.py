"""The bundle: what is written comes back, and nothing damaged or hostile is believed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.fuzz.crafted import Sample, replaced, seal, with_manifest
from tofa_edge.architecture.encodings import distinct
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.sampling import sample as drawn
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.bundle.bundle import Bundle, GoldenCase
from tofa_edge.bundle.write import stored_precision, write_bundle
from tofa_edge.errors import BundleError
from tofa_edge.network.network import LITE_PREPROCESSING, Preprocessing
from tofa_edge.network.slicing import cut, fold
from tofa_edge.prediction.accuracy import fit_accuracy
from tofa_edge.selftest.small_bundle import small_bundle, small_finalists, smooth_photo
from tofa_edge.selftest.specimens import random_arrays

WEIGHTS, GOLDEN = "weights.safetensors", "golden.safetensors"
CLASSIFIER, GOLDEN_IMAGES = "classifier.safetensors", "golden_images.safetensors"
NOTHING = (np.zeros((1, 16, 16, 3), np.uint8), np.arange(10, dtype=np.float32)[None])
Arrays = dict[str, Any]


def refused(tmp_path: Path, content: bytes, message: str) -> None:
    hostile = tmp_path / "hostile.tofa"
    hostile.write_bytes(content)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.open(hostile).verify()
    assert str(caught.value).startswith(f"{hostile}: ")
    assert str(caught.value).isprintable()


def written(path: Path, **changes: Any) -> None:
    space, rng = tiny(), np.random.default_rng(0)
    values: dict[str, Any] = {
        "space": space,
        "classes": list("abcdefghij"),
        "preprocessing": LITE_PREPROCESSING,
        "arrays": random_arrays(space, rng),
        "golden": [GoldenCase(space.smallest(), *NOTHING)],
        "calibration": [smooth_photo(rng)],
        "check": [(smooth_photo(rng), 3)],
        "provenance": {},
    }
    write_bundle(path, **{**values, **changes})


@pytest.mark.parametrize("half", [False, True])
def test_round_trip(tmp_path: Path, half: bool) -> None:
    path = tmp_path / "x.tofa"
    stored = small_bundle(path, half=half)
    bundle = Bundle.open(path)
    bundle.verify()
    arrays = bundle.supernet()
    assert bundle.half_precision is half
    assert arrays.keys() == stored.keys()
    for name, array in arrays.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, stored[name])
    halves = {name for name, array in stored.items() if array.dtype == np.float16}
    assert halves == ({name for name in stored if name.endswith(".weight")} if half else set())


def test_stored_precision_changes_weights_only() -> None:
    arrays = random_arrays(tiny(), np.random.default_rng(0))
    stored = stored_precision(arrays, half=True)
    for name, array in arrays.items():
        if name.endswith(".weight"):
            assert stored[name].dtype == np.float16
            assert np.allclose(stored[name], array, rtol=1e-3, atol=1e-6)
        else:
            assert stored[name] is array
    assert all(stored_precision(arrays, half=False)[name] is arrays[name] for name in arrays)


def test_fields(path: Path) -> None:
    bundle = Bundle.open(str(path))
    assert bundle.space == tiny()
    assert bundle.classes[:2] == ("class 0", "class 1")
    assert bundle.preprocessing == LITE_PREPROCESSING
    assert bundle.provenance["made_by"] == "small_bundle"
    assert (bundle.calibration_count, bundle.check_count) == (8, 4)
    assert sum(bundle.member_sizes.values()) < path.stat().st_size
    assert bundle.calibration_images(24).shape == (8, 24, 24, 3)
    assert bundle.calibration_images(24, most=3).shape == (3, 24, 24, 3)
    images, labels = bundle.check_images(16)
    assert images.shape == (4, 16, 16, 3)
    assert labels.tolist() == [0, 1, 2, 3]


def test_golden_cases_are_what_the_stored_weights_compute(path: Path) -> None:
    bundle = Bundle.open(path)
    arrays = bundle.supernet()
    cases = bundle.golden_cases()
    assert [case.subnet for case in cases[:2]] == [tiny().smallest(), tiny().largest()]
    for case in cases:
        network = layers(bundle.space, case.subnet)
        folded = fold(network, cut(network, arrays), bundle.preprocessing)
        assert np.array_equal(ReferenceSession(folded).run(case.images)[LOGITS], case.logits)


def test_same_members_make_the_same_file(path: Path, tmp_path: Path) -> None:
    small_bundle(tmp_path / "again.tofa", finalists=small_finalists())
    assert (tmp_path / "again.tofa").read_bytes() == path.read_bytes()
    small_bundle(tmp_path / "other.tofa", seed=1)
    digests = {Bundle.open(item).digest for item in (path, *tmp_path.iterdir())}
    assert len(digests) == 2


def test_unusual_but_right_values(tmp_path: Path) -> None:
    names = ["猫", "naïve", "with\u200cout", "two words", *"efghi", "n" * 200]
    path = tmp_path / "x.tofa"
    pre = Preprocessing((-1.0, 0.0, 255.0), (0.001, 1.0, 58.395))
    written(path, classes=names, preprocessing=pre, calibration=[], check=[])
    bundle = Bundle.open(path)
    bundle.verify()
    assert bundle.classes == tuple(names)
    assert bundle.preprocessing == pre
    assert bundle.calibration_images(16).shape == (0, 16, 16, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": list("abc")},
        {"classes": [*"abcdefghi", "a\nb"]},
        {"classes": [*"abcdefghi", "\ud800"]},
        {"check": [(b"", 10)]},
        {"provenance": {"list": []}},
        {"golden": []},
        {"golden": [GoldenCase(tiny().smallest(), *NOTHING)] * 65},
        {"space": dataclasses.replace(tiny(), classes=11)},
    ],
)  # fmt: skip
def test_what_could_not_be_opened_is_not_written(tmp_path: Path, changes: Arrays) -> None:
    with pytest.raises(BundleError, match="manifest is wrong"):
        written(tmp_path / "x.tofa", **changes)
    assert not list(tmp_path.iterdir())


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        Bundle.open(tmp_path / "missing.tofa")
    with pytest.raises(BundleError, match=r"wanted a .tofa file, this is a folder"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="No such file"):
        written(tmp_path / "missing" / "x.tofa")


@pytest.mark.parametrize("field", ["schema", "classes", "space", "preprocessing", "members"])
def test_missing_and_mistyped_fields(sample: Sample, tmp_path: Path, field: str) -> None:
    manifest = sample.manifest()
    without = {key: value for key, value in manifest.items() if key != field}
    text = json.dumps(without).encode()
    refused(tmp_path, with_manifest(sample.members, text), f"lacks a field .* '{field}'")
    text = json.dumps({**manifest, field: "7"}).encode()
    refused(tmp_path, with_manifest(sample.members, text), "manifest")


@pytest.mark.parametrize(
    "name",
    [
        WEIGHTS, CLASSIFIER, GOLDEN, GOLDEN_IMAGES, "finalists.safetensors",
        "calibration/00007.jpg", "check/00000.jpg",
    ],
)  # fmt: skip
def test_damaged_member(sample: Sample, tmp_path: Path, name: str) -> None:
    at = sample.content.index(sample.members[name]) + len(sample.members[name]) // 2
    damaged = bytearray(sample.content)
    damaged[at] ^= 1
    refused(tmp_path, bytes(damaged), "not a whole bundle")
    manifest = sample.manifest()
    text = json.dumps({**manifest, "members": {**manifest["members"], name: {
        "size": len(sample.members[name]), "sha256": "0" * 64}}})  # fmt: skip
    content = with_manifest(sample.members, text.encode())
    refused(tmp_path, content, f"{name} is damaged; copy the bundle again")


def _without_one(arrays: Arrays) -> None:
    del arrays["stem.weight"]


def _other_shape(arrays: Arrays) -> None:
    arrays["stem.weight"] = arrays["stem.weight"].reshape(-1)


def _not_a_number(arrays: Arrays) -> None:
    arrays["head.shift"] = np.full_like(arrays["head.shift"], np.nan)


def _negative_variance(arrays: Arrays) -> None:
    arrays["stem.variance"] = -arrays["stem.variance"]


def _overflowing(arrays: Arrays) -> None:
    arrays["stage2_block1_expand.weight"][3, 1] = -3e38


def _overflowing_variance(arrays: Arrays) -> None:
    arrays["stem.variance"][0] = 1e38


def _integers(arrays: Arrays) -> None:
    arrays["head.shift"] = arrays["head.shift"].astype(np.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_one, "weights do not fit the space: stem.weight"),
        (_other_shape, "stem.weight: wanted shape"),
        (_not_a_number, "head.shift holds numbers that are not finite"),
        (_negative_variance, "stem.variance holds negative variances"),
        (_overflowing, "stage2_block1_expand.weight holds 3e\\+38, and networks overflow"),
        (_overflowing_variance, "stem.variance holds 1e\\+38, and networks overflow"),
        (_integers, "head.shift: wanted float32 or 16, got int64"),
    ],
)
def test_wrong_weights(
    sample: Sample, tmp_path: Path, change: Callable[[Arrays], None], message: str
) -> None:
    arrays = safetensors.numpy.load(sample.members[WEIGHTS])
    change(arrays)
    refused(tmp_path, replaced(sample, WEIGHTS, safetensors.numpy.save(arrays)), message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("images_0", np.zeros((2, 16, 16, 3), np.float32), "case 0 has no fitting images"),
        ("images_1", np.zeros((2, 16, 16, 3), np.uint8), "case 1 has no fitting images"),
        ("images_0", np.zeros((0, 16, 16, 3), np.uint8), "case 0 has no fitting logits"),
        ("logits_0", np.zeros((2, 9), np.float32), "case 0 has no fitting logits"),
        ("logits_0", np.zeros((2, 10), np.float64), "case 0 has no fitting logits"),
        ("logits_2", np.full((2, 10), np.inf, np.float32), "case 2 is empty or not finite"),
        ("logits_1", np.zeros((2, 10), np.float32), "case 1 proves nothing: its logits are all"),
        ("logits_1", np.full((2, 10), 7.5, np.float32), "case 1 proves nothing"),
        ("logits_1", 100 + np.eye(2, 10, dtype=np.float32) / 9, "case 1 proves nothing"),
        ("logits_1", 1e30 * np.eye(2, 10, dtype=np.float32), "case 1 holds a logit of 1e\\+30"),
        ("logits_3", np.zeros((2, 10), np.float32), "holds more than 3 cases"),
        ("images_3", np.zeros((2, 10), np.uint8), "holds more than 3 cases"),
    ],
)
def test_wrong_golden_cases(
    sample: Sample, tmp_path: Path, name: str, value: Any, message: str
) -> None:
    member = GOLDEN if name.startswith("logits") else GOLDEN_IMAGES
    arrays = {**safetensors.numpy.load(sample.members[member]), name: value}
    refused(tmp_path, replaced(sample, member, safetensors.numpy.save(arrays)), message)


@pytest.mark.parametrize(
    ("name", "source", "goal"),
    [("logits.bias", CLASSIFIER, WEIGHTS), ("stem.weight", WEIGHTS, CLASSIFIER),
     ("images_1", GOLDEN_IMAGES, GOLDEN), ("logits_1", GOLDEN, GOLDEN_IMAGES)],
)  # fmt: skip
def test_each_array_in_its_own_member(
    sample: Sample, tmp_path: Path, name: str, source: str, goal: str
) -> None:
    given = safetensors.numpy.load(sample.members[source])
    taking = {**safetensors.numpy.load(sample.members[goal]), name: given.pop(name)}
    changed = {source: safetensors.numpy.save(given), goal: safetensors.numpy.save(taking)}
    content = seal({**sample.members, **changed}, sample.manifest())
    refused(tmp_path, content, f"array {name} is in the wrong member")


def test_the_message_on_a_wrong_predictor_names_bundle_and_array(tmp_path: Path) -> None:
    space, rng = tiny(), np.random.default_rng(0)
    tested = distinct(space, drawn(space, rng, 60))
    predictor = fit_accuracy(space, tested, rng.uniform(0.4, 0.9, len(tested)))
    path = tmp_path / "x.tofa"
    small_bundle(path, predictor=predictor)
    Bundle.open(path).verify()
    given = Sample.of(path.read_bytes())
    arrays = {**predictor.to_arrays(), "scale": 0 * predictor.to_arrays()["scale"]}
    content = replaced(given, "predictors.safetensors", safetensors.numpy.save(arrays))
    refused(tmp_path, content, "predictors.safetensors is damaged: .* scale holds 0, which no fit")
