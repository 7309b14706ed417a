"""Finalists: what was tested and is ready-made comes back; nothing wrong is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.fuzz.crafted import Sample, replaced, seal
from tofa_edge.architecture.layers import Convolution, layers
from tofa_edge.architecture.zoo import named, tiny
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.finalists import MOST_FINALISTS, Finalist, array_shapes
from tofa_edge.errors import BundleError, SubnetError
from tofa_edge.selftest.small_bundle import small_bundle, small_finalists

FINALISTS = "finalists.safetensors"
WHOLE, LARGEST, STATISTICS = range(3)  # of the small bundle's
Arrays = dict[str, Any]


def test_what_is_written_comes_back(path: Path) -> None:
    bundle, written = Bundle.open(path), small_finalists()
    found = bundle.finalists()
    assert [(f.subnet, f.accuracy) for f in found] == [(f.subnet, f.accuracy) for f in written]
    for one, given in zip(found, written, strict=True):
        if given.arrays is None or one.arrays is None:
            assert one.arrays is given.arrays is None
            continue
        assert one.arrays.keys() == given.arrays.keys()
        for name, array in one.arrays.items():
            assert array.dtype == np.float32
            assert np.array_equal(array, given.arrays[name])


def test_the_list_is_read_without_the_arrays(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "x.tofa"
    path.write_bytes(replaced(sample, FINALISTS, b"\0" * 8 + b"damaged"))
    bundle = Bundle.open(path)
    assert [each.has_arrays for each in bundle.listed_finalists] == [True, True, True, False]
    assert bundle.listed_finalists[LARGEST].accuracy == 0.75
    bundle.supernet()
    with pytest.raises(BundleError, match="is damaged"):
        bundle.finalists()


def test_no_arrays_no_member(tmp_path: Path) -> None:
    bare = [Finalist(finalist.subnet, 0.5, {}) for finalist in small_finalists()]
    small_bundle(tmp_path / "x.tofa", finalists=bare)
    bundle = Bundle.open(tmp_path / "x.tofa")
    bundle.verify()
    assert FINALISTS not in bundle.member_sizes
    assert [finalist.arrays for finalist in bundle.finalists()] == [None] * 4


@pytest.mark.parametrize("name", ["tiny", "lite0", "mobilenet_v3"])
def test_statistics_are_of_every_batch_norm(name: str) -> None:
    space = named(name)
    subnet = space.middle()
    groups = array_shapes(space, subnet)
    norms = [e for e in layers(space, subnet) if isinstance(e, Convolution) and e.normalised]
    assert groups["statistics"] == {
        f"{layer.name}.{role}": (layer.out_channels,)
        for layer in norms
        for role in ("mean", "variance")
    }
    assert array_shapes(space, space.largest())["statistics"] == {}
    channels = groups["classifier"]["logits.weight"][1]
    assert groups["features"] == dict.fromkeys(("features.mean", "features.deviation"), (channels,))


def changed(index: int, name: str, change: Callable[[Any], Any]) -> list[Finalist]:
    """The small bundle's finalists, an array of one changed; None leaves it out."""
    finalists = list(small_finalists())
    arrays = dict(finalists[index].arrays or {})
    value = change(arrays.pop(name, None))
    arrays |= {} if value is None else {name: value}
    finalists[index] = replace(finalists[index], arrays=arrays)
    return finalists


def negative(array: Any) -> Any:
    return -array


