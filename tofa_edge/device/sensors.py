"""What moves on a machine: clocks, heat, throttling, load, power, read from its files.

Every function answers None where the machine does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tofa_edge.device.files import Files, printable

# Bits of the firmware's answer, "now" below, "since boot" 16 bits higher (Raspberry Pi
# documentation, vcgencmd get_throttled).
RASPBERRY_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
SINCE_BOOT_SHIFT = 16
TEMPERATURES_C = (-40.0, 150.0)  # outside, a sensor that is off says so in its own way


def governors(files: Files) -> tuple[str, ...] | None:
    """Returns the frequency governors in use, each once."""
    paths = files.find("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
    return tuple(sorted({name for path in paths if (name := files.line(path))})) or None


def clocks_mhz(files: Files) -> tuple[float, ...] | None:
    """Returns the clock of each core now."""
    kilohertz = files.numbers("sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")
    if kilohertz:
        return tuple(value / 1000 for value in kilohertz)
    text = files.text("proc/cpuinfo") or ""
    clocks = re.findall(r"^cpu MHz\s*: (\d{1,6}(?:\.\d{1,6})?)$", text, re.MULTILINE | re.ASCII)
    return tuple(map(float, clocks)) or None


def maximum_clock_mhz(files: Files) -> float | None:
    """Returns the highest clock that any core has."""
    kilohertz = files.numbers("sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq")
    return max(kilohertz) / 1000 if kilohertz else None


def temperatures_c(files: Files) -> dict[str, float] | None:
    """Returns temperatures in °C by sensor; the hottest where several have one name."""
    hottest: dict[str, float] = {}
    for name, millidegrees in _sensors(files):
        low, high = TEMPERATURES_C
        if name and millidegrees is not None and low <= millidegrees / 1000 <= high:
            hottest[name] = max(hottest.get(name, low), millidegrees / 1000)
    return hottest or None


def _sensors(files: Files) -> Iterator[tuple[str | None, int | None]]:
    for zone in files.find("sys/class/thermal/thermal_zone*"):
        yield files.line(f"{zone}/type"), files.number(f"{zone}/temp")
    for path in files.find("sys/class/hwmon/hwmon*/temp*_input"):
        folder = path.rpartition("/")[0]
        yield files.line(f"{folder}/name"), files.number(path)


def throttled(files: Files) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Returns what holds the processor back now, and what did since boot."""
    now, since_boot = _raspberry_throttled(files)
    capped = _cooling(files)
    if capped is not None:
        now = tuple(dict.fromkeys((*(now or ()), *(("frequency capped",) if capped else ()))))
    events = throttle_events(files)
    if events is not None:
        since_boot = (*(since_boot or ()), *(("throttled",) if events else ()))
    return now, since_boot


def _raspberry_throttled(files: Files) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    for path in files.find("sys/devices/platform/soc*/*firmware/get_throttled"):
        match = re.fullmatch(r"(?:0x)?([0-9a-f]{1,8})", files.line(path) or "", re.IGNORECASE)
        if match:
            bits = int(match[1], 16)
            return _words(bits), _words(bits >> SINCE_BOOT_SHIFT)
    for path in files.find("sys/class/hwmon/hwmon*/in0_lcrit_alarm"):
        if files.line(f"{path.rpartition('/')[0]}/name") == "rpi_volt":
            return (("under-voltage",) if files.number(path) else ()), None
    return None, None


def _words(bits: int) -> tuple[str, ...]:
    return tuple(word for bit, word in enumerate(RASPBERRY_BITS) if bits >> bit & 1)


def _cooling(files: Files) -> bool | None:
    """Returns whether the kernel slows a processor down because of its heat."""
    states = [
        files.number(f"{device}/cur_state")
        for device in files.find("sys/class/thermal/cooling_device*")
        if re.search(r"cpufreq|^Processor$|throttle-alert", files.line(f"{device}/type") or "")
    ]
    known = [state for state in states if state is not None]
    return any(known) if known else None


def throttle_events(files: Files) -> int | None:
    """Returns how often an x86 processor was too hot since boot; compare it before and after."""
    counts = files.numbers("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")
    return sum(counts) if counts else None


@dataclass(frozen=True, slots=True)
class PowerMode:
    """A power mode of a Jetson."""

    number: int  # for `nvpmodel -m`
    name: str  # such as "15W"


def power_modes(files: Files) -> tuple[PowerMode | None, PowerMode | None]:
    """Returns a Jetson's power mode, and the fastest that it offers."""
    text = files.text("etc/nvpmodel.conf") or ""
    pattern = r"<\s*POWER_MODEL\s+ID=(\d{1,3})\s+NAME=([^\s>]{1,40})"
    names = {int(number): name for number, name in re.findall(pattern, text, re.ASCII)}
    modes = [PowerMode(number, clean) for number, n in names.items() if (clean := printable(n))]
    status = files.text("var/lib/nvpmodel/status") or ""
    match = re.search(r"pmode:(\d{1,6})", status, re.ASCII) or re.search(
        r"PM_CONFIG\s+DEFAULT=(\d{1,3})", text, re.ASCII
    )
    current = next((mode for mode in modes if match and mode.number == int(match[1])), None)
    return current, max(modes, key=_power, default=None)


def _power(mode: PowerMode) -> float:
    """Orders power modes by their names: 7W < 15W < MAXN < MAXN_SUPER."""
    if mode.name.startswith("MAXN"):
        return 1e6 + len(mode.name)
    watts = "".join(letter for letter in mode.name.partition("W")[0] if "0" <= letter <= "9")
    return float(watts or 0)


def load_average(files: Files) -> float | None:
    """Returns how many processes wanted to run in the last minute, on average."""
    match = re.match(r"\d{1,6}\.\d{1,3}", files.line("proc/loadavg") or "", re.ASCII)
    return float(match[0]) if match else None


def on_battery(files: Files) -> bool | None:
    """Returns whether a battery feeds the machine; None where nothing says so."""
    mains, discharging = [], []
    for supply in files.find("sys/class/power_supply/*"):
        kind = files.line(f"{supply}/type")
        if kind in ("Mains", "USB"):
            mains += [files.number(f"{supply}/online")]
        elif kind == "Battery" and files.line(f"{supply}/scope") != "Device":  # not a mouse's
            discharging += [files.line(f"{supply}/status") == "Discharging"]
    if not discharging:
        return None
    return any(discharging) and not any(mains)
