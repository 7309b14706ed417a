"""The study of a busy machine: its parts run once each, and its lines say what its rows hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tofa_edge
from tofa_edge.benchmarks.studies import busy_machine
from tofa_edge.benchmarks.studies.busy_machine import (
    ONE,
    BudgetSeries,
    about_choices,
    about_starts,
    rows_of,
    within,
)
from tofa_edge.benchmarks.studies.command import Results, Row

Answer = Callable[..., Row]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "busy_machine.json")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """What deployments were asked for; they take 10 ms for a subnet, and choose 0.8 of a budget."""
    found: list[Row] = []

    def one(_folder: str | None = None, **words: object) -> Row:
        found.append(words)
        latency = 0.8 * words["latency_ms"] if "latency_ms" in words else 10.0  # type: ignore[operator]
        choice = {"subnet": "s", "backend": "tflite", "precision": "fp32", "threads": 1}
        times = {"again_ms": latency, "observed_ms": 2 * latency, "deploy_s": 3.0}
        return {**choice, **times, "accuracy": 0.9}

    monkeypatch.setattr(busy_machine, "one", one)
    busy_machine.prime.cache_clear()
    return found


def test_parts_go_on_where_they_were(results: Results, asked: list[Row], tiny_bundle: Path) -> None:
    subject = BudgetSeries(results, tiny_bundle, "tflite", 2, 1)
    for part in (busy_machine.quiet, busy_machine.loaded, busy_machine.measured_quiet):
        part(subject)
    chosen = [row["budget_ms"] for row in rows_of(results, "quiet").values()]
    assert chosen == [12.0, 11.0]
    assert all(row["threads"] == 1 for row in asked[3:])
    before = len(asked)
    again = BudgetSeries(Results(results.path), tiny_bundle, "tflite", 2, 1)
    for part in (busy_machine.quiet, busy_machine.loaded, busy_machine.measured_quiet):
        part(again)
    assert len(asked) == before


def test_lines_count_what_is_within_its_limit(results: Results) -> None:
    budget = {"budget_ms": 10.0, "deploy_s": 2.0}
    results.rows = {
        "a, tflite, quiet 0": {**budget, "accuracy": 0.9},
        "a, tflite, quiet 1": {**budget, "accuracy": 0.9},
        "a, tflite, loaded 0": {**budget, "accuracy": 0.895},
        "a, tflite, loaded 1": {**budget, "accuracy": 0.85, "deploy_s": 8.0},
        "a, tflite, measured quiet 0": {"budget_ms": 10.0, "again_ms": 9.0},
        "a, tflite, measured quiet 1": {"budget_ms": 10.0, "again_ms": 10.4},
        "a, tflite, observed 0": {"budget_ms": 10.0, "refused": "no"},
        "a, any engine, free 0": {"budget_ms": 10.0, "again_ms": 10.4},
        "a, any engine, workers": {"distinct": 2, "alone_s": 4.0, "last_s": 10.0},
        "a, any engine, starts": {"first_s": 9.0, "warm_s": 0.31},
    }
    beside = "one thread, 3 busy loops"
    assert list(about_choices(results)) == [
        f"{beside}: expected accuracy within 1 point of the quiet choice: 1 of 2 (wanted: all)",
        "one thread, quiet: deployed in 2.0 s, at most 2.0 s",
        f"{beside}: deployed in 5.0 s, at most 8.0 s",
        f"{beside}: chosen there, within the budget when quiet: 1 of 2, 0 budgets refused "
        "(wanted: all)",
        f"{beside}: observed latency within the budget: 0 of 0, 1 budgets refused (wanted: all)",
    ]
    free, workers, starts = about_starts(results)
    assert free.startswith("free threads, quiet: within 1.05 × the budget: 1 of 1")
    assert free.endswith("median share of the budget 104%")
    assert "6 at once: 2 different choices (wanted: 1), the last after 2.5 × the time" in workers
    assert starts.endswith("first 9.0 s, later 0.31 s beyond imports")


def test_a_figure_is_held_against_its_budget() -> None:
    rows = {"0": {"budget_ms": 10.0, "again_ms": 10.4}, "1": {"budget_ms": 10.0, "again_ms": 10.6}}
    assert within(rows, "again_ms", 1.05).startswith("1 of 2")


@pytest.mark.skipif(not hasattr(tofa_edge, "DeployOptions"), reason="deploy takes no options yet")
@pytest.mark.usefixtures("known_engines")
def test_one_deployment_reports_what_it_chose(tiny_bundle: Path) -> None:
    subnet = tofa_edge.Bundle.open(tiny_bundle).space.smallest().to_json()
    words = {"bundle": str(tiny_bundle), "backend": "tflite", "threads": 1, "subnet": subnet}
    command = [sys.executable, "-c", ONE, json.dumps({**words, "again": True})]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row = json.loads(done.stdout)
    assert (row["subnet"], row["backend"], row["threads"]) == (subnet, "tflite", 1)
    assert 0 < row["again_ms"] < 1000
    assert 0 < row["observed_ms"] < 1000
