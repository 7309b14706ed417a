"""Machines, written down from the documentation of their kernels, and what is read from them."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tofa_edge.device.machine import Fingerprint, State, fingerprint, state
from tofa_edge.device.problems import Problem, problems
from tofa_edge.device.sensors import PowerMode
from tofa_edge.storage.plain import from_plain, to_plain

Tree = dict[str, str]

V8_0 = "fp asimd evtstrm crc32 cpuid"
V8_2 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)


def arm_cpuinfo(part: str, cores: int, features: str, tail: str = "") -> str:
    blocks = [
        f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {part}\nCPU revision\t: 3\n"
        for core in range(cores)
    ]
    return "\n".join(blocks) + tail


def clocks(cores: int, governor: str, now_khz: int, most_khz: int, driver: str) -> Tree:
    tree = {"sys/devices/system/cpu/online": f"0-{cores - 1}\n"}
    for core in range(cores):
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        tree |= {
            f"{folder}/scaling_governor": f"{governor}\n",
            f"{folder}/scaling_driver": f"{driver}\n",
            f"{folder}/scaling_cur_freq": f"{now_khz}\n",
            f"{folder}/cpuinfo_max_freq": f"{most_khz}\n",
            f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list": f"{core}\n",
        }
    return tree


def memory(total_mib: int, available_mib: int, swap_mib: int = 0, swap_free_mib: int = 0) -> Tree:
    fields = {
        "MemTotal": total_mib, "MemFree": 1, "MemAvailable": available_mib,
        "SwapTotal": swap_mib, "SwapFree": swap_free_mib,
    }  # fmt: skip
    lines = (f"{name}:{value * 1024:>12} kB\n" for name, value in fields.items())
    return {"proc/meminfo": "".join(lines)}


def raspberry(model: str, part: str, most_khz: int, mib: int, throttled: str = "0") -> Tree:
    features = V8_2 if part == "0xd0b" else V8_0
    soc = "soc@107c000000" if part == "0xd0b" else "soc"
    return {
        "proc/device-tree/model": f"{model}\0",
        "proc/cpuinfo": arm_cpuinfo(part, 4, features, f"\nSerial\t: 10000000\nModel\t: {model}\n"),
        **clocks(4, "ondemand", 600_000, most_khz, "cpufreq-dt"),
        **memory(mib, mib // 2, 100, 100),
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        f"sys/devices/platform/{soc}/{soc}:firmware/get_throttled": f"{throttled}\n",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian"\n',
        "proc/sys/kernel/osrelease": "6.6.51+rpt-rpi-v8\n",
        "proc/loadavg": "0.12 0.20 0.15 1/180 1234\n",
        "bin/sh": "\x7fELF\x02rest",
    }


PI3 = raspberry("Raspberry Pi 3 Model B Plus Rev 1.3", "0xd03", 1_400_000, 906)
PI4 = raspberry("Raspberry Pi 4 Model B Rev 1.5", "0xd08", 1_800_000, 3792, "e0008")
PI5 = raspberry("Raspberry Pi 5 Model B Rev 1.0", "0xd0b", 2_400_000, 8064)
ZERO2 = raspberry("Raspberry Pi Zero 2 W Rev 1.0", "0xd03", 1_000_000, 416, "50005")

ORIN_MODES = """\
# < POWER_MODEL ID=7 of a comment
< PM_CONFIG DEFAULT=1 >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
"""
ORIN_NANO: Tree = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0"
    "nvidia,tegra234\0",
    "proc/cpuinfo": arm_cpuinfo("0xd42", 6, f"{V8_2} uscat ilrcpc flagm paca pacg"),
    **clocks(6, "schedutil", 729_600, 1_510_400, "tegra194"),
    **memory(7620, 5000, 3810, 3000),
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, "
    "EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n",
    "etc/nvpmodel.conf": ORIN_MODES,
    "var/lib/nvpmodel/status": "pmode:0003",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "81500\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "-256000\n",
    "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
    "sys/class/thermal/cooling_device0/cur_state": "3\n",
    "dev/nvidia0": "",
}
NANO: Tree = {
    "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3450-0000\0nvidia,jetson-nano\0nvidia,tegra210\0",
    "proc/cpuinfo": arm_cpuinfo("0xd07", 4, V8_0),
    **clocks(4, "schedutil", 1_479_000, 1_479_000, "tegra"),
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref\n",
    "etc/nvpmodel.conf": "< PM_CONFIG DEFAULT=0 >\n< POWER_MODEL ID=0 NAME=MAXN >\n"
    "< POWER_MODEL ID=1 NAME=5W >\n",
    "sys/devices/gpu.0/load": "0\n",
}


def x86_cpuinfo(model: str, flags: str, cores: int) -> str:
    return "\n".join(
        f"processor\t: {core}\nvendor_id\t: GenuineIntel\nmodel name\t: {model}\n"
        f"cpu MHz\t\t: 1800.000\nflags\t\t: {flags}\n"
        for core in range(cores)
    )


SUPPLIES = "sys/class/power_supply"
CPUS = "sys/devices/system/cpu"
USB = "sys/bus/usb/devices/1-1"
LAPTOP: Tree = {
    "sys/class/dmi/id/sys_vendor": "LENOVO\n",
    "sys/class/dmi/id/product_name": "20XW0026GE\n",
    "proc/cpuinfo": x86_cpuinfo(
        "11th Gen Intel(R) Core(TM) i7-1165G7 @  2.80GHz",
        "fpu lm avx f16c fma avx2 avx512f avx512_vnni",
        8,
    ),
    **clocks(8, "powersave", 1_200_000, 4_700_000, "intel_pstate"),
    **{f"{CPUS}/cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}" for n in range(8)},
    **memory(15_800, 9_000),
    f"{SUPPLIES}/AC/type": "Mains\n",
    f"{SUPPLIES}/AC/online": "0\n",
    f"{SUPPLIES}/BAT0/type": "Battery\n",
    f"{SUPPLIES}/BAT0/status": "Discharging\n",
    f"{SUPPLIES}/hidpp_battery_0/type": "Battery\n",
    f"{SUPPLIES}/hidpp_battery_0/scope": "Device\n",
    f"{SUPPLIES}/hidpp_battery_0/status": "Discharging\n",
    "sys/class/hwmon/hwmon3/name": "coretemp\n",
    "sys/class/hwmon/hwmon3/temp1_input": "52000\n",
    "sys/class/hwmon/hwmon3/temp2_input": "55000\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "12\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "30\n",
}
SERVER = {
    "proc/cpuinfo": x86_cpuinfo("AMD EPYC 7763", "fpu lm avx avx2", 16),
    **memory(64_000, 60_000),
    "sys/devices/system/cpu/online": "0-15\n",
    "proc/loadavg": "9.50 3.00 1.00 2/900 77\n",
    "proc/self/status": "Name:\tpython3\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,8,10-11\n",
}
CONTAINER_V2 = SERVER | {
    "proc/self/cgroup": "0::/system.slice/docker-1a.scope\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/memory.max": "536870912\n",
}
CONTAINER_V1 = SERVER | {
    "proc/self/cgroup": "12:memory:/docker/1a\n4:cpu,cpuacct:/docker/1a\n1:name=systemd:/x\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu,cpuacct/docker/1a/cpu.cfs_quota_us": "400000\n",
    "sys/fs/cgroup/cpu,cpuacct/docker/1a/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/docker/1a/memory.limit_in_bytes": "1073741824\n",
}
MACHINES = {
    "pi3": PI3, "pi4": PI4, "pi5": PI5, "zero2": ZERO2, "orin": ORIN_NANO, "nano": NANO,
    "laptop": LAPTOP, "v2": CONTAINER_V2, "v1": CONTAINER_V1, "empty": {},
}  # fmt: skip


def planted(root: Path, tree: Mapping[str, str | bytes]) -> Path:
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
    return root


def examined(root: Path, tree: Tree) -> tuple[Fingerprint, State, list[Problem]]:
    planted(root, tree)
    found, moving = fingerprint(root), state(root)
    return found, moving, problems(found, moving)


def named(found: list[Problem], words: str) -> Problem:
    """The problem that contains the words, its only one."""
    (problem,) = (item for item in found if words in item.what)
    return problem


@pytest.mark.parametrize(
    ("tree", "design", "clock_mhz", "mib"),
    [(PI3, "Cortex-A53", 1400, 906), (PI4, "Cortex-A72", 1800, 3792),
     (PI5, "Cortex-A76", 2400, 8064), (ZERO2, "Cortex-A53", 1000, 416)],
)  # fmt: skip
def test_raspberry_pi(tmp_path: Path, tree: Tree, design: str, clock_mhz: int, mib: int) -> None:
    found, moving, _ = examined(tmp_path, tree)
    assert found.board == tree["proc/device-tree/model"].strip("\0")
    assert found.processors == {design: 4}
    assert (found.architecture, found.cpu_bits, found.userland_bits) == ("aarch64", 64, 64)
    assert (found.cores, found.physical_cores, found.usable_cores) == (4, 4, 4)
    assert found.maximum_clock_mhz == clock_mhz
    assert found.memory_bytes == mib * 2**20
    assert found.features is not None
    assert ("asimddp" in found.features) == ("fphp" in found.features) == (design == "Cortex-A76")
    assert found.operating_system == "Debian GNU/Linux 12 (bookworm)"
    assert moving.governors == ("ondemand",)
    assert moving.clocks_mhz == (600.0,) * 4
    assert moving.temperatures_c == {"cpu-thermal": 48.312}
    assert (moving.load_average, moving.swap_used_bytes, moving.on_battery) == (0.12, 0, None)


def test_well_powered_cool_pi_has_its_governor_as_only_problem(tmp_path: Path) -> None:
    _, moving, found = examined(tmp_path, PI5)
    assert (moving.throttled_now, moving.throttled_since_boot) == ((), ())
    assert [problem.what for problem in found] == ["governor ondemand"]
    assert "sudo tee" in found[0].fix


def test_throttling_since_boot_is_told_from_throttling_now(tmp_path: Path) -> None:
    _, moving, found = examined(tmp_path, PI4)
    assert moving.throttled_now == ("soft temperature limit",)
    assert moving.throttled_since_boot == (
        "frequency capped",
        "throttled",
        "soft temperature limit",
    )
    assert named(found, "held back now: soft temperature limit")


def test_under_voltage_comes_first(tmp_path: Path) -> None:
    _, moving, found = examined(tmp_path, ZERO2)
    assert moving.throttled_now == moving.throttled_since_boot == ("under-voltage", "throttled")
    assert found[0].what == "under-voltage now"
    assert named(found, "held back now: throttled")


@pytest.mark.parametrize("bit", range(4))
def test_every_throttling_bit_has_its_word(tmp_path: Path, bit: int) -> None:
    words = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
    path = "sys/devices/platform/soc/soc:firmware/get_throttled"
    _, moving, _ = examined(tmp_path, {path: f"{1 << bit:x}\n"})
    assert (moving.throttled_now, moving.throttled_since_boot) == ((words[bit],), ())
    _, moving, _ = examined(tmp_path, {path: f"0x{1 << bit + 16:X}\n"})
    assert (moving.throttled_now, moving.throttled_since_boot) == ((), (words[bit],))


def test_pi_on_a_mainline_kernel_still_tells_under_voltage(tmp_path: Path) -> None:
    folder = "sys/class/hwmon/hwmon1"
    tree = {f"{folder}/name": "rpi_volt\n", f"{folder}/in0_lcrit_alarm": "1\n"}
    _, moving, found = examined(tmp_path, tree)
    assert (moving.throttled_now, moving.throttled_since_boot) == (("under-voltage",), None)
    assert named(found, "under-voltage now")


def test_32_bit_system_on_a_64_bit_pi(tmp_path: Path) -> None:
    old = PI3 | {
        "proc/cpuinfo": arm_cpuinfo("0xd03", 4, "half thumb fastmult vfp neon vfpv4").replace(
            "architecture: 8", "architecture: 7"
        ),
        "bin/sh": "\x7fELF\x01rest",
    }
    found, _, wrong = examined(tmp_path, old)
    assert (found.architecture, found.cpu_bits, found.userland_bits) == ("armv7l", 64, 32)
    assert found.features == ("neon",)
    assert "64-bit system" in named(wrong, "32-bit system").fix


def test_jetson_orin_nano_in_its_lowest_mode(tmp_path: Path) -> None:
    found, moving, wrong = examined(tmp_path, ORIN_NANO)
    assert found.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found.board_release == "L4T 36.4.3"
    assert found.processors == {"Cortex-A78AE": 6}
    assert found.accelerators == ("NVIDIA Ampere GPU (Jetson)",)
    assert moving.power_mode == PowerMode(3, "7W")
    assert moving.fastest_power_mode == PowerMode(2, "MAXN_SUPER")
    assert moving.temperatures_c == {"cpu-thermal": 81.5}
    assert moving.throttled_now == ("frequency capped",)
    assert "nvpmodel -m 2" in named(wrong, "power mode 7W").fix
    assert named(wrong, "hot: 82 °C")
    assert named(wrong, "swap in use: 810 MiB")


def test_jetson_nano_in_its_default_mode(tmp_path: Path) -> None:
    found, moving, wrong = examined(tmp_path, NANO)
    assert found.board_release == "L4T 32.7.1"
    assert found.processors == {"Cortex-A57": 4}
    assert found.accelerators == ("NVIDIA Maxwell GPU (Jetson)",)
    assert moving.power_mode == moving.fastest_power_mode == PowerMode(0, "MAXN")
    assert [problem.what for problem in wrong] == ["governor schedutil"]


def test_laptop_on_battery(tmp_path: Path) -> None:
    found, moving, wrong = examined(tmp_path, LAPTOP)
    assert found.board == "LENOVO 20XW0026GE"
    assert found.processors == {"11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz": 8}
    assert (found.architecture, found.cores, found.physical_cores) == ("x86_64", 8, 4)
    assert found.features == ("avx", "fma", "f16c", "avx2", "avx512f", "avx512_vnni")
    assert moving.temperatures_c == {"coretemp": 55.0}
    assert moving.throttle_events == 42
    assert moving.throttled_since_boot == ("throttled",)
    assert moving.on_battery
    assert named(wrong, "running on battery")
    assert "ramps up" in named(wrong, "governor powersave").cost


def test_powersave_of_another_driver_is_the_lowest_clock(tmp_path: Path) -> None:
    _, _, wrong = examined(tmp_path, clocks(2, "powersave", 600_000, 1_500_000, "cpufreq-dt"))
    assert "stays at its lowest" in named(wrong, "governor powersave").cost


def test_plugged_in_laptop_is_not_on_battery(tmp_path: Path) -> None:
    _, moving, _ = examined(tmp_path, LAPTOP | {f"{SUPPLIES}/AC/online": "1\n"})
    assert moving.on_battery is False


def test_container_with_control_groups_v2(tmp_path: Path) -> None:
    found, _, wrong = examined(tmp_path, CONTAINER_V2)
    assert (found.cores, found.allowed_cores, found.quota_cores) == (16, 7, 1.5)
    assert found.usable_cores == 1
    assert found.memory_limit_bytes == 2**29
    assert "--threads 1" in named(wrong, "1.5 of 16 cores").fix
    assert named(wrong, "busy: load 9.5 on 1 cores")


def test_container_with_control_groups_v1(tmp_path: Path) -> None:
    found, _, _ = examined(tmp_path, CONTAINER_V1)
    assert (found.quota_cores, found.usable_cores) == (4.0, 4)
    assert found.memory_limit_bytes == 2**30


def test_no_limit_is_none(tmp_path: Path) -> None:
    free = {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"}
    found, _, _ = examined(tmp_path, SERVER | free)
    assert (found.quota_cores, found.memory_limit_bytes, found.usable_cores) == (None, None, 7)


@pytest.mark.parametrize(
    ("tree", "accelerator"),
    [
        ({"dev/hailo0": ""}, "Hailo"),
        ({"dev/apex_0": ""}, "Coral Edge TPU (PCIe)"),
        ({f"{USB}/idVendor": "18d1\n", f"{USB}/idProduct": "9302\n"},
         "Coral Edge TPU (USB)"),
        ({"proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0",
          "sys/class/devfreq/fdab0000.npu/cur_freq": "1\n"}, "Rockchip NPU"),
        ({"dev/nvidia0": "", "proc/driver/nvidia/gpus/0000:01:00.0/information":
          "Model: \t\t NVIDIA GeForce RTX 3060\nIRQ: 1\n"}, "NVIDIA GeForce RTX 3060"),
        ({"dev/nvidia0": ""}, "NVIDIA GPU"),
        ({"dev/accel/accel0": ""}, "NPU (/dev/accel/accel0)"),
    ],
)  # fmt: skip
def test_accelerators(tmp_path: Path, tree: Tree, accelerator: str) -> None:
    assert fingerprint(planted(tmp_path, tree)).accelerators == (accelerator,)


def test_two_kinds_of_cores_are_told_apart(tmp_path: Path) -> None:
    big, little = arm_cpuinfo("0xd0b", 4, V8_2), arm_cpuinfo("0xd05", 4, V8_0)
    found = fingerprint(planted(tmp_path, {"proc/cpuinfo": f"{little}\n{big}"}))
    assert found.processors == {"Cortex-A55": 4, "Cortex-A76": 4}
    assert found.features == ("asimd",)  # only what every core has


def test_design_nobody_knows_keeps_its_number(tmp_path: Path) -> None:
    found = fingerprint(planted(tmp_path, {"proc/cpuinfo": arm_cpuinfo("0xfff", 1, V8_0)}))
    assert found.processors == {"ARM part 0x41/0xfff": 1}


def test_placeholders_are_no_board(tmp_path: Path) -> None:
    tree = {
        "sys/class/dmi/id/sys_vendor": "To Be Filled By O.E.M.\n",
        "sys/class/dmi/id/product_name": "System Product Name\n",
    }
    assert fingerprint(planted(tmp_path, tree)).board is None


def test_empty_tree_knows_nothing(tmp_path: Path) -> None:
    found, moving, wrong = examined(tmp_path, {})
    assert (found, moving, wrong) == (Fingerprint(), State(), [])
    assert found.usable_cores is None


def test_missing_root_knows_nothing(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "no such folder") == Fingerprint()


def test_links_do_not_lead_out_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").symlink_to("/proc/cpuinfo")
    (tmp_path / "sys").symlink_to("/sys")
    assert fingerprint(tmp_path) == Fingerprint()
    assert state(tmp_path) == State()


def test_pipes_folders_and_loops_are_not_read(tmp_path: Path) -> None:
    planted(tmp_path, {"proc/loadavg/here": "", "sys/x": ""})
    os.mkfifo(tmp_path / "proc/cpuinfo")
    (tmp_path / "proc/meminfo").symlink_to("meminfo")
    assert fingerprint(tmp_path) == Fingerprint()
    assert state(tmp_path) == State()


def test_unreadable_files_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    planted(tmp_path, PI4)
    monkeypatch.setattr(Path, "open", refuse)
    assert fingerprint(tmp_path) == Fingerprint()
    assert state(tmp_path) == State()


@pytest.mark.parametrize("junk", [b"", b"\0" * 64, b"\xff\xfe\x00junk", b"9" * 40, b"-1", b"\n\n"])
@pytest.mark.parametrize("name", MACHINES)
def test_junk_in_every_file(tmp_path: Path, name: str, junk: bytes) -> None:
    planted(tmp_path, dict.fromkeys(MACHINES[name], junk))
    found, moving = fingerprint(tmp_path), state(tmp_path)
    assert isinstance(problems(found, moving), list)
    assert from_plain(Fingerprint, json.loads(json.dumps(to_plain(found)))) == found
    assert from_plain(State, json.loads(json.dumps(to_plain(moving)))) == moving


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_bytes_in_any_file_never_raise(tmp_path: Path, data: st.DataObject) -> None:
    tree = MACHINES[data.draw(st.sampled_from(sorted(MACHINES)))]
    root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    planted(root, tree)
    for name in data.draw(st.lists(st.sampled_from(sorted(tree) or [""]), max_size=6)):
        if name:
            whole = tree[name].encode("latin-1")
            cut, junk = data.draw(st.integers(0, len(whole))), data.draw(st.binary(max_size=40))
            (root / name).write_bytes(whole[:cut] + junk + whole[cut + 1 :])
    found, moving = fingerprint(root), state(root)
    problems(found, moving)
    assert from_plain(Fingerprint, json.loads(json.dumps(to_plain(found)))) == found
    assert from_plain(State, json.loads(json.dumps(to_plain(moving)))) == moving


@pytest.mark.parametrize("name", MACHINES)
def test_json_round_trip(tmp_path: Path, name: str) -> None:
    found, moving, _ = examined(tmp_path, MACHINES[name])
    assert from_plain(Fingerprint, json.loads(json.dumps(to_plain(found)))) == found
    assert from_plain(State, json.loads(json.dumps(to_plain(moving)))) == moving


@pytest.mark.parametrize(
    "value",
    [None, [], {"board": 3}, {"abacus": 1}, {"cores": True}, {"cores": 1.5}, {"features": "avx"},
     {"processors": {"A": "4"}}, {"maximum_clock_mhz": float("nan")}, {"board": "\x1b[31m"}],
)  # fmt: skip
def test_wrong_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        from_plain(Fingerprint, value)


def test_this_machine() -> None:
    found, moving = fingerprint(), state()
    assert found.architecture == platform.machine()
    assert found.allowed_cores == len(os.sched_getaffinity(0))
    assert found.python == platform.python_version()
    assert found.memory_bytes is None or found.memory_bytes > 2**20
    assert from_plain(Fingerprint, to_plain(found)) == found
    assert from_plain(State, to_plain(moving)) == moving
    assert all(problem.fix for problem in problems(found, moving))


@pytest.mark.parametrize(
    ("version", "variable", "expected"),
    [("1.29.0", None, True), ("1.29.0", "1", False), ("1.20.1", None, False), ("junk", None, None)],
)
def test_telemetry_that_was_left_on_is_told(
    monkeypatch: pytest.MonkeyPatch, version: str, variable: str | None, expected: bool | None
) -> None:
    module = ModuleType("onnxruntime")
    module.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if variable is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", variable)
    moving = state()
    assert moving.telemetry_on is expected
    told = [item for item in problems(Fingerprint(), moving) if "telemetry" in item.what]
    assert bool(told) is bool(expected)


def test_engine_imported_by_another_keeps_telling(monkeypatch: pytest.MonkeyPatch) -> None:
    from tofa_edge.backends import onnxruntime

    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    onnxruntime.engine()
    assert "ORT_DISABLE_TELEMETRY" not in os.environ
