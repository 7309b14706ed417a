"""Damages photos of all formats, and checks that each is read or refused with one clear line.

    python -m tests.fuzz.photos --cases 20000 --seed 0

What a user gives to predict or to train, not what a bundle carries: `images` damages those. Each is
prepared as `model(path)` does it, in at most a second of processor time and 300 MB of memory; an
error is an ImageError of one line that begins with the path. Nothing is written or left; what
libtiff prints to the error stream by itself does not count. Every case follows from the seed and
its number alone.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.bundle import peak_memory, start_memory
from tests.fuzz.crafted import pick
from tests.fuzz.photo_damage import DAMAGES, PNG_BEGINNING, SUFFIXES, bomb, photos, repaired_png
from tests.fuzz.watched import watched
from tofa_edge.benchmarks.studies.command import store
from tofa_edge.bundle.images import prepare
from tofa_edge.errors import ImageError

PIXELS = 64
BATCH = 500
BOMB_EACH = 97  # cases
MOST_SECONDS = 1.0
MOST_EXTRA_BYTES = 300_000_000
MOST_MESSAGE = 400
PATIENCE_S = 60.0  # for one case by the clock, on a busy machine
VERDICTS = ("refused", "read", "violation")


@dataclass(frozen=True)
class Case:
    """One damaged photo.

    Attributes:
        number: with the seed it makes the case again.
        damage: the kind.
        photo: what it was made from.
        suffix: of the file's name, perhaps of another format.
        content: of the file.
    """

    number: int
    damage: str
    photo: str
    suffix: str
    content: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of one case: "refused", "read" or "violation", and what it cost."""

    number: int
    damage: str
    photo: str
    verdict: str
    message: str
    seconds: float
    extra_bytes: int


