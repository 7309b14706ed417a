"""What rounding to integers costs in accuracy, and when a network is refused for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tofa_edge
from tofa_edge import backends
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.budget import Budget
from tofa_edge.cutting import ranges, sensitivity
from tofa_edge.cutting.accuracy_drop import Drop, drop
from tofa_edge.deployment import choice, verify
from tofa_edge.deployment.screen import EngineFilter
from tofa_edge.errors import BackendError, BudgetError
from tofa_edge.network import integers
from tofa_edge.network.network import Network
from tofa_edge.search import chooser as choosing
from tofa_edge.search.candidates import Candidate
from tofa_edge.selftest.golden import tolerance
from tofa_edge.selftest.records import passing_engines

pytestmark = pytest.mark.usefixtures("known_engines")

SPACE = tiny()
STRICT = Budget(max_accuracy_drop=1e-6)


def has_int8() -> bool:
    return any(engine.target.precision == "int8" for engine in passing_engines())


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rounding that mixes up the classes."""
    honest: Callable[..., Network] = integers.quantised

    def mixed_up(network: Network, seen: integers.Observation, **options: Any) -> Network:
        made, name = honest(network, seen, **options), f"{LOGITS}.bias"
        biases = 9 * np.roll(made.arrays[name], 1)
        return replace(made, arrays={**made.arrays, name: biases})

    for module in (ranges, sensitivity):
        monkeypatch.setattr(module, "quantised", mixed_up)


def test_expected_drop_is_the_one_drawn() -> None:
    """Labels drawn from the float network's own probabilities: then its estimate must hold."""
    rng = np.random.default_rng(0)
    exact = rng.standard_normal((20_000, 5)).astype(np.float32)
    rounded = exact + 0.3 * rng.standard_normal(exact.shape).astype(np.float32)
    shares = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(5, p=row / row.sum()) for row in shares.astype(np.float64)])
    found = drop(exact, rounded, 1.0, labels)
    loss, error = found.measured
    assert found.checked == found.images == len(exact)
    assert found.expected == pytest.approx(loss, abs=3 * error)
    assert 0 < found.expected_error < 0.002
    truth = (exact.argmax(1) == labels).mean() - (rounded.argmax(1) == labels).mean()
    assert loss == pytest.approx(truth)
    assert "20000 photos" in str(found)


def test_temperature_counts() -> None:
    exact = np.array([[2.0, 0.0]], np.float32)
    rounded = np.array([[0.0, 2.0]], np.float32)
    costs = [drop(exact, rounded, temperature).expected for temperature in (0.5, 1, 10)]
    assert costs == sorted(costs, reverse=True)
    assert costs[1] == pytest.approx(np.tanh(1.0))


@pytest.mark.parametrize(
    ("found", "refused"),
    [
        (Drop(300, 295, 0.003, 0.001), False),
        (Drop(300, 250, 0.03, 0.004), True),
        (Drop(300, 295, 0.003, 0.001, checked=200, lost=20, won=2), True),
        (Drop(300, 295, 0.003, 0.001, checked=60, lost=3, won=1), False),
        (Drop(300, 300, 0.0, 0.0, checked=60), False),
    ],
)
def test_rule(found: Drop, refused: bool) -> None:
    assert bool(found.refusal(0.01)) == refused
    assert not found.refusal(None)
    if refused:
        assert "costs more than 1 points" in found.refusal(0.01)


def test_integers_are_refused_where_they_cost_too_much(tiny_bundle: Path, coarse: None) -> None:
    if not has_int8():
        pytest.skip("no engine here computes in int8")
    with pytest.raises(BudgetError, match=r"rounding costs more than 0.0001 points"):
        tofa_edge.deploy(
            tiny_bundle,
            budget=STRICT,
            remember=False,
            options=tofa_edge.DeployOptions(precision="int8"),
        )
    careless = Budget(max_accuracy_drop=None)
    with tofa_edge.deploy(
        tiny_bundle,
        budget=careless,
        remember=False,
        options=tofa_edge.DeployOptions(precision="int8"),
    ) as model:
        assert model.explanation.chosen is not None
        assert model.explanation.chosen.drop is not None
        assert model.explanation.chosen.drop.alike < model.explanation.chosen.drop.images


def one_of_each(candidates: list[Candidate]) -> list[Candidate]:
    """An engine in integers, then one in float."""
    order = sorted(candidates, key=lambda item: not item.engine.target.is_integer)
    return [order[0], next(item for item in order if not item.engine.target.is_coarse)]


