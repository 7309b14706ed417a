"""What training says at its end."""

from __future__ import annotations

import logging

import pytest

from tofa_edge.train.after.finishing import _report_drop


@pytest.mark.parametrize(("points", "level"), [(0.24, logging.INFO), (64.0, logging.WARNING)])
def test_the_accuracy_drop_in_integers_is_said(
    points: float, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tofa_edge"):
        _report_drop(points, 0.1)
    (record,) = caplog.records
    assert record.levelno == level
    said = f"8-bit integers cost {points:.1f} ± 0.1 points of accuracy"
    assert record.getMessage().startswith(said)
    assert ("choose float" in record.getMessage()) == (level == logging.WARNING)