def make_case(seed: int, number: int) -> Case:
    """Returns one case; damages and photos take turns."""
    rng = np.random.default_rng([seed, number])
    damage = bomb if number % BOMB_EACH == 0 else DAMAGES[number % len(DAMAGES)]
    name, content = photos()[number // len(DAMAGES) % len(photos())]
    damaged = damage(content, rng)
    if damaged.startswith(PNG_BEGINNING) and damage is not bomb and rng.integers(4):
        damaged = repaired_png(damaged)
    return Case(number, damage.__name__, name, pick(rng, SUFFIXES), damaged)


def judge(case: Case, folder: Path) -> Outcome:
    """Reads one case from an empty folder and judges what happens; the folder is empty again."""
    path = folder / f"photo{case.suffix}"
    path.write_bytes(case.content)
    held, begun, raised = start_memory(), time.process_time(), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about metadata
            prepared = prepare(path, PIXELS)
        verdict, message = "read", ""
        if prepared.shape != (PIXELS, PIXELS, 3) or prepared.dtype != np.uint8:
            verdict, message = "violation", f"{prepared.dtype} {prepared.shape}"
    except BaseException as error:
        raised = error
        verdict, message = _of_error(error, path)
    seconds, extra = time.process_time() - begun, max(0, peak_memory() - held)
    if isinstance(raised, KeyboardInterrupt):
        raise raised
    if seconds > MOST_SECONDS or extra > MOST_EXTRA_BYTES:
        verdict, message = "violation", f"{seconds:.2f} s, {extra / 1e6:.0f} MB, then: {message}"
    if [*folder.iterdir()] != [path]:
        verdict, message = "violation", f"files written: {sorted(folder.iterdir())}"
    path.unlink()
    return Outcome(case.number, case.damage, case.photo, verdict, message, seconds, extra)


def _of_error(error: BaseException, path: Path) -> tuple[str, str]:
    text = str(error)
    reason = text.removeprefix(f"{path}: ")
    if not isinstance(error, ImageError):
        return "violation", f"{type(error).__name__}: {text[:MOST_MESSAGE]}"
    if reason == text or not reason.isprintable() or not 5 < len(reason) <= MOST_MESSAGE:
        return "violation", f"no clear line: {text[:MOST_MESSAGE]!a} ({len(text)} characters)"
    return "refused", reason


def run(seed: int, numbers: Sequence[int]) -> Iterator[list[Outcome]]:
    """Yields the outcomes of all cases, batch after batch, each in a watched process.

    Where one ends before its batch is done, its cases are tried one by one.
    """
    with tempfile.TemporaryDirectory() as place:
        for first in range(0, len(numbers), BATCH):
            batch = numbers[first : first + BATCH]
            yield _watched_batch(seed, batch, Path(place) / str(first))


def _watched_batch(seed: int, numbers: Sequence[int], scratch: Path) -> list[Outcome]:
    def work() -> dict[str, Any]:
        folder = Path.cwd() / "photos"
        folder.mkdir()
        outcomes = [asdict(judge(make_case(seed, number), folder)) for number in numbers]
        folder.rmdir()
        return {"outcomes": outcomes}

    scratch.mkdir()
    held = peak_memory()
    most = held + 2 * MOST_EXTRA_BYTES  # a case that takes more than its own is a violation before
    ending = watched(work, scratch, most, PATIENCE_S + len(numbers) * MOST_SECONDS)
    if ending.report is not None:
        outcomes = [Outcome(**outcome) for outcome in ending.report["outcomes"]]
        if ending.left:
            message = f"left {ending.left}"
            outcomes.append(Outcome(numbers[0], "batch", "", "violation", message, 0.0, 0))
        return outcomes
    if len(numbers) > 1:
        inner = [_watched_batch(seed, [n], scratch / f"case {n}") for n in numbers]
        return [outcome for each in inner for outcome in each]
    case = make_case(seed, numbers[0])
    message = f"{ending.cause}: {ending.output[-MOST_MESSAGE:]}"
    found = (case.number, case.damage, case.photo, "violation", message)
    return [Outcome(*found, ending.seconds, max(0, ending.peak_bytes - held))]


def summary(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """Returns counts, the slowest case and the most memory by format, and of all."""
    by_format: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        of_bomb = outcome.damage == bomb.__name__
        by_format["bombs" if of_bomb else outcome.photo.split(" ")[0]].append(outcome)
        by_format["all"].append(outcome)
    found = {}
    for name, of_format in sorted(by_format.items(), key=lambda item: item[0] == "all"):
        verdicts = Counter(outcome.verdict for outcome in of_format)
        found[name] = {
            "cases": len(of_format),
            **{verdict: verdicts[verdict] for verdict in VERDICTS},
            "slowest ms": round(max(outcome.seconds for outcome in of_format) * 1e3),
            "peak MB": round(max(outcome.extra_bytes for outcome in of_format) / 1e6),
        }
    return found


def _report(outcomes: Sequence[Outcome], seed: int) -> int:
    rows = summary(outcomes)
    print(f"{'format':12}" + "".join(f"{title:>11}" for title in rows["all"]))
    for name, row in rows.items():
        print(f"{name:12}" + "".join(f"{number:>11}" for number in row.values()))
    violations = [outcome for outcome in outcomes if outcome.verdict == "violation"]
    for each in violations[:50]:
        print(f"\nVIOLATION --seed {seed} --only {each.number}: {each.damage} of {each.photo}")
        print(f"  {each.message}")
    return 1 if violations else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the fuzzer; returns 1 if any case violates what the module promises."""
    parser = argparse.ArgumentParser(description="Damages photos and checks how they are read.")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of the one case to run")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no batch after")
    parser.add_argument("--out", type=Path, help="file for the summary")
    options = parser.parse_args(arguments)
    numbers = [options.only] if options.only is not None else range(options.cases)
    outcomes: list[Outcome] = []
    begun = time.monotonic()
    photos()  # made once, before the forks
    with contextlib.suppress(KeyboardInterrupt):
        for batch in run(options.seed, list(numbers)):
            outcomes += batch
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)} of {len(numbers)}", end="", file=sys.stderr)
            if time.monotonic() - begun > options.seconds:
                break
    if options.out:
        store(options.out, {"seed": options.seed, "formats": summary(outcomes)})
    return _report(outcomes, options.seed)


if __name__ == "__main__":
    sys.exit(main())
