"""Comparing results of bench: noise is called noise, and a slow-down is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tofa_edge.architecture.zoo import tiny
from tofa_edge.benchmarks.suite.compare import compare
from tofa_edge.errors import DataError

NETWORKS, RUNS = 8, 60
NOISE = 0.02  # of one network's median between two processes


def result(seed: int, slower: float = 1.0, **fields: Any) -> dict[str, Any]:
    """What bench writes of a machine whose latencies are known."""
    rng = np.random.default_rng(seed)

    def latency(true_ms: float) -> dict[str, Any]:
        runs = slower * true_ms * np.exp(NOISE * rng.standard_normal() + 0.03 * rng.random(RUNS))
        error = float(runs.std() / runs.mean() / RUNS**0.5)
        spread = {f"p{p}_ms": float(np.percentile(runs, p)) for p in (50, 90, 95, 99)}
        return {**spread, "count": RUNS, "relative_error": error, "slowdown": 1.0, "flags": []}

    engines = ("onnxruntime cpu fp32 1t", "tflite cpu int8 1t")
    front = [
        {
            "subnet": json.dumps({"resolution": number}),
            "engine": engines[0],
            "latency": latency(1 + number),
        }
        for number in range(NETWORKS)
    ]
    rows = [{"engine": name, "reason": "", "latency": latency(2.0)} for name in engines]
    refused = {"engine": "openvino cpu fp32 1t", "reason": "crash: …", "latency": None}
    return {"schema": 1, "engines": [*rows, refused], "front": front, "versions": {}, **fields}


def as_schema_2(result: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The same figures as the newer bench writes them."""

    def row(old: dict[str, Any]) -> dict[str, Any]:
        engine, unit, precision, threads = old["engine"].split()
        named = {"engine": engine, "device": unit, "precision": precision, "reasons": []}
        return {**named, "threads": int(threads[:-1]), "latency": old["latency"], **fields}

    rows = [
        {**row(old), "role": "engine", "subnet": {"resolution": 96}, "size": "middle"}
        for old in result["engines"]
    ]
    front = [
        {**row(old), "role": "front", "subnet": json.loads(old["subnet"])}
        for old in result["front"]
    ]
    return {"schema": 2, "rows": rows, "front": front, "versions": {}}


def test_newer_results_are_compared_with_each_other_and_with_older_ones(tmp_path: Path) -> None:
    old, new, slower = result(0), as_schema_2(result(1)), as_schema_2(result(2, 1.08))
    (same,) = compare(written(tmp_path, old, new))
    assert same.verdict == "noise"
    assert len(same.rows) == 2, "both have the middle subnet on two engines"
    (found,) = compare(written(tmp_path, new, slower))
    assert found.is_slower_than(0.05)
    assert len(found.rows) == NETWORKS + 2


def test_rows_that_do_not_count_are_told(tmp_path: Path) -> None:
    doubtful = as_schema_2(result(1), reasons=["throttled: too hot", "battery"])
    (found,) = compare(written(tmp_path, as_schema_2(result(0)), doubtful))
    assert found.differing == (
        f"{tmp_path / '1.json'}: 10 of 11 rows are not valid: battery, throttled",
    )


def written(tmp_path: Path, *results: dict[str, Any]) -> list[Path]:
    paths = [tmp_path / f"{number}.json" for number in range(len(results))]
    for path, content in zip(paths, results, strict=True):
        path.write_text(json.dumps(content))
    return paths


def test_identical_machines_rarely_differ(tmp_path: Path) -> None:
    alarms = sum(
        compare(written(tmp_path, result(2 * n), result(2 * n + 1)))[0].is_slower_than(0.05)
        for n in range(20)
    )
    assert alarms <= 1


