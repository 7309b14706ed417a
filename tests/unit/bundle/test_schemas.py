"""Bundles of every schema open; what this version does not know is refused with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz.crafted import Sample, seal
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.manifest import SCHEMA
from tofa_edge.errors import BundleError
from tofa_edge.network.slicing import cut, fold

SECOND = Path(__file__).parents[2] / "bundles" / "schema_2.tofa"  # as 0.5 writes it


@pytest.fixture
def second() -> Sample:
    return Sample.of(SECOND.read_bytes())


def first(sample: Sample) -> bytes:
    """What the first schema had: no temperature, no predictor."""
    manifest = {**sample.manifest(), "schema": 1}
    del manifest["temperature"]
    return seal(sample.members, manifest)


def check_usable(path: Path) -> Bundle:
    bundle = Bundle.open(path)
    bundle.verify()
    arrays = bundle.supernet()
    for case in bundle.golden_cases():
        network = layers(bundle.space, case.subnet)
        folded = fold(network, cut(network, arrays), bundle.preprocessing)
        assert np.allclose(ReferenceSession(folded).run(case.images)[LOGITS], case.logits, 1e-5)
    assert not bundle.finalists()
    assert not bundle.listed_finalists
    assert bundle.half_precision
    assert (bundle.calibration_count, bundle.check_count) == (16, 2)
    return bundle


def test_the_second_schema_opens() -> None:
    assert check_usable(SECOND).temperature == 1.0


def test_the_first_schema_opens(second: Sample, tmp_path: Path) -> None:
    path = tmp_path / "first.tofa"
    path.write_bytes(first(second))
    assert check_usable(path).temperature == 1.0


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "x.tofa"
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        Bundle.open(path).verify()
    return str(caught.value)


def test_a_newer_schema_names_the_remedy(sample: Sample, tmp_path: Path) -> None:
    content = seal(sample.members, {**sample.manifest(), "schema": SCHEMA + 1})
    said = refusal(tmp_path, content)
    assert f"schema {SCHEMA + 1} is newer than {SCHEMA}, the newest this version reads" in said
    assert said.endswith("pip install --upgrade tofa-edge")


@pytest.mark.parametrize("schema", [0, -1, "1", True, None])
def test_no_schema(sample: Sample, tmp_path: Path, schema: Any) -> None:
    content = seal(sample.members, {**sample.manifest(), "schema": schema})
    assert "manifest is wrong: its schema is no positive integer" in refusal(tmp_path, content)


def test_temperature_is_missing_in_the_first_schema_only(second: Sample, tmp_path: Path) -> None:
    manifest = {key: item for key, item in second.manifest().items() if key != "temperature"}
    said = refusal(tmp_path, seal(second.members, manifest))
    assert "lacks a field" in said
    assert "temperature" in said


@pytest.mark.parametrize("name", ["classifier.safetensors", "golden_images.safetensors"])
def test_each_schema_has_its_own_members(
    sample: Sample, second: Sample, tmp_path: Path, name: str
) -> None:
    without = {key: content for key, content in sample.members.items() if key != name}
    assert f"{name} is missing" in refusal(tmp_path, seal(without, sample.manifest()))
    more = {**second.members, name: sample.members[name]}
    assert f"{name} is no member" in refusal(tmp_path, seal(more, second.manifest()))
    more = {**second.members, "finalists.safetensors": sample.members[name]}
    assert "finalists.safetensors is no member" in refusal(tmp_path, seal(more, second.manifest()))


def test_finalists_are_listed_from_the_third_schema_on(sample: Sample, tmp_path: Path) -> None:
    manifest = {key: item for key, item in sample.manifest().items() if key != "finalists"}
    assert "lacks a field" in refusal(tmp_path, seal(sample.members, manifest))
