"""Damages a bundle in many ways, and checks that each is refused with a BundleError or harmless.

    python -m tests.fuzz.bundle [BUNDLE] --cases 20000 --seed 0

A damaged file must be refused with one clear line, in under a second of processor time and 200 MB
of memory, with nothing written; or be accepted with every member byte-identical. A hostile file
whose hashes are all in order may also be accepted where its mutation is harmless by construction;
those are counted apart. Every case follows from the seed and its number alone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tests.fuzz import fields, file, images, manifest, tensors
from tests.fuzz.crafted import DamagedFile, Sample
from tofa_edge.benchmarks.studies.command import store
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BundleError
from tofa_edge.selftest.small_bundle import small_bundle, small_finalists

DAMAGES = {
    **file.DAMAGES, **manifest.DAMAGES, **fields.DAMAGES, **tensors.DAMAGES, **images.DAMAGES,
}  # fmt: skip
KINDS = tuple(DAMAGES)
VERDICTS = ("refused", "identical", "harmless", "violation")
BATCH = 500
MOST_SECONDS = 1.0
MOST_EXTRA_BYTES = 200_000_000
ADDRESS_SPACE_BYTES = 4 * 2**30
MOST_MESSAGE = 600


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        index: of the case; with the seed it makes the case again.
        kind: of damage.
        verdict: "refused", "identical", "harmless" or "violation".
        what: was done to the file.
        message: of the error, or what was violated.
        seconds: of processor time.
        extra_bytes: of memory at most, over what was held before; 0 where it cannot be measured.
    """

    index: int
    kind: str
    verdict: str
    what: str
    message: str
    seconds: float
    extra_bytes: int


def make_case(sample: Sample, seed: int, index: int) -> tuple[str, DamagedFile]:
    """Returns the kind and the damaged file of one case; kinds take turns."""
    kind = KINDS[index % len(KINDS)]
    return kind, DAMAGES[kind](sample, np.random.default_rng([seed, index]))


def judge(sample: Sample, seed: int, index: int, folder: Path) -> Outcome:
    """Writes one case into an otherwise empty folder, verifies it and judges what happens."""
    kind, case = make_case(sample, seed, index)
    path = folder / "case.tofa"
    path.write_bytes(case.content)
    before = _listing(folder)
    held = start_memory()
    start = time.process_time()
    raised: BaseException | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Bundle.open(path).verify()
    except BaseException as error:
        raised = error
    seconds = time.process_time() - start
    extra = max(0, peak_memory() - held)
    if isinstance(raised, KeyboardInterrupt):
        raise raised
    verdict, message = _verdict(sample, case, path, raised)
    if seconds > MOST_SECONDS or extra > MOST_EXTRA_BYTES:
        verdict = "violation"
        message = f"{seconds:.2f} s, {extra / 1e6:.0f} MB, then: {message}"
    if _listing(folder) != before:
        verdict, message = "violation", f"files changed: {_listing(folder)}"
    return Outcome(index, kind, verdict, case.what, message, seconds, extra)


def _verdict(
    sample: Sample, case: DamagedFile, path: Path, raised: BaseException | None
) -> tuple[str, str]:
    if raised is not None:
        text = str(raised)
        if not isinstance(raised, BundleError):
            return "violation", f"{type(raised).__name__}: {text[:500]}"
        reason = text.removeprefix(f"{path}: ")
        if reason == text or not reason.isprintable() or not 5 < len(reason) <= MOST_MESSAGE:
            return "violation", f"no clear line: {text[:500]!a} ({len(text)} characters)"
        return "refused", reason
    if _members_by_zipfile(case.content) == sample.members:
        return "identical", ""
    return ("harmless", "") if case.harmless else ("violation", "accepted with other content")


def _members_by_zipfile(content: bytes) -> dict[str, bytes] | None:
    """Reads all members with another reader than the one on trial."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if len(archive.namelist()) != len(set(archive.namelist())):
                return None
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # whatever it dislikes, the content is not the sample's
        return None


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    found = sorted(folder.rglob("*"))
    return [(str(item), item.stat().st_size, item.stat().st_mtime_ns) for item in found]


def start_memory() -> int:
    """Resets the kernel's high-water mark of this process; returns the bytes held now."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # memory kept for reuse would hide the first use of it
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def peak_memory() -> int:
    return _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0


