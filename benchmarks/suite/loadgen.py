"""MLPerf's SingleStream and Offline, driven by its own load generator where that installs.

The load generator runs in a process of its own: it is native code that ends the process where
something displeases it. The durations are far shorter than those of a submission; what it says of
validity is its word on these settings, and our own reasons stand beside it.

Source: MLPerf inference rules, "Scenarios"; package mlcommons-loadgen (no wheel for aarch64).
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.suite.fresh_process import engine_of, engine_words, in_new_process
from tofa_edge.errors import BackendError
from tofa_edge.measurement.validity import invalid_reasons, snapshot
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.storage.files import one_line
from tofa_edge.storage.plain import from_plain, to_plain

SCENARIOS: tuple[Literal["SingleStream", "Offline"], ...] = ("SingleStream", "Offline")
MODULE = "mlperf_loadgen"
LEAST_QUERIES = 64
OFFLINE_BATCH = 8
PHOTOS = 64
PATIENCE_S = 120.0
SUMMARY = {
    "p90_ms": re.compile(r"^90(?:th|\.0+th)? percentile latency \(ns\)\s*:\s*([0-9.]+)$", re.M),
    "images_per_s": re.compile(
        r"^(?:Samples per second|QPS w/o loadgen overhead)\s*: ([0-9.]+)", re.M
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the load generator says of a run, and why it does not count; as in `Scenario`."""

    reasons: tuple[str, ...] = ()
    queries: int | None = None
    p90_ms: float | None = None
    images_per_s: float | None = None
    failed: str | None = None


def scenario(name: str, artefact: bytes, engine: Engine, size: int, seconds: float) -> Outcome:
    """Returns what the load generator finds of a network in a scenario."""
    if importlib.util.find_spec(MODULE) is None:
        reason = "mlcommons-loadgen is not installed: pip install 'tofa-edge[loadgen]' (x86-64)"
        return Outcome(failed=reason)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artefact"
        path.write_bytes(artefact)
        words = [name, str(path), engine_words(engine), str(size), str(seconds)]
        command = [sys.executable, "-m", "tofa_edge.benchmarks.suite.loadgen", *words]
        patience_s = PATIENCE_S + 10 * seconds
        try:
            _, figures = in_new_process(command, f"MLPerf's {name}", patience_s, folder=folder)
        except BackendError as error:
            return Outcome(failed=one_line(error))
        return from_plain(Outcome, figures)


def main() -> None:
    """Runs a scenario in this process, in the working directory."""
    name, path, engine_fields, size, seconds = sys.argv[1:]
    engine = engine_of(json.loads(engine_fields))
    session = engine.backend.load(Path(path).read_bytes(), engine.target)
    images = specimen_images(int(size), PHOTOS)
    for _ in range(5):
        session.run(images[:1])
    before = snapshot()
    count = _play(name, session, images, float(seconds))
    reasons = list(invalid_reasons(before, snapshot(), None, engine.target.threads))
    text = Path("mlperf_log_summary.txt").read_text()
    print(json.dumps(to_plain(_summary(name, text, count, reasons))))


def _play(name: str, session: Any, images: Any, seconds: float) -> int:
    import mlperf_loadgen as loadgen  # type: ignore[import-not-found, unused-ignore]

    answered = 0

    def issue(samples: list[Any]) -> None:
        nonlocal answered
        for start in range(0, len(samples), OFFLINE_BATCH):
            part = samples[start : start + OFFLINE_BATCH]
            session.run(images[[sample.index for sample in part]])
            responses = [loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in part]
            loadgen.QuerySamplesComplete(responses)
            answered += len(part)

    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, name)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(1e3 * seconds)
    settings.min_query_count = LEAST_QUERIES
    settings.single_stream_expected_latency_ns = int(1e9 * _expected_s(session, images, 1))
    settings.offline_expected_qps = 1 / _expected_s(session, images, OFFLINE_BATCH)
    log = loadgen.LogSettings()
    log.enable_trace = False
    log.log_output.outdir = "."
    log.log_output.copy_summary_to_stdout = False
    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(len(images), len(images), lambda _: None, lambda _: None)
    loadgen.StartTestWithLogSettings(system, library, settings, log)
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(system)
    return answered


def _expected_s(session: Any, images: Any, batch: int) -> float:
    """Returns the median seconds of an image in batches of a size."""
    from tofa_edge.measurement.stopwatch import timed

    return float(np.median(timed(lambda: session.run(images[:batch]), 10))) / batch


def _summary(name: str, text: str, count: int, reasons: list[str]) -> Outcome:
    found = {key: pattern.search(text) for key, pattern in SUMMARY.items()}
    if not re.search(r"^Result is : VALID$", text, re.MULTILINE):
        reasons.append("too few runs: the load generator calls the result invalid")
    p90, per_second = found["p90_ms"], found["images_per_s"]
    if p90 is None and per_second is None:
        raise BackendError(f"the load generator's summary of {name} says nothing: {text[:200]}")
    return Outcome(
        reasons=tuple(reasons),
        queries=count,
        p90_ms=round(float(p90[1]) / 1e6, 4) if p90 and name == "SingleStream" else None,
        images_per_s=round(float(per_second[1]), 2) if per_second else None,
    )


if __name__ == "__main__":
    main()
