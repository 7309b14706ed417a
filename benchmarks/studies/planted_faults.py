"""Disturbances planted on this machine, or recorded: what a measurement has to notice.

Real where a machine lets us: processes that keep cores busy, a quota of a control group, a process
that fights for memory inside a small control group (so that nobody else loses any). Where control
groups cannot be made, and for heat, a recorded tree of files stands in for the machine.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.backends.protocol import Session

PERIOD_US, QUOTA_US = 100_000, 30_000  # 0.3 cores
HOG_LIMIT, HOG_FILE = 64 * 2**20, 256 * 2**20
CGROUPS = Path("/sys/fs/cgroup")
SPIN = "while True: pass"
HOG = """
import os, sys
if sys.argv[1]:
    with open(os.path.join(sys.argv[1], "cgroup.procs"), "w") as stream:
        stream.write(str(os.getpid()))
with open(sys.argv[2], "wb") as stream:
    stream.truncate(int(sys.argv[3]))
place = os.open(sys.argv[2], os.O_RDONLY)
print("reading", flush=True)
while True:  # more than its group may keep, so that each page is dropped before it is read again
    os.lseek(place, 0, 0)
    while os.read(place, 1 << 20):
        pass
"""

Files = Mapping[str, str]  # text by path


@contextlib.contextmanager
def busy_cores(count: int) -> Iterator[None]:
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@contextlib.contextmanager
def quota_group() -> Iterator[Path | None]:
    """Yields a control group that may use 0.3 cores; None where none can be made."""
    settings = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(QUOTA_US)}
    unified = {"cpu.max": f"{QUOTA_US} {PERIOD_US}"}
    with _group("cpu", settings, unified) as group:
        yield group


@contextlib.contextmanager
def memory_hog() -> Iterator[bool]:
    """Lets a process read more than its group of 64 MB keeps; yields whether that could be done."""
    limits = {"memory.limit_in_bytes": str(HOG_LIMIT)}, {"memory.max": str(HOG_LIMIT)}
    with tempfile.TemporaryDirectory() as folder, _group("memory", *limits) as group:
        if group is None:
            yield False
            return
        words = [str(group), str(Path(folder) / "file"), str(HOG_FILE)]
        command = [sys.executable, "-c", HOG, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                process.stdout.readline()
                time.sleep(0.5)
                yield True
            finally:
                process.kill()
                process.wait()


def join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


@contextlib.contextmanager
def _group(
    controller: str, settings: dict[str, str], unified: dict[str, str]
) -> Iterator[Path | None]:
    """Yields a new control group, of version 1 or 2; None where that is not allowed."""
    group = _new_group(CGROUPS / controller, settings) or _new_group(CGROUPS, unified)
    try:
        yield group
    finally:
        if group is not None:
            _remove(group)


def _new_group(mount: Path, settings: dict[str, str]) -> Path | None:
    group = mount / f"tofa-edge-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        for file, value in settings.items():
            (group / file).write_text(value)
    except OSError:
        group.rmdir()
        return None
    return group


def _remove(folder: Path) -> None:
    for _ in range(50):  # a process that was killed leaves its group a little later
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return


class Slowed:
    """A session whose calls go on working for a share of their own time, 0.08 for 8 %."""

    def __init__(self, session: Session, share: float) -> None:
        self._session, self._share, self.unit = session, share, session.unit

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        begun = time.perf_counter()
        outputs = self._session.run(batch)
        until = begun + (1 + self._share) * (time.perf_counter() - begun)
        while time.perf_counter() < until:
            pass
        return outputs

    def close(self) -> None:
        self._session.close()


def recorded_machine(root: Path) -> None:
    """Writes what a quiet machine of four cores says of itself below a root."""
    _write(root, QUIET)


def plant(name: str, root: Path) -> None:
    """Lets one of `DISTURBANCES` befall a recorded machine."""
    _write(root, DISTURBANCES[name][1])


def _write(root: Path, files: Files) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _pressure(microseconds: int) -> str:
    averages = "avg10=0.00 avg60=0.00 avg300=0.00"
    return f"some {averages} total={microseconds}\nfull {averages} total={microseconds // 3}\n"


def _clocks(**texts: str) -> Files:
    """Returns files of each core's clock."""
    folder = "sys/devices/system/cpu/cpu{}/cpufreq"
    return {
        f"{folder.format(core)}/{name}": f"{text}\n"
        for core in range(4)
        for name, text in texts.items()
    }


FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
COUNTER = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
COOLING = "sys/class/thermal/cooling_device0"
SUPPLY, GROUP = "sys/class/power_supply/BAT0", "sys/fs/cgroup/tofa"
CPUS = "".join(f"cpu{core} 100 0 100 90000 0 0 0 0 0 0\n" for core in range(4))
QUIET: Files = {
    "proc/stat": f"cpu  400 0 400 360000 0 0 0 0 0 0\n{CPUS}",
    "proc/self/stat": "7 (python) R " + " ".join(["0"] * 10 + ["40", "10"] + ["0"] * 30) + "\n",
    "proc/self/cgroup": "0::/tofa\n",
    "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n",
    "proc/vmstat": "pswpin 12\npswpout 40\n",
    "proc/pressure/memory": _pressure(5000),
    f"{GROUP}/cpu.max": "max 100000\n",
    f"{GROUP}/cpu.stat": "usage_usec 1\nnr_periods 50\nnr_throttled 3\n",
    **_clocks(
        scaling_governor="performance", scaling_cur_freq="2400000", cpuinfo_max_freq="2400000"
    ),
    COUNTER: "0\n",
    FIRMWARE: "0\n",
    f"{COOLING}/type": "cpufreq-cpu0\n",
    f"{COOLING}/cur_state": "0\n",
    f"{SUPPLY}/type": "Battery\n",
    f"{SUPPLY}/status": "Charging\n",
}
# what befalls a recorded machine meanwhile: the reason expected, and the files that say so
DISTURBANCES: Mapping[str, tuple[str, Files]] = {
    "Raspberry Pi, capped and throttled now": ("throttled", {FIRMWARE: "60006\n"}),
    "Raspberry Pi, soft temperature limit now": ("throttled", {FIRMWARE: "80008\n"}),
    "Raspberry Pi, throttled in between": ("throttled", {FIRMWARE: "40000\n"}),
    "x86, events counted": ("throttled", {COUNTER: "9\n"}),
    "kernel's cooling device": ("throttled", {f"{COOLING}/cur_state": "3\n"}),
    "background load": ("background load", {"proc/stat": "cpu  900400 0 400 360000 0 0 0 0 0 0\n"}),
    "quota": ("CPU quota", {f"{GROUP}/cpu.stat": "nr_periods 90\nnr_throttled 30\n"}),
    "few cores": ("CPU quota", {f"{GROUP}/cpu.max": "50000 100000\n"}),
    "stalls": ("memory pressure", {"proc/pressure/memory": _pressure(9_000_000)}),
    "swap": ("memory pressure", {"proc/vmstat": "pswpin 900\n"}),
    "nothing left": (
        "memory pressure",
        {"proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 90000 kB\n"},
    ),
    "battery": ("battery", {f"{SUPPLY}/status": "Discharging\n"}),
    "governor": ("governor", _clocks(scaling_governor="ondemand", scaling_cur_freq="600000")),
    "clock": ("drifting clock", _clocks(scaling_cur_freq="1500000")),
}
THROTTLING = [name for name, (reason, _) in DISTURBANCES.items() if reason == "throttled"]