def run_batch(bundle: Path, seed: int, indices: Sequence[int]) -> list[Outcome]:
    """Judges some cases in this process, with scratch folders for home and temporary files."""
    import resource

    sample = Sample.of(bundle.read_bytes())
    Bundle.open(bundle).verify()  # imports all there is to import
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
        os.environ.update(HOME=scratch, TMPDIR=scratch, XDG_CACHE_HOME=scratch)
        tempfile.tempdir = scratch
        os.chdir(scratch)
        outcomes = [judge(sample, seed, index, Path(folder)) for index in indices]
        left = _listing(Path(scratch))
        os.chdir(folder)
        tempfile.tempdir = None
    if left:
        message = f"files written to the scratch folder by one of these: {left}"
        outcomes.append(Outcome(indices[0], "batch", "violation", "", message, 0.0, 0))
    return outcomes


def run(bundle: Path, seed: int, indices: Sequence[int]) -> Iterable[list[Outcome]]:
    """Yields the outcomes of all cases, batch after batch, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    for first in range(0, len(indices), BATCH):
        batch = indices[first : first + BATCH]
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                yield pool.submit(run_batch, bundle.resolve(), seed, batch).result()
            except BrokenProcessPool:
                what = f"the process died in cases {batch[0]}..{batch[-1]}"
                yield [Outcome(batch[0], "batch", "violation", what, "crash", 0.0, 0)]


def summary(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """Returns counts, the slowest case and the most memory of each kind of damage, and of all."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.kind].append(outcome)
        by_kind["all"].append(outcome)
    order = sorted(by_kind, key=lambda kind: (kind == "all", kind not in KINDS))
    found = {}
    for kind in order:
        of_kind = by_kind[kind]
        verdicts = Counter(outcome.verdict for outcome in of_kind)
        found[kind] = {
            "cases": len(of_kind),
            **{verdict: verdicts[verdict] for verdict in VERDICTS},
            "slowest ms": round(max(outcome.seconds for outcome in of_kind) * 1e3),
            "peak MB": round(max(outcome.extra_bytes for outcome in of_kind) / 1e6),
        }
    return found


def table(outcomes: Iterable[Outcome]) -> str:
    """Returns the summary as text: a line for each kind of damage."""
    rows = summary(outcomes)
    lines = [f"{'damage':25}" + "".join(f"{title:>11}" for title in rows["all"])]
    lines += [
        f"{kind:25}" + "".join(f"{n:>11}" for n in row.values()) for kind, row in rows.items()
    ]
    return "\n".join(lines)


def _report(outcomes: list[Outcome], seed: int) -> int:
    print(table(outcomes))
    harmless = Counter((o.kind, o.what) for o in outcomes if o.verdict == "harmless")
    print(f"\nharmless by construction, {len(harmless)} different; examples of each kind:")
    shown: Counter[str] = Counter()
    for (kind, what), count in harmless.most_common():
        shown[kind] += 1
        if shown[kind] <= 3:
            print(f"  {kind}: {what!r} ×{count}")
    violations = [outcome for outcome in outcomes if outcome.verdict == "violation"]
    for outcome in violations[:50]:
        print(f"\nVIOLATION --seed {seed} --only {outcome.index}: {outcome.kind}: {outcome.what!r}")
        print(f"  {outcome.message}")
    return 1 if violations else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the fuzzer; returns 1 if any case violates what the module promises."""
    parser = argparse.ArgumentParser(description="Damages a bundle and checks what is refused.")
    parser.add_argument("bundle", nargs="?", type=Path, help="made from nothing if left out")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of the one case to run")
    parser.add_argument("--json", type=Path, help="file for all outcomes")
    parser.add_argument("--out", type=Path, help="file for the summary")
    options = parser.parse_args(arguments)
    indices = [options.only] if options.only is not None else range(options.cases)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle
        if bundle is None:
            bundle = Path(folder) / "small.tofa"
            small_bundle(bundle, finalists=small_finalists())
        for batch in run(bundle, options.seed, list(indices)):
            outcomes += batch
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)} of {len(indices)}", end="", file=sys.stderr)
    if options.json:
        outcomes_of = {"seed": options.seed, "outcomes": [asdict(outcome) for outcome in outcomes]}
        options.json.write_text(json.dumps(outcomes_of, indent=1))
    if options.out:
        store(options.out, {"seed": options.seed, "damages": summary(outcomes)})
    return _report(outcomes, options.seed)


if __name__ == "__main__":
    sys.exit(main())