def test_eight_percent_are_found(tmp_path: Path) -> None:
    found = [
        compare(written(tmp_path, result(2 * n), result(2 * n + 1, 1.08)))[0] for n in range(20)
    ]
    assert sum(item.verdict == "slower" for item in found) >= 19
    assert sum(item.is_slower_than(0.05) for item in found) >= 19
    assert np.mean([item.ratio for item in found]) == pytest.approx(1.08, abs=0.01)
    faster = compare(written(tmp_path, result(0, 1.08), result(1)))[0]
    assert faster.verdict == "faster"
    assert not faster.is_slower_than(0.0)


def test_a_disturbed_row_does_not_decide(tmp_path: Path) -> None:
    after = result(1)
    latency = after["front"][0]["latency"]
    for percentile in ("p50_ms", "p90_ms", "p95_ms", "p99_ms"):
        latency[percentile] *= 3
    (found,) = compare(written(tmp_path, result(0), after))
    assert found.verdict == "noise"
    assert max(found.rows, key=lambda row: row.ratio).verdict == "slower"


def test_a_machine_that_slowed_down_is_corrected(tmp_path: Path) -> None:
    after = result(1, 1.5)
    for row in (*after["front"], *after["engines"][:2]):
        row["latency"]["slowdown"] = 1.5
    (found,) = compare(written(tmp_path, result(0), after))
    assert found.verdict == "noise"


def test_several_are_compared_with_the_first_and_told_apart(tmp_path: Path) -> None:
    others = [
        result(1, device={"board": "a"}, versions={"onnxruntime": "1.20"}),
        result(2, bundle={"digest": "b"}),
    ]
    first, second = compare(written(tmp_path, result(0), *others))
    assert first.differing == ("the devices differ", "onnxruntime: nothing before, 1.20 after")
    assert second.differing == ("the bundles differ",)
    assert len(first.rows) == NETWORKS + 2, "what an engine refused is no row"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no result of tofa-edge bench"),
        ("[]", "it names no schema"),
        ('{"schema": 99, "engines": []}', "schema 99 is newer than 3"),
        ('{"schema": 1, "engines": []}', "no network on an engine in common"),
        ('{"schema": 1, "engines": [{"engine": "x"}]}', "wanted an engine, precision and threads"),
        (
            '{"schema": 1, "engines": [{"engine": "x cpu fp32 1t", "latency": '
            '{"p50_ms": NaN, "p90_ms": 1, "p95_ms": 1, "p99_ms": 1, "count": 3}}]}',
            "wanted a finite number, got nan",
        ),
        (
            '{"schema": 1, "engines": [{"engine": "x cpu fp32 1t", "latency": '
            '{"p50_ms": 0, "p90_ms": 1, "p95_ms": 1, "p99_ms": 1, "count": 3}}]}',
            "wanted percentiles above 0 that rise",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, said: str) -> None:
    (good,) = written(tmp_path, result(0))
    bad = tmp_path / "bad.json"
    bad.write_text(content)
    with pytest.raises(DataError, match=said):
        compare([good, bad])


def test_missing_and_single_files_are_refused(tmp_path: Path) -> None:
    (good,) = written(tmp_path, result(0))
    with pytest.raises(DataError, match="cannot be read"):
        compare([good, tmp_path / "nothing.json"])
    with pytest.raises(DataError, match="two results or more"):
        compare([good])


def test_networks_of_other_bundles_are_not_compared(tmp_path: Path) -> None:
    ours, same, other = (
        result(number, bundle={"digest": digest}) for number, digest in enumerate("aab")
    )
    (found,) = compare(written(tmp_path, ours, same))
    assert len(found.rows) == NETWORKS + 2
    with pytest.raises(DataError, match="no network in common: the bundles differ"):
        compare(written(tmp_path, ours, other))


def test_subnets_have_their_short_form(tmp_path: Path) -> None:
    subnet = tiny().middle()
    old, new = result(0), as_schema_2(result(1))
    old["front"][0]["subnet"] = subnet.to_json()
    new["front"][0]["subnet"] = json.loads(subnet.to_json())
    (found,) = compare(written(tmp_path, old, new))
    assert f"{subnet} on onnxruntime cpu fp32 1t" in [row.name for row in found.rows]
    assert len(found.rows) == 3
