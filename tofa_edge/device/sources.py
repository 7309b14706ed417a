"""What a machine is: board, processor, limits and accelerators, read from its files.

Every function answers None (or nothing) where the machine does not say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from tofa_edge.device.files import Files, printable

MOST_DEPTH = 64  # of control groups within each other

# Names of processor designs by implementer and part, as in the Main ID Register (Arm Architecture
# Reference Manual, MIDR_EL1); the numbers are those of Linux's arch/arm64/include/asm/cputype.h.
ARM_PARTS: Mapping[int, Mapping[int, str]] = {
    0x41: {
        0xB76: "ARM1176", 0xC05: "Cortex-A5", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8",
        0xC09: "Cortex-A9", 0xC0E: "Cortex-A17", 0xC0F: "Cortex-A15", 0xD01: "Cortex-A32",
        0xD02: "Cortex-A34", 0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55",
        0xD06: "Cortex-A65", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72", 0xD09: "Cortex-A73",
        0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77",
        0xD0E: "Cortex-A76AE", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE",
        0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710", 0xD48: "Cortex-X2",
        0xD49: "Neoverse-N2", 0xD4A: "Neoverse-E1", 0xD4B: "Cortex-A78C", 0xD4D: "Cortex-A715",
        0xD4E: "Cortex-X3", 0xD4F: "Neoverse-V2", 0xD80: "Cortex-A520", 0xD81: "Cortex-A720",
        0xD82: "Cortex-X4",
    },
    0x4E: {0x000: "NVIDIA Denver", 0x003: "NVIDIA Denver 2", 0x004: "NVIDIA Carmel"},
    0x51: {
        0x001: "Qualcomm Oryon", 0x800: "Kryo 2xx Gold", 0x801: "Kryo 2xx Silver",
        0x802: "Kryo 3xx Gold", 0x803: "Kryo 3xx Silver", 0x804: "Kryo 4xx Gold",
        0x805: "Kryo 4xx Silver",
    },
}  # fmt: skip
FIRST_64_BIT_PART = 0xD02  # of Arm's own designs; Cortex-A32 before it has no 64-bit state

# Instructions that decide how fast, and how exact, fp32, fp16 and int8 run (names of the kernel).
FEATURES = (
    "neon", "asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
    "avx", "fma", "f16c", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
)  # fmt: skip

# Names that makers of mainboards leave in the firmware.
PLACEHOLDERS = re.compile(r"to be filled|default string|system (product|manufact)|^none$|o\.e\.m\.")

JETSON_GPUS = {  # of the chip in the device tree's "compatible"
    "nvidia,tegra210": "NVIDIA Maxwell GPU (Jetson)",
    "nvidia,tegra186": "NVIDIA Pascal GPU (Jetson)",
    "nvidia,tegra194": "NVIDIA Volta GPU (Jetson)",
    "nvidia,tegra234": "NVIDIA Ampere GPU (Jetson)",
    "nvidia,tegra264": "NVIDIA Blackwell GPU (Jetson)",
}
CORAL_USB = (("1a6e", "089a"), ("18d1", "9302"))  # before and after its firmware is loaded

Block = Mapping[str, str]


def cpuinfo(files: Files) -> list[Block]:
    """Returns the key-value blocks of /proc/cpuinfo: one a logical core, and perhaps one more."""
    blocks: list[Block] = []
    for paragraph in re.split(r"\n\s*\n", files.text("proc/cpuinfo") or ""):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        block = {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}
        if block:
            blocks.append(block)
    return blocks


def processors(blocks: list[Block]) -> dict[str, int] | None:
    """Returns the logical cores by the name of their design, in the order of the cores."""
    names = Counter(name for block in blocks if (name := _processor_name(block)))
    cores = sum(block.get("processor", "").isdigit() for block in blocks)
    if len(names) == 1 and cores > 1:  # old kernels name the design once, behind all cores
        return {next(iter(names)): cores}
    return dict(names) or None


def _processor_name(block: Block) -> str | None:
    part = _arm_part(block)
    if part is not None:
        implementer, number = part
        known = ARM_PARTS.get(implementer, {}).get(number)
        return known or f"ARM part {implementer:#x}/{number:#x}"
    return printable(" ".join(block.get("model name", "").split()))


def _arm_part(block: Block) -> tuple[int, int] | None:
    try:
        return int(block["cpu implementer"], 16), int(block["cpu part"], 16)
    except (KeyError, ValueError):
        return None


def features(blocks: list[Block]) -> tuple[str, ...] | None:
    """Returns which of `FEATURES` every core has; None where the kernel lists none."""
    lists = [block.get("features") or block.get("flags") for block in blocks]
    sets = [set(words.split()) for words in lists if words]
    if not sets:
        return None
    common = set.intersection(*sets)
    return tuple(name for name in FEATURES if name in common)


def cpu_bits(blocks: list[Block]) -> int | None:
    """Returns 64 or 32: what the processor can do, whatever runs on it."""
    for block in blocks:
        part = _arm_part(block)
        if part is not None:
            implementer, number = part
            return 32 if implementer == 0x41 and number < FIRST_64_BIT_PART else 64
        if "flags" in block:
            return 64 if "lm" in block["flags"].split() else 32
    return None


def architecture(files: Files, blocks: list[Block]) -> str | None:
    """Returns the kernel's architecture, as `uname -m` would, of a machine that is not this one."""
    named = files.line("proc/sys/kernel/arch")
    if named:
        return named
    for block in blocks:
        if "cpu architecture" in block:
            return "aarch64" if "asimd" in block.get("features", "").split() else "armv7l"
        if "flags" in block:
            return "x86_64" if "lm" in block["flags"].split() else "i686"
    return None


