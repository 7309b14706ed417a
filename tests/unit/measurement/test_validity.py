"""A measurement is called valid, or by the name of what spoiled it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tofa_edge.benchmarks.studies.disturbances import noticed, trials
from tofa_edge.benchmarks.studies.planted_faults import DISTURBANCES, recorded_machine
from tofa_edge.measurement.order_statistics import curve, interval, least_count
from tofa_edge.measurement.stopwatch import Recording, percentiles
from tofa_edge.measurement.validity import LEAST_RUNS, invalid_reasons, kind, snapshot

VARIANTS = {name: expected for name, (expected, _) in DISTURBANCES.items()}


def recording(values: list[float], slowdown: float = 1.0) -> Recording:
    return Recording(replace(percentiles(values), slowdown=slowdown), tuple(values))


def steady(count: int) -> list[float]:
    rng = np.random.default_rng(0)
    return [0.001 * (1 + 0.02 * float(value)) for value in rng.random(count)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    recorded_machine(tmp_path)
    return tmp_path


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_befalls_a_machine_is_called_by_its_name(root: Path, variant: str) -> None:
    found = noticed(lambda: time.sleep(0.0005), root, variant, threads=2, seconds=0.1)
    kinds = {kind(reason) for reason in found} - {"unsteady"}
    assert VARIANTS[variant] in kinds
    assert kinds <= {VARIANTS[variant], "drifting clock"}, "and nothing else is blamed"


def test_a_quiet_machine_is_valid(root: Path) -> None:
    before, after = snapshot(root, at_s=0), snapshot(root, at_s=2)
    assert invalid_reasons(before, after, recording(steady(200)), threads=4) == ()


def test_a_machine_that_says_nothing_is_not_blamed(tmp_path: Path) -> None:
    before, after = snapshot(tmp_path, at_s=0), snapshot(tmp_path, at_s=2)
    assert invalid_reasons(before, after, recording(steady(200)), threads=64) == ()


@pytest.mark.parametrize(
    ("values", "slowdown", "expected"),
    [
        (steady(LEAST_RUNS - 1), 1.0, {"too few runs"}),
        (steady(200), 1.3, {"drifting clock"}),
        ([*steady(200), *(1.2 * value for value in steady(200))], 1.0, {"drifting clock"}),
        ([0.001, 0.003] * 100, 1.0, {"unsteady"}),
        (steady(LEAST_RUNS), 1.1, set()),
    ],
)
def test_runs_are_judged(
    root: Path, values: list[float], slowdown: float, expected: set[str]
) -> None:
    before, after = snapshot(root, at_s=0), snapshot(root, at_s=2)
    assert {
        kind(reason) for reason in invalid_reasons(before, after, recording(values, slowdown))
    } == expected


def test_steady_runs_are_rarely_blamed(root: Path) -> None:
    before, after = snapshot(root, at_s=0), snapshot(root, at_s=2)
    blamed = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = (0.001 * rng.gamma(20, 1 / 20, 300)).tolist()
        blamed += bool(invalid_reasons(before, after, recording(values)))
    assert blamed <= 4


def test_a_governor_that_has_arrived_does_no_harm(root: Path) -> None:
    for core in range(4):
        folder = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        (folder / "scaling_governor").write_text("ondemand\n")
    assert invalid_reasons(snapshot(root, at_s=0), snapshot(root, at_s=2)) == ()


def test_this_machine_says_what_is_wanted() -> None:
    before = snapshot()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    after = snapshot()
    assert before.cores
    assert before.busy_s is not None
    assert after.own_s is not None
    assert before.own_s is not None
    assert after.own_s > before.own_s


@pytest.mark.quiet
@pytest.mark.usefixtures("known_engines")
@pytest.mark.parametrize("name", ["busy cores", "CPU quota", "memory hog"])
def test_real_disturbances_are_noticed(tiny_bundle: Path, name: str) -> None:
    found = trials(name, tiny_bundle, 1)
    assert found["found"] == 1, found


@pytest.mark.parametrize(("percentile", "count"), [(50, 30), (95, 100), (99, 500)])
def test_intervals_hold_the_true_percentile(percentile: float, count: int) -> None:
    rng, held = np.random.default_rng(1), 0
    true = -np.log(1 - percentile / 100)
    for _ in range(400):
        ends = interval(rng.exponential(size=count).tolist(), percentile)
        assert ends is not None
        held += ends[0] <= true <= ends[1]
    assert 0.93 <= held / 400 <= 0.995


def test_few_values_bound_nothing() -> None:
    assert [least_count(p) for p in (50, 95, 99)] == [6, 72, 368]
    assert interval([1.0] * 71, 95) is None
    assert interval([], 50) is None


def test_curve_goes_from_least_to_largest() -> None:
    found = curve([3.0, 1.0, 2.0])
    assert found[0] == (0.0, 1.0)
    assert found[-1] == (100.0, 3.0)
    assert curve([]) == []