@pytest.mark.parametrize(
    ("index", "name", "change", "message"),
    [
        (WHOLE, "stem.mean", lambda _: None, "finalist 0 lacks stem.mean, a part of its s"),
        (LARGEST, "logits.bias", lambda _: None, "finalist 1 lacks logits.bias, a part of its c"),
        (WHOLE, "features.mean", lambda _: None, "lacks features.mean, a part of its features"),
        (LARGEST, "stem.mean", lambda _: np.ones(8, np.float32), "1 has an array that is unknown"),
        (WHOLE, "stem.weight", lambda _: np.ones(8, np.float32), "0 has an array that is unknown"),
        (STATISTICS, "stem.variance", negative, "finalist 2: stem.variance holds negative var"),
        (WHOLE, "features.deviation", negative, "features.deviation holds negative deviations"),
        (STATISTICS, "head.mean", lambda a: a * np.nan, "finalist 2: head.mean .* not finite"),
        (STATISTICS, "head.mean", lambda a: a[1:], "finalist 2: head.mean: wanted shape"),
        (LARGEST, "logits.weight", lambda a: a.T, "finalist 1: logits.weight: wanted shape"),
        (LARGEST, "logits.weight", lambda a: a * 1e30, "networks overflow over"),
        (LARGEST, "logits.weight", lambda a: a.astype(np.int64), "wanted float32 or 16, got int64"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_not_written(
    tmp_path: Path, index: int, name: str, change: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        small_bundle(tmp_path / "x.tofa", finalists=changed(index, name, change))
    assert not list(tmp_path.iterdir())


def test_wrong_subnets_are_not_written(tmp_path: Path) -> None:
    first = small_finalists()[0]
    foreign = Finalist(named("lite0").smallest(), 0.5)
    with pytest.raises(BundleError, match="stages"):
        small_bundle(tmp_path / "x.tofa", finalists=[foreign])
    with pytest.raises(SubnetError):
        small_bundle(tmp_path / "x.tofa", finalists=[replace(foreign, arrays=first.arrays)])
    with pytest.raises(BundleError, match="finalist 1 is listed twice"):
        small_bundle(tmp_path / "x.tofa", finalists=[first, first])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("accuracy", [-0.1, 1.5, float("nan"), float("inf")])
def test_wrong_accuracies_are_not_written(tmp_path: Path, accuracy: float) -> None:
    with pytest.raises(BundleError, match=r"finalist 0: wanted an accuracy in 0\.\.1"):
        small_bundle(tmp_path / "x.tofa", finalists=[Finalist(tiny().smallest(), accuracy)])


def refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "hostile.tofa"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.open(path).verify()
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("0.mean", None, "finalist 0 lacks mean, a part of its statistics"),
        ("0.mean", np.ones(3, np.float32), "finalist 0: mean: wanted shape"),
        ("2.variance", "negative", "finalist 2: variance holds negative variances"),
        ("2.mean", "nan", "finalist 2: mean holds numbers that are not finite"),
        ("1.mean", np.ones(3, np.float32), "finalist 1 has an array that is unknown: mean"),
        ("0.stem.mean", np.ones(8, np.float32), "0 has an array that is unknown: stem.mean"),
        ("0.features.mean", None, "lacks features.mean"),
        ("1.logits.weight", None, "finalist 1 lacks logits.weight"),
        ("1.logits.bias", np.ones((10, 1), np.float32), "finalist 1: logits.bias: wanted shape"),
        ("3.mean", np.ones(3, np.float32), "array 3.mean is no finalist's"),
        ("00.mean", np.ones(3, np.float32), "array 00.mean is no finalist's"),
        ("99.mean", np.ones(3, np.float32), "array 99.mean is no finalist's"),
        ("\x1b[2J", np.ones(3, np.float32), "array .* is no finalist's"),
    ],
)
def test_wrong_arrays_are_refused(
    sample: Sample, tmp_path: Path, name: str, value: Any, message: str
) -> None:
    arrays = {k: a.copy() for k, a in safetensors.numpy.load(sample.members[FINALISTS]).items()}
    if value is None:
        del arrays[name]
    elif isinstance(value, str):
        arrays[name][3] = {"nan": np.nan, "negative": -1.0}[value]
    else:
        arrays[name] = value
    refused(tmp_path, replaced(sample, FINALISTS, safetensors.numpy.save(arrays)), message)


def test_a_finalist_without_the_arrays_it_claims_is_refused(sample: Sample, tmp_path: Path) -> None:
    arrays = safetensors.numpy.load(sample.members[FINALISTS])
    kept = {name: array for name, array in arrays.items() if not name.startswith("2.")}
    content = replaced(sample, FINALISTS, safetensors.numpy.save(kept))
    refused(tmp_path, content, "finalist 2 has no arrays, and the manifest says that it has")


def _of_first(**change: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda items: [{**items[0], **change}, *items[1:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items: [*items, items[1]], "finalist 4 is listed twice"),
        (lambda items: items * (MOST_FINALISTS // 4 + 1), "wanted a list of at most 128 items"),
        (lambda items: {"0": items[0]}, "wanted a list"),
        (lambda items: [*items[1:], 7], "another type"),
        (_of_first(accuracy=1.01), "finalist 0: wanted an accuracy"),
        (_of_first(accuracy=True), "finalist 0: wanted an accuracy"),
        (_of_first(accuracy="1"), "finalist 0: wanted an accuracy"),
        (_of_first(accuracy=float("nan")), "finalist 0: wanted an accuracy"),
        (_of_first(arrays=1), "finalist 0: wanted true or false for its arrays"),
        (_of_first(subnet={"resolution": 16, "stages": []}), "wanted 3 stages, got 0"),
        (_of_first(subnet=None), "not a subnet"),
        (lambda items: [{**item, "arrays": False} for item in items], "where a finalist has arr"),
        (lambda items: [], "where a finalist has arrays, and only there"),
    ],
)
def test_wrong_lists_are_refused(
    sample: Sample, tmp_path: Path, change: Callable[[list[Any]], Any], message: str
) -> None:
    manifest = sample.manifest()
    manifest["finalists"] = change(manifest["finalists"])
    refused(tmp_path, seal(sample.members, manifest), message)


def test_arrays_without_their_member_are_refused(sample: Sample, tmp_path: Path) -> None:
    members = {name: content for name, content in sample.members.items() if name != FINALISTS}
    refused(tmp_path, seal(members, sample.manifest()), "where a finalist has arrays")


def test_more_bytes_than_are_borne_are_refused(sample: Sample, tmp_path: Path) -> None:
    extra = {"0.extra": np.zeros(66 * 2**20, np.uint8)}
    content = replaced(sample, FINALISTS, safetensors.numpy.save(extra))
    refused(tmp_path, content, r"finalists.safetensors has \d+ bytes, over")
