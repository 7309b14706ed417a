"""The machine: what it is (`fingerprint`), and how it is doing (`state`).

Both are read from files alone; nothing is executed, and nothing fails: what a machine does not say,
or says in a way that makes no sense, is None. With a root other than "/" they read a recorded copy
of a machine, and nothing of this one.
"""

from __future__ import annotations

import os
import platform
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tofa_edge.device import sensors as device_sensors
from tofa_edge.device import sources as device_sources
from tofa_edge.device.files import Files
from tofa_edge.device.sensors import PowerMode

TELEMETRY_SINCE = (1, 29)  # the first onnxruntime that sends it on Linux


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What does not change while the machine runs; None where it does not say.

    Attributes:
        board: by the device tree or the firmware, such as "Raspberry Pi 4 Model B Rev 1.5".
        board_release: of the maker's own system, such as "L4T 36.4.3" on a Jetson.
        architecture: of the kernel, as `uname -m` says it.
        cpu_bits: 32 or 64: what the processor can do.
        userland_bits: 32 or 64: what the programs here are built for.
        processors: logical cores by the name of their design, such as {"Cortex-A76": 4}.
        features: instructions that matter to inference (`device_sources.FEATURES`).
        cores: logical cores that are switched on.
        physical_cores: without counting the threads of one core twice.
        allowed_cores: logical cores that this process may run on (affinity, cpuset).
        quota_cores: processor time its control groups allow, in cores; None also for no limit.
        maximum_clock_mhz: of the fastest core.
        memory_bytes: of the machine.
        memory_limit_bytes: what its control groups allow; None also for no limit.
        accelerators: GPUs and neural processors whose drivers are loaded.
        operating_system: the release's name.
        kernel: its release.
        python: the version that runs us.
    """

    board: str | None = None
    board_release: str | None = None
    architecture: str | None = None
    cpu_bits: int | None = None
    userland_bits: int | None = None
    processors: Mapping[str, int] | None = None
    features: tuple[str, ...] | None = None
    cores: int | None = None
    physical_cores: int | None = None
    allowed_cores: int | None = None
    quota_cores: float | None = None
    maximum_clock_mhz: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    accelerators: tuple[str, ...] = ()
    operating_system: str | None = None
    kernel: str | None = None
    python: str | None = None

    @property
    def usable_cores(self) -> int | None:
        """Threads that can really run at once: the least of cores, affinity and quota."""
        quota = None if self.quota_cores is None else max(1, int(self.quota_cores))
        known = [n for n in (self.cores, self.allowed_cores, quota) if n is not None]
        return min(known, default=None)


@dataclass(frozen=True, slots=True)
class State:
    """What moves; None where the machine does not say.

    Attributes:
        governors: of the clocks, each once.
        clock_driver: of the kernel; it decides what a governor's name means.
        clocks_mhz: of each core at this moment.
        temperatures_c: in °C, by sensor.
        throttled_now: what holds the processor back: "under-voltage", "frequency capped",
            "throttled", "soft temperature limit"; empty for nothing.
        throttled_since_boot: the same, for what happened since boot.
        throttle_events: of an x86 processor since boot; compare before and after a measurement.
        power_mode: of a Jetson.
        fastest_power_mode: that it offers.
        load_average: processes that wanted to run, over the last minute.
        available_memory_bytes: that programs can still have.
        swap_used_bytes: zero without swap.
        on_battery: whether a battery feeds it; None where there is none.
        telemetry_on: whether an onnxruntime that sends telemetry was imported before it could be
            told not to; None where it is not imported.
    """

    governors: tuple[str, ...] | None = None
    clock_driver: str | None = None
    clocks_mhz: tuple[float, ...] | None = None
    temperatures_c: Mapping[str, float] | None = None
    throttled_now: tuple[str, ...] | None = None
    throttled_since_boot: tuple[str, ...] | None = None
    throttle_events: int | None = None
    power_mode: PowerMode | None = None
    fastest_power_mode: PowerMode | None = None
    load_average: float | None = None
    available_memory_bytes: int | None = None
    swap_used_bytes: int | None = None
    on_battery: bool | None = None
    telemetry_on: bool | None = None


def fingerprint(root: Path = Path("/")) -> Fingerprint:
    """Returns what a machine is by the files below `root`: "/", or a copy of a machine's."""
    files = Files(Path(root))
    blocks = device_sources.cpuinfo(files)
    processors = device_sources.processors(blocks)
    online = device_sources.count_in_list(files.line("sys/devices/system/cpu/online"))
    live = platform.machine(), struct.calcsize("P") * 8, os.cpu_count(), platform.python_version()
    machine, bits, cores, python = live if files.live else (None, None, None, None)
    return Fingerprint(
        board=device_sources.board(files, blocks),
        board_release=device_sources.jetson_release(files),
        architecture=machine or device_sources.architecture(files, blocks),
        cpu_bits=device_sources.cpu_bits(blocks),
        userland_bits=bits or device_sources.userland_bits(files),
        processors=processors,
        features=device_sources.features(blocks),
        cores=online or (sum(processors.values()) if processors else None) or cores,
        physical_cores=device_sources.physical_cores(files),
        allowed_cores=_allowed_cores(files),
        quota_cores=device_sources.quota_cores(files),
        maximum_clock_mhz=device_sensors.maximum_clock_mhz(files),
        memory_bytes=device_sources.memory_fields(files).get("MemTotal"),
        memory_limit_bytes=device_sources.memory_limit_bytes(files),
        accelerators=device_sources.accelerators(files),
        operating_system=device_sources.operating_system(files),
        kernel=files.line("proc/sys/kernel/osrelease"),
        python=python,
    )


def state(root: Path = Path("/")) -> State:
    """Returns how a machine is doing by the files below `root`, as in `fingerprint`."""
    files = Files(Path(root))
    memory = device_sources.memory_fields(files)
    swap = memory.get("SwapTotal"), memory.get("SwapFree")
    now, since_boot = device_sensors.throttled(files)
    mode, fastest = device_sensors.power_modes(files)
    return State(
        governors=device_sensors.governors(files),
        clock_driver=files.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"),
        clocks_mhz=device_sensors.clocks_mhz(files),
        temperatures_c=device_sensors.temperatures_c(files),
        throttled_now=now,
        throttled_since_boot=since_boot,
        throttle_events=device_sensors.throttle_events(files),
        power_mode=mode,
        fastest_power_mode=fastest,
        load_average=device_sensors.load_average(files),
        available_memory_bytes=memory.get("MemAvailable"),
        swap_used_bytes=None if None in swap else max(0, swap[0] - swap[1]),  # type: ignore[operator]
        on_battery=device_sensors.on_battery(files),
        telemetry_on=_telemetry_on() if files.live else None,
    )


def available_memory_bytes() -> int | None:
    """Returns how much memory programs here can still have; None where the machine does not say."""
    known = (state().available_memory_bytes, fingerprint().memory_limit_bytes)
    return min((size for size in known if size is not None), default=None)


def _allowed_cores(files: Files) -> int | None:
    if files.live and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return device_sources.allowed_cores(files)


def _telemetry_on() -> bool | None:
    engine = sys.modules.get("onnxruntime")
    if engine is None:
        return None
    words = str(getattr(engine, "__version__", "")).split(".")[:2]
    if not all(word.isdecimal() for word in words) or len(words) < 2:
        return None
    version = (int(words[0]), int(words[1]))
    return version >= TELEMETRY_SINCE and "ORT_DISABLE_TELEMETRY" not in os.environ
