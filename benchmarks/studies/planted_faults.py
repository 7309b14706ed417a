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
from collections.abc import Callable, Iterator
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

Change = Callable[[], None]


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
    busy = "\n".join(f"cpu{n} 100 0 100 90000 0 0 0 0 0 0" for n in range(4))
    files = {
        "proc/stat": f"cpu  400 0 400 360000 0 0 0 0 0 0\n{busy}\n",
        "proc/self/stat": "7 (python) R " + " ".join(["0"] * 10 + ["40", "10"] + ["0"] * 30) + "\n",
        "proc/self/cgroup": "0::/tofa\n",
        "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n",
        "proc/vmstat": "pswpin 12\npswpout 40\n",
        "proc/pressure/memory": _pressure(5000),
        "sys/fs/cgroup/tofa/cpu.max": "max 100000\n",
        "sys/fs/cgroup/tofa/cpu.stat": "usage_usec 1\nnr_periods 50\nnr_throttled 3\n",
        **{
            f"sys/devices/system/cpu/cpu{n}/cpufreq/{name}": value
            for n in range(4)
            for name, value in (
                ("scaling_governor", "performance\n"),
                ("scaling_cur_freq", "2400000\n"),
                ("cpuinfo_max_freq", "2400000\n"),
            )
        },
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "0\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
        "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
        "sys/class/thermal/cooling_device0/cur_state": "0\n",
        "sys/class/power_supply/BAT0/type": "Battery\n",
        "sys/class/power_supply/BAT0/status": "Charging\n",
    }
    for path, text in files.items():
        _write(root / path, text)


def throttling(root: Path) -> dict[str, Change]:
    """Returns ways in which a recorded machine throttles meanwhile, by name."""
    firmware = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    counter = root / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    cooling = root / "sys/class/thermal/cooling_device0/cur_state"
    return {
        "Raspberry Pi, capped and throttled now": lambda: _write(firmware, "60006\n"),
        "Raspberry Pi, soft temperature limit now": lambda: _write(firmware, "80008\n"),
        "Raspberry Pi, throttled in between": lambda: _write(firmware, "40000\n"),
        "x86, events counted": lambda: _write(counter, "9\n"),
        "kernel's cooling device": lambda: _write(cooling, "3\n"),
    }


def other_disturbances(root: Path) -> dict[str, tuple[str, Change]]:
    """Returns what else can befall a recorded machine, by name, each with the reason expected."""
    group, clocks = root / "sys/fs/cgroup/tofa", "sys/devices/system/cpu/cpu{}/cpufreq/{}"

    def every_core(name: str, value: str) -> None:
        for core in range(4):
            _write(root / clocks.format(core, name), value)

    def ramping() -> None:
        every_core("scaling_governor", "ondemand\n")
        every_core("scaling_cur_freq", "600000\n")

    stat = "cpu  900400 0 400 360000 0 0 0 0 0 0\n"
    meminfo = "MemTotal: 4000000 kB\nMemAvailable: 90000 kB\n"
    supply = root / "sys/class/power_supply/BAT0/status"
    stopped = "nr_periods 90\nnr_throttled 30\n"
    return {
        "background load": ("background load", lambda: _write(root / "proc/stat", stat)),
        "quota": ("CPU quota", lambda: _write(group / "cpu.stat", stopped)),
        "few cores": ("CPU quota", lambda: _write(group / "cpu.max", "50000 100000\n")),
        "stalls": (
            "memory pressure",
            lambda: _write(root / "proc/pressure/memory", _pressure(9_000_000)),
        ),
        "swap": ("memory pressure", lambda: _write(root / "proc/vmstat", "pswpin 900\n")),
        "nothing left": ("memory pressure", lambda: _write(root / "proc/meminfo", meminfo)),
        "battery": ("battery", lambda: _write(supply, "Discharging\n")),
        "governor": ("governor", ramping),
        "clock": ("drifting clock", lambda: every_core("scaling_cur_freq", "1500000\n")),
    }


def _pressure(microseconds: int) -> str:
    averages = "avg10=0.00 avg60=0.00 avg300=0.00"
    return f"some {averages} total={microseconds}\nfull {averages} total={microseconds // 3}\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