def test_a_budget_falls_back_to_float(
    tiny_bundle: Path, coarse: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_int8():
        pytest.skip("no engine here computes in int8")

    monkeypatch.setattr(choice, "fastest_candidates", one_of_each)
    monkeypatch.setattr(choosing, "expected_drop", lambda predictor, target: -target.is_integer)
    strict = replace(STRICT, latency_ms=1000)
    with tofa_edge.deploy(tiny_bundle, budget=strict, remember=False) as model:
        assert model.engine.target.precision == "fp32"
        tried = model.explanation.finished
        assert "int8" in tried[0].engine
        assert "refused, rounding costs more than 0.0001 points" in model.explain()


def test_a_budget_goes_on_in_float_where_an_integer_network_is_wrong(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine may be right about the networks that it was tried with, and wrong about another."""
    if not has_int8():
        pytest.skip("no engine here computes in int8")
    honest = tolerance

    def strict(target: Target, rounding: float = 0.0) -> float:
        return -1.0 if target.is_integer else honest(target, rounding)

    monkeypatch.setattr(choice, "fastest_candidates", one_of_each)
    monkeypatch.setattr(choosing, "expected_drop", lambda predictor, target: -target.is_integer)
    monkeypatch.setattr(verify, "tolerance", strict)
    budget = Budget(latency_ms=1000)
    with tofa_edge.deploy(tiny_bundle, budget=budget, remember=False) as model:
        assert model.engine.target.precision == "fp32"
        assert re.search(
            r"int8.* of the largest logit off on .*: not used in int8", model.explain()
        )


def test_sensitive_layers_stay_in_float_where_that_is_enough(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_int8():
        pytest.skip("no engine here computes in int8")
    honest: Callable[..., Network] = integers.quantised

    def mixed_up_unless_kept(
        network: Network, seen: integers.Observation, **options: Any
    ) -> Network:
        made, name = honest(network, seen, **options), f"{LOGITS}.bias"
        if options.get("kept"):
            return made
        return replace(made, arrays={**made.arrays, name: 9 * np.roll(made.arrays[name], 1)})

    for module in (ranges, sensitivity):
        monkeypatch.setattr(module, "quantised", mixed_up_unless_kept)
    strict = Budget(max_accuracy_drop=0.2)
    with tofa_edge.deploy(
        tiny_bundle,
        budget=strict,
        remember=False,
        options=tofa_edge.DeployOptions(precision="int8"),
    ) as model:
        assert model.engine.target.precision == "int8"
        said = r"loses too much accuracy in 8-bit integers on \w+ cpu int8.* stay in float: \w+"
        assert re.search(said, model.explain())


def test_exactly_int8_when_asked(tiny_bundle: Path) -> None:
    if not has_int8():
        pytest.skip("no engine here computes in int8")
    careless, middle = Budget(max_accuracy_drop=None), SPACE.middle()
    for _ in range(2):  # measured, then remembered
        with tofa_edge.deploy(
            tiny_bundle,
            subnet=middle,
            budget=careless,
            options=tofa_edge.DeployOptions(precision="int8"),
        ) as model:
            assert model.engine.target.precision == "int8"
            assert model.subnet == SPACE.middle()
    assert model.explanation.remembered
    assert "the same class as in float32" in model.explain()


def test_float_where_nothing_is_limited(tiny_bundle: Path) -> None:
    with tofa_edge.deploy(tiny_bundle, remember=False) as model:
        assert not model.engine.target.is_integer


def test_the_reference_stands_in_where_only_integers_work() -> None:
    offered = [Engine(backends.backend("reference"), Target(precision="int8"))]
    (found,) = EngineFilter(exact=True).among(offered)
    assert (found.backend.name, found.target) == ("reference", Target())
    assert EngineFilter().among(offered) == offered
    assert EngineFilter("reference", exact=True).among(offered) == offered
    assert EngineFilter(precision="int8", exact=True).among(offered) == offered


def test_unknown_precision_names_those_there_are(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"wanted int3, engines here offer .*fp32"):
        tofa_edge.deploy(
            tiny_bundle, remember=False, options=tofa_edge.DeployOptions(precision="int3")
        )


def test_a_budget_for_the_drop_is_checked() -> None:
    with pytest.raises(BudgetError, match="max_accuracy_drop as a number from 0 on"):
        Budget(max_accuracy_drop=-0.01)
    assert replace(Budget(), max_accuracy_drop=0.05).is_free


def test_what_bf16_costs_is_measured(tiny_bundle: Path) -> None:
    offered = [e for e in passing_engines() if e.target.precision == "bf16"]
    if not offered:
        pytest.skip("no engine here computes in bf16")
    options = tofa_edge.DeployOptions(precision="bf16")
    with tofa_edge.deploy(tiny_bundle, remember=False, options=options) as model:
        assert model.explanation.chosen is not None
        drop = model.explanation.chosen.drop
        assert drop is not None
        assert drop.images >= 10
        assert f"rounding: {drop}" in model.explain()
    usual = EngineFilter(exact=True).among(
        [*offered, Engine(backends.backend("reference"), Target())]
    )
    assert [engine.target.precision for engine in usual] == ["fp32"]
    refused = replace(drop, expected=0.02).refusal(0.01)
    assert refused.startswith("rounding costs more than 1 points")
