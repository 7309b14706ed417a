"""Months in the field: the first start, switching, and load that comes and goes.

`python -m tofa_edge.benchmarks.studies.live BUNDLE --out live.json` measures three things.

- start: processes with an empty cache, one that serves first and one that does not, in turn. From
  before a process is started to its first prediction, imports included; then until the chosen
  network is in place, the same frame 20 times a second: there must not be more different answers
  than networks that served.
- switching: 10,000 changes of the network that serves, a prediction after each.
- load: frames at a fixed rate, all on one core, beside none, one, two and three busy loops, and
  none again. The budget is 1.3 times the own latency of the largest network. A ladder beside the
  largest alone, in turn: the share of windows of a second, from 2 s after each change on, whose p95
  by the clock is within the budget.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

import tofa_edge
from tofa_edge.benchmarks.studies.command import Row, options, store
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.live.model import LiveModel
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import engine_records

SWITCHES, FRAMES_A_SECOND, LOOPS = 10_000, 20.0, (0, 1, 2, 3, 0)
SETTLING_S, WINDOW_S, PATIENCE_S = 2.0, 1.0, 300.0
OFF = 1e-3  # of the largest logit
BUSY = "while True: pass"
CHILD = "--as-child"


def main() -> None:
    if CHILD in sys.argv:
        _first_prediction(Path(sys.argv[-3]), float(sys.argv[-2]), sys.argv[-1] == "first")
        return
    given = options(__doc__, "bundle", out=Path("live.json"), starts=5, seconds=20.0)
    bundle = given.bundle.absolute()
    engine_records(Bundle.open(bundle))
    limit_ms = 1.3 * _largest_ms(bundle)
    starts = [_started(bundle, limit_ms, first) for _ in range(given.starts) for first in (1, 0)]
    print(json.dumps(starts), flush=True)
    live = tofa_edge.LiveOptions(ladder=3)
    with tofa_edge.deploy(bundle, latency_ms=limit_ms, live=live) as model:
        _wait(lambda: len(model.stats().rungs) == 3 or model.events[-1].kind == "not chosen")
        rungs = [[rung.network, rung.own_ms] for rung in model.stats().rungs]
        switching = _switched(model)
        loaded = [_loaded(model, bundle, given.seconds, limit_ms, n) for n in LOOPS]
    result: Row = {"limit_ms": round(limit_ms, 3), "starts": starts, "rungs": rungs}
    store(given.out, {**result, "switching": switching, "load": loaded})
    print(json.dumps({**result, "switching": switching, "load": loaded}, indent=1))


def _largest_ms(bundle: Path) -> float:
    with tofa_edge.deploy(bundle) as model:
        chosen = model.explanation.chosen
        assert chosen is not None
        return chosen.latency.p95_ms


def _started(bundle: Path, limit_ms: float, first: int) -> Row:
    """Returns what a process with an empty cache tells of its start."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "tofa_edge.benchmarks.studies.live", CHILD, str(bundle)]
        command += [str(limit_ms), "first" if first else "chosen"]
        environment = {**os.environ, "XDG_CACHE_HOME": cache, "BEGUN": str(time.time())}
        done = subprocess.run(command, capture_output=True, env=environment, check=True)
        found: Row = json.loads(done.stdout.decode().splitlines()[-1])
        return found


def _first_prediction(bundle: Path, limit_ms: float, first: bool) -> None:
    """Predicts until the chosen network is in place, and prints what that took."""
    begun = float(os.environ["BEGUN"])
    live = tofa_edge.LiveOptions(serve_first=first)
    with tofa_edge.deploy(bundle, latency_ms=limit_ms, live=live) as model:
        image = specimen_images(128, 1)[0]
        model(image)
        found = {"first_s": time.time() - begun, "processor_s": time.process_time()}
        seen: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
        frames, chosen = 0, False
        while not chosen and time.time() - begun < PATIENCE_S:
            chosen = model.stats().rungs[0].chosen
            logits = model(image).logits
            if not any(np.abs(logits - each).max() <= OFF * np.abs(each).max() for each in seen):
                seen.append(logits)
            frames += 1
            time.sleep(1 / FRAMES_A_SECOND)
        found["chosen_s"] = time.time() - begun
        served = sum(event.kind in ("serving", "switched") for event in model.events)
        found |= {"frames": frames, "answers": len(seen), "networks": served, "serves_first": first}
    print(json.dumps({k: round(v, 3) for k, v in found.items()}))


def _switched(model: LiveModel) -> Row:
    """Returns what 10,000 switches take, and by how much the process grew from the 1,000th on."""
    rungs, process = model._ladder.rungs, psutil.Process()
    image, seconds, grown = specimen_images(128, 1)[0], [], 0
    if len(rungs) < 2:
        return {"switches": 0}
    for number in range(SWITCHES):
        begin = time.perf_counter()
        model.serve(rungs[number % len(rungs)], "a study")
        seconds.append(time.perf_counter() - begin)
        model(image)
        if number == SWITCHES // 10:
            grown = -process.memory_info().rss
    grown += process.memory_info().rss
    p50, p99 = (1e3 * float(value) for value in np.percentile(seconds, (50, 99)))
    return {
        "switches": SWITCHES,
        "switch_p50_ms": round(p50, 4),
        "switch_p99_ms": round(p99, 4),
        "grown_mb": round(grown / 1e6, 2),
    }


def _loaded(model: LiveModel, bundle: Path, seconds: float, limit_ms: float, loops: int) -> Row:
    """Returns the share of windows within the budget beside busy loops on the same core."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(loops)]
    try:
        with tofa_edge.deploy(bundle) as largest:
            ladder, fixed = _windows(model, seconds), _windows(largest, seconds)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    within = {
        name: round(float(np.mean([p95 <= limit_ms for p95 in windows])), 3)
        for name, windows in (("ladder", ladder), ("fixed", fixed))
    }
    statistics = model.stats()
    return {"loops": loops, **within, "rung": statistics.rung, "switches": statistics.switches}


def _windows(predict: Callable[..., object], seconds: float) -> list[float]:
    """Returns the p95 of each second in ms, of frames at a fixed rate, but for the first two."""
    size: int = predict.input_size  # type: ignore[attr-defined]
    image = specimen_images(size, 1)[0]
    begun, taken = time.perf_counter(), list[tuple[float, float]]()
    number = 0
    while (now := time.perf_counter() - begun) < seconds:
        time.sleep(max(0.0, number / FRAMES_A_SECOND - now))
        begin = time.perf_counter()
        predict(image)
        taken.append((begin - begun, 1e3 * (time.perf_counter() - begin)))
        number += 1
    windows: dict[int, list[float]] = {}
    for when, took in taken:
        if when >= SETTLING_S:
            windows.setdefault(int(when / WINDOW_S), []).append(took)
    return [float(np.percentile(window, 95)) for window in windows.values()]


def _wait(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not reached() and time.monotonic() < end:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
