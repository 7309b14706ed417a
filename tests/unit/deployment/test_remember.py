"""Remembered decisions: what is kept comes back, what is damaged does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Target
from tofa_edge.deployment import remember as decisions
from tofa_edge.deployment.remember import CACHE, Decision

SUBNET = tiny().middle()
LINES = ("onnxruntime cpu: p50 ≤ 3 ms", "  8 measured")
DECISION = Decision(SUBNET.to_json(), "tflite", Target(threads=2), 0.8, True, LINES)
ARTEFACT = bytes(range(256))


def test_decision_is_recalled_whole() -> None:
    assert decisions.recall("key") is None
    decisions.remember("key", DECISION, ARTEFACT)
    recalled = decisions.recall("key")
    assert recalled is not None
    assert replace(recalled[0], artefact_sha256="") == DECISION
    assert recalled[1] == ARTEFACT
    decisions.forget("key")
    assert decisions.recall("key") is None
    assert CACHE.names() == []


def test_unprintable_letters_of_an_explanation_become_blanks() -> None:
    decisions.remember("key", replace(DECISION, explanation=("a\tb\x1b[0m",)), ARTEFACT)
    recalled = decisions.recall("key")
    assert recalled is not None
    assert recalled[0].explanation == ("a b [0m",)


@pytest.mark.parametrize("text", ["", "{}", "[" * 4000, "null", "\0", "more", "artefact"])
def test_damaged_decision_is_none(text: str) -> None:
    decisions.remember("key", DECISION, ARTEFACT)
    path = CACHE.path / "key.json"
    if text == "more":
        text = json.dumps({**json.loads(path.read_text()), "more": 1})
    if text == "artefact":
        path.with_name("key.artefact").write_bytes(ARTEFACT[1:])
    else:
        path.write_text(text)
    assert decisions.recall("key") is None
