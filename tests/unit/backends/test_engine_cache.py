"""Sealed engines: only whole ones are read."""

from __future__ import annotations

import numpy as np
import pytest

from tofa_edge.backends.tensorrt import engine_cache

FACTS = {"engine": "tensorrt 10.3.0", "device": "Orin"}
CONTENT = bytes(range(256)) * 4


def test_what_is_sealed_is_unsealed() -> None:
    for content in (b"", CONTENT, b"\n", engine_cache.seal(FACTS, CONTENT)):
        assert engine_cache.unseal(engine_cache.seal(FACTS, content)) == (FACTS, content)


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\0" * 4096, engine_cache.MAGIC])
def test_garbage_is_not_unsealed(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="an engine"):
        engine_cache.unseal(garbage)


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    sealed = engine_cache.seal(FACTS, CONTENT)
    rng = np.random.default_rng(0)
    for position in rng.choice(8 * len(sealed), 2000, replace=False):
        damaged = bytearray(sealed)
        damaged[position // 8] ^= 1 << position % 8
        try:
            facts, content = engine_cache.unseal(bytes(damaged))
        except ValueError:
            continue
        assert content == CONTENT  # the facts are no secret: their reader compares them
        assert facts != FACTS
    for length in range(len(sealed)):
        with pytest.raises(ValueError, match="an engine"):
            engine_cache.unseal(sealed[:length])


@pytest.mark.parametrize("header", [b"[]", b"{}", b"1", b"[" * 4000, b'{"facts": 1, "sha256": 2}'])
def test_other_headers_are_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        engine_cache.unseal(engine_cache.MAGIC + header + b"\ncontent")
