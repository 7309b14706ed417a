"""What is no limit, no bundle and no subnet is refused with one of the package's own errors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tofa_edge
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.zoo import tiny
from tofa_edge.budget import Budget
from tofa_edge.errors import BudgetError, BundleError, LimitError, SubnetError
from tofa_edge.prediction.accuracy import fit_accuracy
from tofa_edge.selftest.small_bundle import small_bundle


@pytest.mark.parametrize("value", ["20", 0, -1, math.nan, math.inf, True, [1]])
def test_a_limit_is_a_number_above_0(value: Any) -> None:
    for name in ("latency_ms", "memory_mb", "size_mb", "mmacs", "accuracy"):
        with pytest.raises(LimitError, match=f"wanted {name} as a number above 0, got"):
            Budget(**{name: value})


def test_numbers_of_numpy_are_limits() -> None:
    assert Budget(latency_ms=np.float32(2.5), memory_mb=np.int64(3)).is_free is False


def test_integers_may_cost_nothing() -> None:
    assert Budget(max_accuracy_drop=0).is_free
    for wrong in (-0.01, "0", math.nan):
        with pytest.raises(LimitError, match="max_accuracy_drop"):
            Budget(max_accuracy_drop=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [None, 3, b"x.tofa"])
def test_what_is_no_path_is_no_bundle(path: Any) -> None:
    with pytest.raises(BundleError, match=r"wanted the path of a \.tofa file, got"):
        tofa_edge.deploy(path)


def test_a_printed_subnet_has_to_be_read(tiny_bundle: Path) -> None:
    text: Any = tofa_edge.Bundle.open(tiny_bundle).space.smallest().to_json()
    with pytest.raises(SubnetError, match=r"Subnet\.from_json reads"):
        tofa_edge.deploy(tiny_bundle, subnet=text)


def test_a_seed_is_no_less_than_0(tiny_bundle: Path) -> None:
    with pytest.raises(LimitError, match="seed"):
        tofa_edge.deploy(tiny_bundle, options=tofa_edge.DeployOptions(seed=-1))


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Budget(size_mb=1e-6), "size of the smallest is"),
        (Budget(memory_mb=1e-6), "memory of the smallest is"),
        (Budget(mmacs=1e-6), "work of the smallest is"),
    ],
)
def test_what_no_subnet_keeps_is_named(tiny_bundle: Path, limit: Budget, said: str) -> None:
    with pytest.raises(BudgetError, match=said) as caught:
        tofa_edge.deploy(
            tiny_bundle,
            budget=limit,
            remember=False,
            options=tofa_edge.DeployOptions(backend="reference"),
        )
    assert not isinstance(caught.value, LimitError), "another device may keep it"


def test_an_accuracy_that_no_subnet_reaches_is_not_given_up(tmp_path: Path) -> None:
    genes = sample(tiny(), np.random.default_rng(0), 60)
    work = np.log(tables(tiny()).costs(genes).macs)
    accuracies = 0.4 + 0.3 * (work - work.min()) / np.ptp(work)
    predictor = fit_accuracy(tiny(), genes, accuracies)
    small_bundle(tmp_path / "b.tofa", calibration_photos=32, predictor=predictor)
    options: dict[str, Any] = {
        "options": tofa_edge.DeployOptions(backend="reference"),
        "remember": False,
    }
    with pytest.raises(BudgetError, match=r"accuracy ≥ 99\.0%; the largest is expected to reach"):
        tofa_edge.deploy(tmp_path / "b.tofa", budget=Budget(accuracy=0.99), **options)
    with tofa_edge.deploy(tmp_path / "b.tofa", budget=Budget(accuracy=0.5), **options) as model:
        assert model.explanation.chosen is not None
        assert model.explanation.chosen.accuracy >= 0.5
