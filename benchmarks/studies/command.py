"""What studies share: options, stored results with their provenance, processes, subnets."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, decoded, distinct
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.backends.support import usable_cores
from tofa_edge.device.machine import fingerprint
from tofa_edge.measurement.stopwatch import Run, timed
from tofa_edge.storage.files import whole_file

Row = dict[str, Any]

RESULTS = Path("benchmarks/results")
PACKAGES = ("numpy", "onnxruntime", "openvino", "ai-edge-litert", "tflite-runtime", "torch")
HELP = {
    "bundle": "a trained one",
    "images": "zip of */{train,test}/<class>/*.jpg",
    "zip": "of */{train,test}/<class>/*.jpg",
    "wheel": "of this package",
    "labels": "a class",
    "work": "folder of what is kept between runs",
}


def parser(document: str | None, *paths: str, **defaults: Any) -> argparse.ArgumentParser:
    """Returns a command's parser.

    Args:
        document: the docstring of its module.
        paths: names of the positional arguments.
        defaults: of options by name: a value (False is a switch, a list takes several values), a
            type where there is no default, a pair of either with a help text, or the keywords of
            `add_argument`.
    """
    command = argparse.ArgumentParser(description=document)
    for name in paths:
        command.add_argument(name, type=Path, help=HELP.get(name))
    for name, default in defaults.items():
        words: dict[str, Any] = {"help": HELP.get(name)}
        if isinstance(default, tuple):
            default, words["help"] = default
        if isinstance(default, dict):
            words |= default
        elif default is False:
            words["action"] = "store_true"
        elif isinstance(default, type):
            words["type"] = default
        elif isinstance(default, list):
            words |= {"nargs": "*", "type": type(default[0]), "default": default}
        else:
            words |= {"type": type(default), "default": default}
        command.add_argument(f"--{name.replace('_', '-')}", **words)
    return command


def options(document: str | None, *paths: str, **defaults: Any) -> argparse.Namespace:
    """Returns the options that a command was given; takes what `parser` takes."""
    return parser(document, *paths, **defaults).parse_args()


def provenance() -> dict[str, Any]:
    """Returns what a result says of itself, under the key `made`.

    Its fields: `command`, as it was given, with names of files but not of folders; `machine`, in
    words; `versions` of this package, of Python and of what is installed of `PACKAGES`; `date`.
    """
    main = sys.modules["__main__"].__spec__
    words = [word.rsplit("/", 1)[-1] for word in sys.argv[1:]]
    command = ["python", "-m", main.name] if main else [sys.argv[0].rsplit("/", 1)[-1]]
    machine = fingerprint()
    processors = [f"{count} × {name}" for name, count in (machine.processors or {}).items()]
    parts = (machine.board, " + ".join(processors), machine.architecture, machine.operating_system)
    versions = {"tofa_edge": __version__, "python": platform.python_version()}
    return {
        "command": " ".join([*command, *words]),
        "machine": ", ".join(part for part in parts if part),
        "versions": {**versions, **installed_versions(PACKAGES)},
        "date": time.strftime("%Y-%m-%d"),
    }


def store(path: Path, result: Mapping[str, Any]) -> None:
    """Writes a result and its provenance as JSON, whole or not at all.

    Args:
        path: of the file; its folder exists.
        result: its fields; one called "made" replaces the provenance.
    """
    with whole_file(path) as stream:
        stream.write(f"{json.dumps({'made': provenance(), **result}, indent=1)}\n".encode())


def stored(path: Path) -> dict[str, Any]:
    """Returns the fields of a stored result but for its provenance; none where there is no file."""
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    result.pop("made", None)
    return result


def installed_versions(names: tuple[str, ...]) -> dict[str, str]:
    versions = {name: next(iter(distributions(name=name)), None) for name in names}
    return {name: each.version for name, each in versions.items() if each is not None}


class Results:
    """Rows by name, kept in a file that is written after each, with fields of the whole beside."""

    def __init__(self, path: Path, **fields: Any) -> None:
        self.path, self.fields = path, fields
        self.rows: dict[str, Row] = stored(path).get("runs", {})

    def once(self, name: str, make: Callable[[], Row]) -> None:
        """Adds a row and what it took, unless it is there."""
        if name in self.rows:
            return
        print(f"{name} …", flush=True)
        wall, processor = time.perf_counter(), time.process_time()
        row = make()
        spent = (time.perf_counter() - wall, time.process_time() - processor)
        seconds = zip(("wall_s", "cpu_s"), (round(each, 1) for each in spent), strict=True)
        self.rows[name] = {**row, **dict(seconds)}
        store(self.path, {**self.fields, "runs": self.rows})
        print(json.dumps(self.rows[name]), flush=True)

    def print_accuracies(self, columns: Iterable[str], of: str = "") -> None:
        """Prints mean accuracies, with deviations over the draws, of rows that end with `of`."""
        names, groups = list(columns), dict[str, list[Row]]()
        for name, row in self.rows.items():
            if name.endswith(of) and "accuracy" in row:
                groups.setdefault(name.rsplit(", draw", 1)[0], []).append(row["accuracy"])
        for group, rows in groups.items():
            cells = []
            for column in names:
                values = [100 * row[column] for row in rows if column in row]
                if values:
                    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
                    cells.append(f"{column} {np.mean(values):.1f} ± {deviation:.1f} %")
            print(f"{group} ({len(rows)} draws): {', '.join(cells)}")


def resume_trials(
    out: Path,
    name: str,
    counts: tuple[int, int],
    trial: Callable[[], Row],
    summary: Callable[[list[Row]], Row],
) -> None:
    """Runs what is missing of a number of trials, (all, now at most), storing after each."""
    rows = stored(out).get(name, [])
    total, now = counts
    for _ in range(min(now, total - len(rows))):
        rows.append(trial())
        store(out, {"cores": usable_cores(), "summary": summary(rows), name: rows})
        print(json.dumps(summary(rows)), flush=True)


def answer(*words: str, python: str | Path = sys.executable, **keywords: Any) -> Any:
    """Returns what a Python process of its own prints last, as JSON."""
    command = [str(python), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **keywords)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def study_answer(study: str, *words: object) -> Any:
    """Returns what a study prints last, as JSON, run in a process of its own."""
    return answer("-m", f"tofa_edge.benchmarks.studies.{study}", *map(str, words))


def random_encodings(space: SearchSpace, seed: int, count: int) -> Encodings:
    """Returns encodings of random subnets, no two the same, (at most `count`, genes)."""
    return distinct(space, sample(space, np.random.default_rng(seed), count))


def random_subnets(space: SearchSpace, seed: int, count: int) -> list[Subnet]:
    """Returns at most `count` random subnets, no two the same."""
    return decoded(space, random_encodings(space, seed, count))


def in_turn(runs: Sequence[Run], blocks: int, block: int = 1, warm_up: int = 0) -> DoubleArray:
    """Returns the median of each block of runs in ms, (runs, blocks), one after the other.

    The first runs of a block do not count: they bring the weights back into the caches.
    """
    medians = np.zeros((len(runs), blocks))
    for turn in range(blocks):
        for number, run in enumerate(runs):
            medians[number, turn] = 1e3 * np.median(timed(run, warm_up + block)[warm_up:])
    return medians


def bootstrap_interval(values: DoubleArray) -> tuple[float, float]:
    """Returns the 95 % interval of a mean, by drawing its values, (N,), anew 2,000 times."""
    rng = np.random.default_rng(0)
    means = [rng.choice(values, len(values)).mean() for _ in range(2000)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def hierarchical_interval(values: DoubleArray) -> tuple[float, float]:
    """Returns the 95 % interval of a mean over runs and images together.

    Both are drawn anew, 2,000 times; the images are the same ones in every run.

    Args:
        values: of each image in each run, (runs, images).
    """
    rng, (runs, images) = np.random.default_rng(0), values.shape
    chosen = rng.multinomial(runs, np.full(runs, 1 / runs), 2000)
    means = []
    for counts in chosen:
        drawn = np.bincount(rng.integers(0, images, images), minlength=images)
        means.append(counts @ values @ drawn / (runs * images))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def memory_bytes(name: str = "VmHWM") -> int:
    """Returns a figure of this process's memory: by default the most that it ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
