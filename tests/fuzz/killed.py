"""Kills deploy, profile and bench at random times, and checks that nothing is the worse for it.

    python -m tests.fuzz.killed --kills 200 --seed 0

All work in one cache. After each kill -9, of the process alone: its children end within 2 s, every
JSON file of the cache can be read, the next deployment works, and what was left behind does not
grow. A bench that gets SIGTERM or SIGHUP writes what it had measured.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from tests.fuzz.crafted import pick
from tests.fuzz.numbered import numbers_and_seed, told
from tests.fuzz.watched import GRACE_S, LOCK, still_alive
from tofa_edge.selftest.small_bundle import small_bundle

PHOTOS = 24
LONGEST_S = 15.0  # of life before a signal; no more than a command takes that is left alone
PATIENCE_S = 90.0  # for a command that is left alone, or ends by itself after a signal
MOST_LEFT = 8  # files in each folder that no finished command would have left
MOST_CACHED = 400
STARTED_S = 6.0  # after which bench surely heeds signals
KEPT = "what was measured until then is written"  # says bench
Strings = tuple[str, ...]


@dataclass(frozen=True)
class Killed:
    """One kill.

    Attributes:
        number: with the seed it decides command, time and signal.
        command: its name in `COMMANDS`.
        sent: the signal.
        after_s: the start.
        ended: whether the command had ended by itself before.
        faults: what was the worse for it.
    """

    number: int
    command: str
    sent: signal.Signals
    after_s: float
    ended: bool = False
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        when = f"{self.after_s:.2f} s{', when it had ended' if self.ended else ''}"
        return f"kill {self.number}: {self.command}, {self.sent.name} after {when}"


ENGINE = ("--backend", "tflite")
QUICKLY = ("--latency-ms", "2", "--max-seconds", "2")
COMMANDS: dict[str, Strings] = {
    "deploy, cold": ("deploy", "small.tofa", *ENGINE, *QUICKLY),
    "deploy, warm": ("deploy", "small.tofa", *ENGINE, *QUICKLY),
    "deploy, any engine": ("deploy", "small.tofa", "--no-cache", *QUICKLY),
    "profile": ("profile", "small.tofa", *ENGINE, "--subnets", "3", "--out", "out/profile.json"),
    "bench": ("bench", "small.tofa", "--quick", "--engines", "tflite", "--out", "out"),
}


class Place:
    """A folder with a bundle, and with home, cache and temporary folder of all commands run in it.

    Args:
        path: of the folder, which is empty.
        start: words of the command line before those of `COMMANDS`.
    """

    def __init__(self, path: Path, start: Strings = (sys.executable, "-m", "tofa_edge")) -> None:
        self.path, self.start = path, start
        for name in ("home", "tmp", "cache", "out"):
            (path / name).mkdir()
        small_bundle(path / "small.tofa", calibration_photos=PHOTOS)

    def started(self, words: Strings) -> subprocess.Popen[bytes]:
        """Starts a command; what it prints goes to a file."""
        places = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache"}
        own = {name: str(self.path / folder) for name, folder in places.items()}
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
        with (self.path / "printed").open("wb") as printed:
            return subprocess.Popen(
                [*self.start, *words], cwd=self.path, stdin=subprocess.DEVNULL, stdout=printed,
                stderr=printed, env={**os.environ, **own, "PYTHONPATH": paths},
            )  # fmt: skip

    def printed(self) -> str:
        """Returns what the last command printed."""
        return (self.path / "printed").read_text(errors="replace")

    def results(self) -> list[Path]:
        """Returns the results that bench has written."""
        return sorted((self.path / "out").glob("bench-*.json"))

    def clear_cache(self) -> None:
        """Empties the cache."""
        shutil.rmtree(self.path / "cache")
        (self.path / "cache").mkdir()

    def left(self) -> Iterator[str]:
        """Yields which folders hold more than commands that finish would leave."""
        cached = [path for path in (self.path / "cache").rglob("*") if path.is_file()]
        out = [path for path in (self.path / "out").iterdir() if path.name.startswith(".")]
        folders = {
            "tmp": [path for path in (self.path / "tmp").iterdir() if path.name != LOCK],
            "home": list((self.path / "home").iterdir()),
            "temporary files in the cache": [path for path in cached if path.suffix == ".tmp"],
            "temporary files in out": out,
        }
        for name, found in folders.items():
            if len(found) > MOST_LEFT:
                yield f"{name}: {len(found)} left behind, such as {found[0].name}"
        if len(cached) > MOST_CACHED:
            yield f"the cache holds {len(cached)} files"

    def unreadable(self) -> Iterator[str]:
        """Yields the JSON files of the cache and the output that are none."""
        for path in sorted(self.path.rglob("*.json")):
            try:
                json.loads(path.read_text())
            except ValueError as error:
                yield f"{path.relative_to(self.path)} is no JSON: {error}"


def lifetimes(place: Place, names: Iterable[str] = COMMANDS) -> dict[str, float]:
    """Returns how long commands take that are left alone, in seconds, at most `LONGEST_S`."""
    found = {}
    for name in names:
        begun = time.monotonic()
        process = place.started(COMMANDS[name])
        try:
            if process.wait(LONGEST_S):
                raise RuntimeError(f"{name} does not work here: {place.printed()}")
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(PATIENCE_S)
        found[name] = min(LONGEST_S, time.monotonic() - begun)
    return found


def kill(place: Place, seed: int, number: int, lives: Mapping[str, float]) -> Killed:
    """Starts a command, kills it, and returns what is the worse for it.

    Args:
        place: where it runs.
        seed: of all kills.
        number: of the kill.
        lives: what commands take, in seconds; those that are named here take turns.
    """
    rng = np.random.default_rng([seed, number])
    name = list(lives)[number % len(lives)]
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
    sent = pick(rng, signals) if name == "bench" else signal.SIGKILL
    after_s = float(rng.uniform(0.02, 1)) * lives[name]
    if name == "deploy, cold":
        place.clear_cache()
    before = place.results()
    process = place.started(COMMANDS[name])
    children = _children_after(process, after_s)
    found = Killed(number, name, sent, after_s, ended=process.poll() is not None)
    process.send_signal(sent)
    try:
        process.wait(1 if sent == signal.SIGKILL else PATIENCE_S)
    except subprocess.TimeoutExpired:
        found.faults.append(f"did not end within {PATIENCE_S:g} s of the signal")
        process.kill()
        process.wait()
    found.faults.extend(f"{child.pid} still runs" for child in still_alive(children, GRACE_S))
    if sent != signal.SIGKILL and not found.ended:
        found.faults.extend(_lost(place, before, process.returncode, after_s))
    found.faults.extend(place.unreadable())
    found.faults.extend(_next_start(place))
    found.faults.extend(place.left())
    return found


def _children_after(process: subprocess.Popen[bytes], seconds: float) -> list[psutil.Process]:
    """Waits, or until the process has ended, and returns the children it has then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return list(psutil.Process(process.pid).children(recursive=True))
    return []


