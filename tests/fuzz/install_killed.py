"""Kills install at random moments, and checks that a whole, verified bundle is served after each.

    python -m tests.fuzz.install_killed --kills 50 --seed 0

Two signed bundles take turns on a device whose policy wants signatures. Half of the kills come at a
random time, the others right after a random change of the folder of slots.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from tests.fuzz.numbered import numbers_and_seed, told
from tests.fuzz.watched import still_alive
from tests.unit.trust.signing import Keys, signed
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import TofaError
from tofa_edge.fleet.install import InstallOptions, install
from tofa_edge.fleet.proving import count_start, mark_good, status
from tofa_edge.selftest.small_bundle import small_bundle
from tofa_edge.trust.policy import VARIABLE

OPTIONS = InstallOptions(backend="reference", precision="fp32", gate=False, boot_limit=1000)
GRACE_S = 15.0  # that a trial may take to notice that nobody waits for it
MOST_CHANGES = 9  # to the folder, of an installation, that the clock of files tells apart
MOST_LEFT = 12  # files in the folder
NAMES = ("one", "two")


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        number: with the seed it decides the moment.
        after_s: the start.
        ended: whether it had ended by itself before.
        served: the bundle that is served afterwards.
        faults: what was the worse for it.
    """

    number: int
    after_s: float
    ended: bool
    served: str
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        when = f"{self.after_s:.2f} s{', when it had ended' if self.ended else ''}"
        return f"kill {self.number} after {when}: serves {self.served}"


class Place:
    """A device with slots, a policy and two signed bundles that take turns.

    Args:
        path: of an empty folder.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.slots = path, path / "slots"
        keys, self.counter = Keys.made(path / "keys", "fleet"), 0
        self.keys, self.digests = keys.of("fleet"), dict[str, str]()
        os.environ["XDG_CACHE_HOME"] = str(path / "cache")
        policy = path / "trust.json"
        state = {"keys": keys.publics("fleet"), "state": str(path / "seen")}
        policy.write_text(json.dumps(state))
        policy.chmod(0o600)
        os.environ[VARIABLE] = str(policy)
        for seed, name in enumerate(NAMES):
            small_bundle(self.bundle(name), seed=seed, calibration_photos=2, check_photos=2)
            self.digests[self.sign(name)] = name

    def bundle(self, name: str) -> Path:
        return self.path / f"{name}.tofa"

    def sign(self, name: str) -> str:
        """Signs a bundle anew, newer than all before; returns its digest."""
        self.counter += 1
        return signed(self.bundle(name), self.keys, counter=self.counter).digest

    def installing(self, name: str) -> int:
        """Starts a process that installs a bundle, and returns its number."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads that a fork would lose
            pid = os.fork()
        if pid == 0:
            code = 1
            try:
                install(self.bundle(name), self.slots, OPTIONS)
                code = 0
            except TofaError as error:
                print(error, file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        return pid

    def served(self) -> str:
        """Starts the service's bookkeeping, reads all of the active bundle, returns its name."""
        count_start(self.slots)
        bundle = Bundle.open(self.slots / "active")
        bundle.verify()
        if status(self.slots)["digest"] != bundle.digest:
            raise TofaError("status tells another digest than that of what is served")
        return self.digests[bundle.digest]

    def make_good(self) -> None:
        """Marks what is served good, so that the next one may be installed."""
        mark_good(self.slots, Bundle.open(self.slots / "active").digest)

    def faults(self, before: str, after: str) -> Iterator[str]:
        """Yields what is wrong beside what is served."""
        if before not in NAMES or after not in NAMES:
            yield f"{after} is served"
        left = [path.name for path in self.slots.iterdir()]
        if len(left) > MOST_LEFT:
            yield f"{len(left)} files were left behind"
        free = shutil.disk_usage(self.slots).free
        if free < 2**20:
            yield "the disk is full"


def first_installation(place: Place) -> float:
    """Installs the first bundle, and returns how long another one takes that is left alone."""
    for name in NAMES:
        begun = time.monotonic()
        place.sign(name)
        pid = place.installing(name)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise RuntimeError("it cannot be installed here")
        place.served()
        place.make_good()
    return time.monotonic() - begun


def kill(place: Place, seed: int, number: int, life_s: float) -> Kill:
    """Starts to install, kills that, and returns what is served and what is wrong.

    Args:
        place: where.
        seed: of all kills.
        number: of the kill.
        life_s: how long an installation takes that is left alone.
    """
    rng = np.random.default_rng([seed, number])
    before = place.served()
    place.make_good()
    name = next(each for each in NAMES if each != before)
    place.sign(name)
    after_s = float(rng.uniform(0.0, 1.1)) * life_s
    changes = int(rng.integers(1, MOST_CHANGES)) if number % 2 else 0
    begun, pid = time.monotonic(), place.installing(name)
    ended = _waited(place, pid, after_s, changes)
    after_s = time.monotonic() - begun
    children = psutil.Process(pid).children(recursive=True) if not ended else []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    faults = [f"{child.pid} still runs" for child in still_alive(children, GRACE_S)]
    try:
        served = place.served()
        faults += place.faults(before, served)
    except (TofaError, KeyError) as error:
        served = "nothing"
        faults.append(f"nothing is served: {error}")
    return Kill(number, after_s, ended, served, faults)


def _waited(place: Place, pid: int, seconds: float, changes: int) -> bool:
    """Waits so many seconds, or for so many changes in the folder; returns whether it has ended."""
    until, seen, count = time.monotonic() + seconds, place.slots.stat().st_mtime_ns, 0
    while count < changes if changes else time.monotonic() < until:
        changed = place.slots.stat().st_mtime_ns
        count, seen = count + (changed != seen), changed
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        if not changes:
            time.sleep(0.001)
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Kills installations; returns 1 if anything is the worse for it."""
    numbers, seed = numbers_and_seed(arguments, "Kills install at random moments.", "kill", 50)
    kills = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        life_s = first_installation(place)
        for number in numbers:
            kills.append(kill(place, seed, number, life_s))
            print(told(kills[-1], kills[-1].faults), flush=True)
    served = Counter("after it had ended" if each.ended else "killed" for each in kills)
    harmed = sum(bool(each.faults) for each in kills)
    print(f"all: {len(kills)} kills ({dict(served)}), {harmed} with harm")
    return 1 if harmed else 0


if __name__ == "__main__":
    sys.exit(main())
