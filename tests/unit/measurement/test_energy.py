"""Sensors of energy, planted as files and as a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tofa_edge.measurement.energy import Meter


@dataclass
class Clock:
    """A clock that goes on while somebody sleeps."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def timed(root: Path) -> tuple[Meter, Callable[[float], None]]:
    """Returns the meter of a machine with a clock of its own, and what makes time pass there."""
    meter, clock = Meter.here(root), Clock()
    assert meter is not None
    return replace(meter, clock=clock, sleep=clock.sleep), clock.sleep


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rapl(root: Path, number: int, name: str, microjoules: int) -> Path:
    folder = root / f"sys/class/powercap/intel-rapl:{number}"
    write(folder / "name", f"{name}\n")
    write(folder / "max_energy_range_uj", "262143328850\n")
    return write(folder / "energy_uj", f"{microjoules}\n")


def test_a_machine_without_a_sensor_has_no_meter(tmp_path: Path) -> None:
    assert Meter.here(tmp_path) is None


def test_counters_count(tmp_path: Path) -> None:
    counter = rapl(tmp_path, 0, "package-0", 5_000_000)
    write(tmp_path / "sys/class/powercap/intel-rapl:0:0/name", "core\n")
    write(tmp_path / "sys/class/powercap/intel-rapl:0:0/energy_uj", "1\n")
    meter, sleep = timed(tmp_path)
    assert meter.name == "rapl package-0"
    calls = 0

    def run() -> None:
        nonlocal calls
        calls += 1
        sleep(0.01)
        counter.write_text(f"{5_000_000 + 100_000 * calls}\n")

    spent = meter.spent(run, 0.2)
    assert spent is not None
    assert spent.joules_per_image == pytest.approx(0.1)
    assert spent.idle_watts == 0


def test_counters_wrap(tmp_path: Path) -> None:
    counter = rapl(tmp_path, 0, "package-0", 262_143_000_000)
    meter, sleep = timed(tmp_path)

    def run() -> None:
        sleep(0.05)
        counter.write_text("100000\n")

    spent = meter.spent(run, 0.04)
    assert spent is not None
    joules = spent.watts * 0.05
    assert joules == pytest.approx(0.429, abs=0.001), "from 262 143.0 J over 262 143.329 to 0.1 J"


@pytest.mark.parametrize(
    ("files", "name", "watts"),
    [
        ({"hwmon/hwmon3/power1_input": "4500000", "hwmon/hwmon3/name": "ina226"}, "ina226", 4.5),
        (
            {
                "hwmon/hwmon1/name": "ina3221",
                "hwmon/hwmon1/in1_label": "VDD_IN",
                "hwmon/hwmon1/in1_input": "5000",
                "hwmon/hwmon1/curr1_input": "900",
                "hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
                "hwmon/hwmon1/in2_input": "5000",
                "hwmon/hwmon1/curr2_input": "100",
            },
            "VDD_IN",
            4.5,
        ),
    ],
)
def test_rails_of_boards(tmp_path: Path, files: dict[str, str], name: str, watts: float) -> None:
    for path, text in files.items():
        write(tmp_path / "sys/class" / path, f"{text}\n")
    meter, sleep = timed(tmp_path)
    assert meter.name == f"ina {name}"
    assert meter.watts is not None
    assert meter.watts() == pytest.approx(watts)
    spent = meter.spent(lambda: sleep(0.01), 0.25)
    assert spent is not None
    assert spent.watts == pytest.approx(watts)
    assert spent.joules_per_image == pytest.approx(watts * 0.01)


def test_older_jetsons(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    for number, rail, milliwatts in ((0, "POM_5V_IN", 3200), (1, "POM_5V_GPU", 100)):
        write(folder / f"rail_name_{number}", f"{rail}\n")
        write(folder / f"in_power{number}_input", f"{milliwatts}\n")
    meter = Meter.here(tmp_path)
    assert meter is not None
    assert meter.name == "ina POM_5V_IN"
    assert meter.watts is not None
    assert meter.watts() == pytest.approx(3.2)


def test_regulators_of_a_raspberry_pi_5(tmp_path: Path) -> None:
    said = """#!/bin/sh
cat <<'END'
     3V7_WL_SW_A current(0)=0.05000000A
     VDD_CORE_A current(7)=2.00000000A
     3V7_WL_SW_V volt(8)=3.70000000V
     VDD_CORE_V volt(15)=0.80000000V
     EXT5V_V volt(24)=5.10000000V
END
"""
    write(tmp_path / "usr/bin/vcgencmd", said).chmod(0o755)
    meter = Meter.here(tmp_path)
    assert meter is not None
    assert meter.watts is not None
    assert meter.watts() == pytest.approx(0.05 * 3.7 + 2 * 0.8)


def test_a_command_that_fails_is_no_sensor(tmp_path: Path) -> None:
    write(tmp_path / "usr/bin/vcgencmd", "#!/bin/sh\nexit 1\n").chmod(0o755)
    assert Meter.here(tmp_path) is None
