"""What is TFLite's own: fp16 as a word in the file, and fast kernels for what has none in int8."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends import tflite
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.backends.tflite import TfLite
from tofa_edge.backends.tflite.float import write_tflite
from tofa_edge.backends.tflite.integer import before_hard_swish, write_tflite_quantised
from tofa_edge.conformance.subject import prepared
from tofa_edge.device.machine import fingerprint
from tofa_edge.selftest.golden import difference, tolerance
from tofa_edge.selftest.specimens import photos, specimen

BACKEND = TfLite()
pytestmark = pytest.mark.skipif(BACKEND.missing() is not None, reason=str(BACKEND.missing()))


@pytest.mark.parametrize(
    ("features", "half"),
    [(("avx2",), False), (("asimd", "asimdhp"), True), (("avx512_fp16",), True), (None, False)],
)
def test_fp16_is_offered_where_processors_have_it(
    monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...] | None, half: bool
) -> None:
    here = replace(fingerprint(), features=features)
    monkeypatch.setattr(tflite, "fingerprint", lambda: here)
    assert (Target(precision="fp16") in BACKEND.targets()) == half
    assert {target.precision for target in BACKEND.targets()} >= {"fp32", "int8"}


def test_fp16_is_a_word_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(fingerprint(), features=("asimdhp",))
    monkeypatch.setattr(tflite, "fingerprint", lambda: here)
    network, target = specimen(), Target(precision="fp16")
    images = photos(2, network.input_size)
    artefact = BACKEND.build(network, target)
    assert b"reduced_precision_support" in artefact
    assert b"fp16accfp16" in artefact
    assert b"reduced_precision_support" not in write_tflite(network)
    session = BACKEND.load(artefact, target)
    wanted = ReferenceSession(network).run(images)[LOGITS]
    assert difference(session.run(images)[LOGITS], wanted) <= tolerance(target)
    session.close()


@pytest.mark.parametrize("x", [0.0, 0.1, 1.0, 2.999, 3.0, 7.0])
def test_hard_swish_is_undone(x: float) -> None:
    assert before_hard_swish(x * min(max(x + 3, 0), 6) / 6) == pytest.approx(x)


def test_integers_without_quantisation_are_refused() -> None:
    with pytest.raises(ValueError, match="want a network with its quantisation"):
        write_tflite_quantised(specimen(), "int8")
    network = prepared(specimen(), Target(precision="int8"))
    assert write_tflite_quantised(network, "int8") == write_tflite_quantised(network, "int8")
