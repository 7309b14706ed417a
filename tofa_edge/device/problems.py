"""What is wrong with a machine that is about to be timed, what it costs, and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tofa_edge.device.machine import Fingerprint, State

HOT_C = 75.0  # a Raspberry Pi lowers its clock from 80 °C on (its documentation)
BUSY_LOAD = 0.5  # of the usable cores, beside what is to be timed
MOST_SWAP_BYTES = 64 * 2**20  # less is what start-up left there
RAMPING = ("ondemand", "conservative", "schedutil", "interactive", "powersave")
SCALING_DRIVERS = ("intel_pstate", "amd-pstate-epp")  # their "powersave" follows the load
PERFORMANCE = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that makes latencies worse or less sure than they need to be.

    Attributes:
        what: is wrong.
        cost: of leaving it.
        fix: a command where there is one, else what to do.
    """

    what: str
    cost: str
    fix: str


def problems(fingerprint: Fingerprint, state: State) -> list[Problem]:
    """Returns what is wrong, the worst first; what is not known is not a problem."""
    checks = (_power, _throttling, _heat, _limits, _clocks, _load, _software)
    return [problem for check in checks for problem in check(fingerprint, state)]


def _power(_: Fingerprint, state: State) -> Iterator[Problem]:
    now, before = state.throttled_now or (), state.throttled_since_boot or ()
    if "under-voltage" in now or "under-voltage" in before:
        when = "now" if "under-voltage" in now else "since boot"
        yield Problem(
            f"under-voltage {when}",
            "the clock drops to its lowest whenever the supply sags, and files may be damaged",
            "use the supply made for this board and a short cable, then: sudo reboot",
        )
    if state.on_battery:
        yield Problem(
            "running on battery",
            "clocks are lower than on mains, so latencies are not those of normal use",
            "plug in the mains adapter",
        )
    mode, fastest = state.power_mode, state.fastest_power_mode
    if mode and fastest and mode != fastest:
        yield Problem(
            f"power mode {mode.name}, not {fastest.name}",
            "cores are switched off or clocks are lowered",
            f"sudo nvpmodel -m {fastest.number} && sudo jetson_clocks",
        )


def _throttling(_: Fingerprint, state: State) -> Iterator[Problem]:
    now = [word for word in state.throttled_now or () if word != "under-voltage"]
    before = [word for word in state.throttled_since_boot or () if word != "under-voltage"]
    if now:
        yield Problem(
            f"held back now: {', '.join(now)}",
            "latencies are those of a lower clock, and vary",
            "cool it: heat sink, fan, an open case; wait, then measure again",
        )
    elif before:
        yield Problem(
            f"held back since boot: {', '.join(before)}",
            "it will happen again under a lasting load: measure for minutes, not for seconds",
            "cool it: heat sink, fan, an open case; then: sudo reboot",
        )


def _heat(_: Fingerprint, state: State) -> Iterator[Problem]:
    sensors = state.temperatures_c or {}
    if sensors and max(sensors.values()) >= HOT_C:
        name = max(sensors, key=lambda sensor: sensors[sensor])
        yield Problem(
            f"hot: {sensors[name]:.0f} °C ({name})",
            "clocks will be lowered within minutes of load",
            "cool it: heat sink, fan, an open case",
        )


def _limits(fingerprint: Fingerprint, _: State) -> Iterator[Problem]:
    cores, quota = fingerprint.cores, fingerprint.quota_cores
    if cores is not None and quota is not None and quota < cores:
        yield Problem(
            f"this container may use {quota:g} of {cores} cores' time",
            "with more threads than that it is stopped for the rest of each period: p95 suffers",
            f"docker run --cpus={cores}, or: tofa-edge deploy --threads {max(1, int(quota))}",
        )
    if fingerprint.cpu_bits == 64 and fingerprint.userland_bits == 32:
        yield Problem(
            "32-bit system on a 64-bit processor",
            "no onnxruntime, and half the registers for every other engine",
            "install the 64-bit system",
        )


def _clocks(_: Fingerprint, state: State) -> Iterator[Problem]:
    ramping = [name for name in state.governors or () if name in RAMPING]
    if not ramping:
        return
    stuck = "powersave" in ramping and state.clock_driver not in SCALING_DRIVERS
    yield Problem(
        f"governor {', '.join(ramping)}",
        "the clock stays at its lowest"
        if stuck
        else "the clock ramps up after a pause: first predictions are slower than measured ones",
        PERFORMANCE,
    )


def _load(fingerprint: Fingerprint, state: State) -> Iterator[Problem]:
    load, cores = state.load_average, fingerprint.usable_cores
    if load is not None and load > BUSY_LOAD * (cores or 1):
        yield Problem(
            f"busy: load {load:.1f} on {cores or 'unknown'} cores",
            "other programs take turns with what is timed: p95 is theirs as much as ours",
            "see who it is with: top; stop it, or measure with it running on purpose",
        )
    swap = state.swap_used_bytes
    if swap is not None and swap > MOST_SWAP_BYTES:
        yield Problem(
            f"swap in use: {swap / 2**20:.0f} MiB",
            "memory is short: a prediction that has to wait for the disk takes seconds",
            "stop what you do not need, or deploy a smaller network",
        )


def _software(_: Fingerprint, state: State) -> Iterator[Problem]:
    if state.telemetry_on:
        yield Problem(
            "onnxruntime was imported with its telemetry on",
            "it writes to the home directory and opens connections; later is too late to stop it",
            "export ORT_DISABLE_TELEMETRY=1, then start the program again",
        )
