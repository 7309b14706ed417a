"""Orders and answers between two processes: whole, or refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Target
from tofa_edge.budget import Budget
from tofa_edge.deployment.remember import Decision
from tofa_edge.deployment.request import DeployOptions, requested
from tofa_edge.errors import BundleError
from tofa_edge.live.order import Answer, Order, order_of, received, send
from tofa_edge.selftest.small_bundle import small_bundle
from tofa_edge.storage.plain import from_plain, to_plain

DECISION = Decision(tiny().smallest().to_json(), "reference", Target(), 0.5, True, ("so",))
ANSWER = Answer(1, Budget(latency_ms=5), DECISION, artefact_bytes=3)


def test_answers_arrive_whole() -> None:
    stream = io.BytesIO()
    send(stream, ANSWER, b"a\nb")
    send(stream, Answer(2, Budget(), failure="no room"))
    stream.seek(0)
    (first, artefact), (second, nothing) = received(stream)
    assert (first, artefact) == (ANSWER, b"a\nb")
    assert (second.failure, second.decision, nothing) == ("no room", None, b"")


@pytest.mark.parametrize("length", [5, -2])
def test_an_answer_that_is_cut_short_is_left_out(length: int) -> None:
    stream = io.BytesIO()
    send(stream, ANSWER, b"a\nb")
    assert list(received(io.BytesIO(stream.getvalue()[:length]))) == []


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown|no field|lacks"):
        list(received(io.BytesIO(b'{"rungs": 1}\n')))
    huge = to_plain(Answer(0, Budget(latency_ms=1), artefact_bytes=2**40))
    with pytest.raises(ValueError, match="an artefact of"):
        list(received(io.BytesIO(json.dumps(huge).encode() + b"\n")))


def test_an_order_is_the_same_request_elsewhere(tmp_path: Path) -> None:
    small_bundle(tmp_path / "b.tofa")
    options = DeployOptions("reference", 1, "fp32", [str(tmp_path / "f.png")], 0.5, 3.0, 4)
    asked = requested(tmp_path / "b.tofa", Budget(latency_ms=7), None, options)
    order = order_of(asked, remember=False, rungs=3, top_ms=2.5)
    again = from_plain(Order, json.loads(json.dumps(to_plain(order))))
    assert again == order
    made = again.request()
    assert (made.budget, made.bundle.digest) == (asked.budget, asked.bundle.digest)
    given, read = made.options, options
    assert [given.backend, given.threads, given.precision, *given.calibration, given.seed] == [
        read.backend, read.threads, read.precision, *read.calibration, read.seed
    ]  # fmt: skip
    small_bundle(tmp_path / "b.tofa", seed=1)
    with pytest.raises(BundleError, match="another bundle"):
        order.request()
