"""Whatever bytes or values a bundle holds, it opens or raises a BundleError; hypothesis shrinks."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.crafted import Sample, replaced, with_manifest
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.images import decode
from tofa_edge.errors import BundleError, ImageError

many = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda items: st.lists(items, max_size=4) | st.dictionaries(st.text(), items, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "any.tofa"


def opens_or_refuses(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with contextlib.suppress(BundleError):
        Bundle.open(file).verify()


@many
@given(content=st.binary(max_size=200), head=st.booleans(), tail=st.booleans())
def test_any_bytes(file: Path, sample: Sample, content: bytes, head: bool, tail: bool) -> None:
    half = len(sample.content) // 2
    opens_or_refuses(file, sample.content[:half] * head + content + sample.content[half:] * tail)


@many
@given(data=st.data(), value=values)
def test_any_value_in_the_manifest(
    file: Path, sample: Sample, data: st.DataObject, value: object
) -> None:
    manifest = sample.manifest()
    node: Any = manifest
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = value
    text = json.dumps(manifest).encode("utf-8", "surrogatepass")
    opens_or_refuses(file, with_manifest(sample.members, text))


@many
@given(content=st.binary(max_size=100), kept=st.integers(0, 1000))
def test_any_photo(file: Path, sample: Sample, content: bytes, kept: int) -> None:
    name = next(name for name in sample.names if name.endswith(".jpg"))
    opens_or_refuses(file, replaced(sample, name, sample.members[name][:kept] + content))


@many
@given(content=st.binary(max_size=300), head=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG"]))
def test_any_bytes_are_an_image_or_none(content: bytes, head: bytes) -> None:
    with contextlib.suppress(ImageError):
        image = decode(head + content, 8, "photo")
        assert image.shape == (8, 8, 3)
        assert image.dtype == np.uint8