def _lost(place: Place, before: list[Path], code: int, after_s: float) -> Iterator[str]:
    """Yields what a bench that was asked to end has lost."""
    printed, new = place.printed(), place.results()[len(before) :]
    if "Traceback" in printed:
        yield f"traceback: {printed.strip().splitlines()[-1]}"
    if KEPT in printed and not new:
        yield f"exit code {code}: said that it wrote what it had measured, and wrote nothing"
    elif KEPT not in printed and after_s > STARTED_S:
        yield f"exit code {code}: what was measured is lost"


def _next_start(place: Place) -> Iterator[str]:
    """Yields why the next deployment does not work."""
    process = place.started((*COMMANDS["deploy, warm"], "--json"))
    try:
        code = process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if code:
        yield f"the next deployment ends with {code}: {place.printed()[-500:]}"


def table(kills: Sequence[Killed]) -> str:
    """Returns how many kills of each command and signal there were, and how many did harm."""
    kinds = Counter((each.command, each.sent.name) for each in kills)
    ended = Counter((each.command, each.sent.name) for each in kills if each.ended)
    harmed = Counter((each.command, each.sent.name) for each in kills if each.faults)
    lines = [f"{'command':20}{'signal':>10}{'kills':>8}{'too late':>10}{'with harm':>12}"]
    lines += [
        f"{name:20}{sent:>10}{count:>8}{ended[name, sent]:>10}{harmed[name, sent]:>12}"
        for (name, sent), count in sorted(kinds.items())
    ]
    return "\n".join([*lines, f"all: {len(kills)} kills, {sum(harmed.values())} with harm"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Kills commands; returns 1 if anything is the worse for it."""
    numbers, seed = numbers_and_seed(arguments, "Kills deploy, profile and bench.", "kill", 200)
    kills = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        lives = lifetimes(place)
        for number in numbers:
            kills.append(kill(place, seed, number, lives))
            print(told(kills[-1], kills[-1].faults), flush=True)
    print(table(kills))
    return 1 if any(each.faults for each in kills) else 0


if __name__ == "__main__":
    sys.exit(main())