def userland_bits(files: Files) -> int | None:
    """Returns 64 or 32, from the header of the shell: a 64-bit kernel runs either."""
    for path in ("bin/sh", "usr/bin/python3"):
        header = files.content(path, 5) or b""
        if header[:4] == b"\x7fELF":
            return {1: 32, 2: 64}.get(header[4] if len(header) > 4 else 0)
    return None


def board(files: Files, blocks: list[Block]) -> str | None:
    """Returns what the board is called: by the device tree, or by the firmware of a PC."""
    for path in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        model = files.line(path)
        if model:
            return model
    for block in blocks:  # a Raspberry Pi says it here too
        if block.get("model", "").startswith("Raspberry"):
            return printable(block["model"])
    names = [files.line(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    return " ".join(n for n in names if n and not PLACEHOLDERS.search(n.lower())) or None


def jetson_release(files: Files) -> str | None:
    """Returns the release of a Jetson's system, such as "L4T 36.4.3" (JetPack 6)."""
    line = files.line("etc/nv_tegra_release") or ""
    match = re.search(r"R(\d{1,4}) .{0,40}REVISION: (\d{1,4}(?:\.\d{1,4})*)", line, re.ASCII)
    return f"L4T {match[1]}.{match[2]}" if match else None


def operating_system(files: Files) -> str | None:
    """Returns the name of the system's release for people."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        match = re.search(r'^PRETTY_NAME="?([^"\n]*)', files.text(path) or "", re.MULTILINE)
        if match:
            return printable(match[1])
    return None


def count_in_list(text: str | None) -> int | None:
    """Returns how many numbers the `text` of a kernel list such as "0-3,6" holds."""
    total = 0
    for item in (text or "").split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", item, re.ASCII)
        if not match:
            return None
        total += max(0, int(match[2] or match[1]) - int(match[1]) + 1)
    return total or None


def physical_cores(files: Files) -> int | None:
    """Returns the cores without counting the threads of one core twice."""
    lists = map(files.line, files.find("sys/devices/system/cpu/cpu*/topology/thread_siblings_list"))
    return len({siblings for siblings in lists if siblings}) or None


def allowed_cores(files: Files) -> int | None:
    """Returns the logical cores that this process may run on."""
    status = files.text("proc/self/status") or ""
    match = re.search(r"^Cpus_allowed_list:(.*)$", status, re.MULTILINE)
    return count_in_list(match[1]) if match else None


def memory_fields(files: Files) -> dict[str, int]:
    """Returns the fields of /proc/meminfo in bytes."""
    text = files.text("proc/meminfo") or ""
    pairs = re.findall(r"^(\w+):\s*(\d{1,15}) kB$", text, re.MULTILINE | re.ASCII)
    return {name: int(kilobytes) * 1024 for name, kilobytes in pairs}


def quota_cores(files: Files) -> float | None:
    """Returns the processor time that control groups allow, in cores; None for no limit.

    Source: the kernel's documentation of cgroup v2 (cpu.max) and of the CFS bandwidth control.
    """
    limits = []
    for folder in control_groups(files, "cpu"):
        words = (files.line(f"{folder}/cpu.max") or "").split()
        if not words:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [str(files.number(f"{folder}/{name}")) for name in names]
        if len(words) == 2 and all(re.fullmatch(r"[0-9]{1,15}", word) for word in words):
            quota, period = map(int, words)
            limits += [quota / period] if quota and period else []
    return min(limits, default=None)


def memory_limit_bytes(files: Files) -> int | None:
    """Returns the memory that control groups allow; None for no limit below what there is."""
    present = memory_fields(files).get("MemTotal")
    limits = [
        limit
        for folder in control_groups(files, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := files.number(f"{folder}/{name}")) is not None
    ]
    least = min((limit for limit in limits if limit > 0), default=None)
    return None if least is None or (present is not None and least >= present) else least


def control_groups(files: Files, controller: str) -> Iterator[str]:
    """Yields the folders of this process's control groups, and those around them.

    Where each `controller` ("cpu", "memory") has its own hierarchy, in that. In a container the
    path is often that of the host and leads nowhere; the mount's root then holds its own limits.
    """
    lines = (files.text("proc/self/cgroup") or "0::/").splitlines()
    for line in lines[:MOST_DEPTH]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mounts = (controllers, controller) if controllers else ("", "unified")
        parts = [part for part in path.split("/") if part and part != ".."][:MOST_DEPTH]
        for mount in dict.fromkeys(mounts):
            for depth in range(len(parts) + 1):
                yield "/".join(part for part in ("sys/fs/cgroup", mount, *parts[:depth]) if part)


def accelerators(files: Files) -> tuple[str, ...]:
    """Returns the GPUs and neural processors whose drivers are loaded, by name."""
    compatible = files.content("proc/device-tree/compatible") or files.content(
        "sys/firmware/devicetree/base/compatible"
    )
    chips = (compatible or b"").decode("utf-8", "replace").split("\0")
    others = {
        "Hailo": files.exists("dev/hailo0"),
        "Coral Edge TPU (PCIe)": files.exists("dev/apex_0"),
        "Coral Edge TPU (USB)": _coral_on_usb(files),
        "Rockchip NPU": _rockchip_npu(files, chips),
        "NPU (/dev/accel/accel0)": files.exists("dev/accel/accel0"),
    }
    return (*_nvidia_gpus(files, chips), *(name for name, present in others.items() if present))


def _nvidia_gpus(files: Files, chips: list[str]) -> list[str]:
    models = []
    for path in files.find("proc/driver/nvidia/gpus/*/information"):
        match = re.search(r"^Model:\s*(.+)$", files.text(path) or "", re.MULTILINE)
        models += [name] if match and (name := printable(match[1])) else []
    jetson = [name for chip, name in JETSON_GPUS.items() if chip in chips]
    places = ("sys/devices/gpu.0", "sys/devices/platform/gpu.0")
    integrated = any(map(files.exists, places)) or files.find("sys/class/devfreq/*.g[pva]*")
    if jetson or (integrated and any(chip.startswith("nvidia,tegra") for chip in chips)):
        return jetson or ["NVIDIA GPU (Jetson)"]
    return models or (["NVIDIA GPU"] if files.exists("dev/nvidia0") else [])


def _coral_on_usb(files: Files) -> bool:
    for path in files.find("sys/bus/usb/devices/*/idVendor"):
        product = path.removesuffix("idVendor") + "idProduct"
        if (files.line(path), files.line(product)) in CORAL_USB:
            return True
    return False


def _rockchip_npu(files: Files, chips: list[str]) -> bool:
    rockchip = any(chip.startswith("rockchip,") for chip in chips)
    return rockchip and bool(files.find("sys/class/devfreq/*.npu"))
