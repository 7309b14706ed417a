"""Energy of a prediction where the machine has a sensor for it, read below a root.

Intel and AMD count microjoules (powercap, "rapl"); a Jetson's and other boards' INA sensors give
the power of a rail now; a Raspberry Pi 5 gives volts and amperes of its regulators by `vcgencmd
pmic_read_adc` (the firmware's documentation). Power is sampled ten times a second by a thread,
never while latency is measured.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tofa_edge.device.files import Files

SAMPLE_S = 0.1
WHOLE_BOARD = ("VDD_IN", "POM_5V_IN", "VDD_TOTAL", "SYS5V")  # rails through which all power comes
PMIC_COMMANDS = ("usr/bin/vcgencmd", "bin/vcgencmd", "opt/vc/bin/vcgencmd")
PMIC_LINE = re.compile(r"(\S+)_([AV]) (?:current|volt)\(\d+\)=([0-9.]+)[AV]")

Read = Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class Energy:
    """What a prediction costs.

    Attributes:
        sensor: that told it.
        joules_per_image: of the whole machine, or the part that the sensor measures.
        watts: meanwhile.
        idle_watts: before, with nothing to do; None where the sensor did not say.
    """

    sensor: str
    joules_per_image: float
    watts: float
    idle_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """A sensor of energy.

    Attributes:
        name: of the sensor, for people.
        joules: counts upwards, where the sensor counts.
        wraps_at: joules at which it starts again.
        watts: now, where the sensor gives power.
        clock: seconds that pass.
        sleep: waits for some seconds.
    """

    name: str
    joules: Read | None = None
    wraps_at: float | None = None
    watts: Read | None = None
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], object] = time.sleep

    @staticmethod
    def here(root: Path = Path("/")) -> Meter | None:
        """Returns the first sensor below `root` that answers, None where there is none."""
        files = Files(Path(root))
        meters = (*_counters(files), *_rails(files), *_regulators(files))
        return next((meter for meter in meters if meter.answers()), None)

    def answers(self) -> bool:
        """Whether it can be read."""
        return any(read is not None and read() is not None for read in (self.joules, self.watts))

    def spent(self, run: Callable[[], object], seconds: float) -> Energy | None:
        """Returns the energy of `run`, which predicts one image, over some `seconds`.

        The machine's power is measured idle for as long before.
        """
        idle = self._over(lambda: self.sleep(seconds))
        done = [0, 0.0]

        def busy() -> None:
            begun = self.clock()
            while (spent := self.clock() - begun) < seconds:
                run()
                done[0] += 1
            done[1] = spent

        watts = self._over(busy)
        if watts is None or not done[0]:
            return None
        return Energy(
            sensor=self.name,
            joules_per_image=round(watts * done[1] / done[0], 6),
            watts=round(watts, 3),
            idle_watts=None if idle is None else round(idle, 3),
        )

    def _over(self, work: Callable[[], object]) -> float | None:
        """Returns the mean power during some work."""
        if self.joules is not None:
            begun, before = self.clock(), self.joules()
            work()
            spent, after = self.clock() - begun, self.joules()
            if before is None or after is None:
                return None
            if after < before and self.wraps_at:
                after += self.wraps_at
            return (after - before) / spent if after >= before else None
        samples: list[float] = []
        ended = threading.Event()
        thread = threading.Thread(target=self._sample, args=(samples, ended), daemon=True)
        thread.start()
        work()
        ended.set()
        thread.join()
        return float(np.mean(samples)) if samples else None

    def _sample(self, samples: list[float], ended: threading.Event) -> None:
        assert self.watts is not None
        while True:
            value = self.watts()
            samples += [] if value is None else [value]
            if ended.wait(SAMPLE_S):
                return


def _counters(files: Files) -> list[Meter]:
    meters = []
    for folder in files.find("sys/class/powercap/*rapl:*"):
        name = files.line(f"{folder}/name") or ""
        if folder.count(":") != 1 or not name.startswith(("package", "psys")):
            continue  # what is inside of a package is counted there
        most = files.number(f"{folder}/max_energy_range_uj")
        read = _scaled(files, f"{folder}/energy_uj", 1e-6)
        meters.append(Meter(f"rapl {name}", joules=read, wraps_at=most and most / 1e6))
    return sorted(meters, key=lambda meter: "psys" not in meter.name)


def _rails(files: Files) -> list[Meter]:
    """Returns the rails of INA sensors (hwmon, or iio in the kernels of older Jetsons)."""
    meters = []
    for path in files.find("sys/class/hwmon/hwmon*/power*_input"):
        name = files.line(path.replace("_input", "_label")) or _chip(files, path)
        meters.append(Meter(f"ina {name}", watts=_scaled(files, path, 1e-6)))
    for path in files.find("sys/class/hwmon/hwmon*/curr*_input"):
        volts = path.replace("curr", "in")
        name = files.line(volts.replace("_input", "_label")) or _chip(files, path)
        if files.number(volts) is not None and "ina" in _chip(files, path):
            meters.append(Meter(f"ina {name}", watts=_product(files, volts, path)))
    for path in files.find("sys/bus/i2c/drivers/ina3221*/*/iio:device*/in_power*_input"):
        folder, _, file = path.rpartition("/")
        number = re.sub(r"[^0-9]", "", file)
        name = files.line(f"{folder}/rail_name_{number}") or "ina3221"
        meters.append(Meter(f"ina {name}", watts=_scaled(files, path, 1e-3)))
    return sorted(meters, key=lambda meter: not meter.name.endswith(WHOLE_BOARD))


def _regulators(files: Files) -> list[Meter]:
    for path in PMIC_COMMANDS:
        command = files.root / path
        if files.exists(path) and os.access(command, os.X_OK):
            return [Meter("Raspberry Pi PMIC", watts=partial(_pmic_watts, command))]
    return []


def _pmic_watts(command: Path) -> float | None:
    """Returns volts times amperes, summed over the regulators that give both."""
    try:
        words = [str(command), "pmic_read_adc"]
        text = subprocess.run(words, capture_output=True, text=True, timeout=2, check=True).stdout
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    regulators: dict[str, dict[str, float]] = {}
    for name, unit, value in PMIC_LINE.findall(text):
        regulators.setdefault(name, {})[unit] = float(value)
    both = [parts["A"] * parts["V"] for parts in regulators.values() if len(parts) == 2]
    return sum(both) if both else None


def _chip(files: Files, path: str) -> str:
    return files.line(f"{path.rpartition('/')[0]}/name") or "unknown"


def _scaled(files: Files, path: str, factor: float) -> Read:
    def read() -> float | None:
        value = files.number(path)
        return None if value is None else factor * value

    return read


def _product(files: Files, volts: str, amperes: str) -> Read:
    def read() -> float | None:
        millivolts, milliamperes = files.number(volts), files.number(amperes)
        if millivolts is None or milliamperes is None:
            return None
        return millivolts * milliamperes / 1e6

    return read
