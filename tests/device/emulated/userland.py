"""An arm64 Debian in a folder, run by qemu's user emulation: correct, and far too slow to time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = {"qemu-aarch64-static": "qemu-user-static", "mmdebstrap": "mmdebstrap", "proot": "proot"}
PACKAGES = (
    "base-files,bash,coreutils,libc-bin,libstdc++6,python3,python3-venv,python3-pip,ca-certificates"
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://deb.debian.org/debian"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
UNNEEDED = ("var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man")
SYSTEM_PYTHON = "/usr/bin/python3"
DEVICES = ("null", "zero", "full", "random", "urandom")
OWN_FILES = ("bin/", "etc/os-release")  # of a recorded tree: the userland has real ones
MIB = 2**20


class CannotRun(Exception):
    """This machine cannot emulate one; the message says why."""


def ensure_tools() -> None:
    """Installs what is missing of the tools.

    Raises:
        CannotRun: something is missing and cannot be installed here.
    """
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotRun(f"wanted {', '.join(missing)}: install them, or run as root where apt is")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", "-q", *arguments], capture_output=True, text=True)
        if done.returncode:
            raise CannotRun(f"apt-get {arguments[0]} failed: {_last(done.stderr)}")


@dataclass(frozen=True)
class Userland:
    """A Debian release with a virtual environment at /opt/v.

    Attributes:
        root: the folder that stands for "/".
        suite: such as "bookworm".
        processor: that qemu emulates.
        binds: files of this machine by their place in there.
    """

    root: Path
    suite: str
    processor: str = "cortex-a72"
    binds: Mapping[str, Path] = field(default_factory=dict)

    def build(self) -> bool:
        """Builds it unless it is complete; returns whether it had to.

        Raises:
            CannotRun: not root, or the packages cannot be had.
        """
        if self.root.exists():
            return False
        if os.geteuid() != 0:
            raise CannotRun("wanted root to unpack Debian; build it once with sudo")
        partial = self.root.with_name(self.root.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        source = f"deb [signed-by={KEYRING}] {_mirror()} {self.suite} main"
        done = subprocess.run(
            [
                "mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract",
                f"--include={PACKAGES}", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
                self.suite, str(partial), source,
            ],
            capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            raise CannotRun(f"mmdebstrap failed: {_last(done.stderr)}")
        for name in UNNEEDED:
            shutil.rmtree(partial / name, ignore_errors=True)
        if CERTIFICATES.exists():  # unpacked packages are not configured: theirs is not there yet
            inside = partial / str(CERTIFICATES).lstrip("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CERTIFICATES, inside)
        partial.rename(self.root)
        return True

    def install(self, wheel: Path, extras: str) -> bool:
        """Installs a wheel; returns whether its dependencies had to be installed, too.

        Raises:
            subprocess.CalledProcessError: pip failed.
        """
        inside = self.root / "root" / wheel.name
        shutil.copy(wheel, inside)
        stamp, wanted = self.root / "opt/installed", _requirements(wheel, extras)
        fresh = not stamp.exists() or stamp.read_text() != wanted
        pip = [SYSTEM_PYTHON, "-m", "pip", "--python", "/opt/v/bin/python", "install", "--quiet"]
        if fresh:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(self.root / "opt/v", ignore_errors=True)
            self.run(SYSTEM_PYTHON, "-m", "venv", "--without-pip", "/opt/v")
            self.run(*pip, "--no-compile", f"/root/{wheel.name}[{extras}]")
            stamp.write_text(wanted)
        else:
            only = ("--no-index", "--no-deps", "--force-reinstall", "--no-compile")
            self.run(*pip, *only, f"/root/{wheel.name}")
        return fresh

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in there and returns what it printed.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        binds = {f"/dev/{name}": Path("/dev") / name for name in DEVICES}
        binds |= {path: Path(path) for path in ("/etc/resolv.conf", "/etc/hosts")}
        binds |= self.binds
        environment = {
            "PATH": "/opt/v/bin:/usr/bin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PIP_CERT": str(CERTIFICATES),
            "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            **variables,
        }
        emulator = f"qemu-aarch64-static -cpu {self.processor}"
        words = ["proot", "-q", emulator, "-r", str(self.root), "-w", "/root"]
        for there, here in binds.items():
            if here.exists():
                words += ["-b", f"{here}:{there}"]
        return subprocess.run(
            [*words, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )

    def sizes_mib(self) -> tuple[float, dict[str, float]]:
        """Returns the size of Debian, and of what lies in the environment, by name."""
        environment = self.root / "opt/v"
        (packages,) = environment.glob("lib/python3*/site-packages")
        parts = {path.name: _size(path) / MIB for path in packages.iterdir()}
        return (_size(self.root) - _size(environment)) / MIB, parts


def planted(folder: Path, tree: Mapping[str, str]) -> dict[str, Path]:
    """Writes a recorded tree of a board and returns what to bind, by its place on the board."""
    shutil.rmtree(folder, ignore_errors=True)
    binds = {}
    for name, content in tree.items():
        if name.startswith(OWN_FILES):
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("latin-1"))
        top = name.split("/")[0]
        place = top if top in ("proc", "sys") else name
        binds[f"/{place}"] = folder / place
    processors = folder / "sys/devices/system/cpu"
    for name in ("possible", "present"):  # engines count cores by these
        shutil.copy(processors / "online", processors / name)
    return binds


def _requirements(wheel: Path, extras: str) -> str:
    """Returns a digest of what an installation depends on."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    wanted = [line for line in lines if line.startswith("Requires")]
    return hashlib.sha256("\n".join([extras, *wanted]).encode()).hexdigest()


def _mirror() -> str:
    """Returns where this machine has its Debian packages from, if it is one."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    lines = sources.read_text().splitlines() if sources.exists() else []
    found = (line.split()[1] for line in lines if line.startswith("URIs:"))
    return next(found, MIRROR)


def _size(path: Path) -> int:
    return sum(file.lstat().st_blocks * 512 for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for item in path.iterdir():
            yield from _files(item)
    else:
        yield path


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
