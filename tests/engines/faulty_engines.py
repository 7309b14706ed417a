"""Engines that go wrong, each in one way and for real; `absent` and `sound` behave."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import time
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends import cpu_targets
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network

UNDEFINED = {"x86_64": b"\x0f\x0b", "aarch64": b"\x00\x00\x00\x00"}  # ud2, udf


def count() -> None:
    """Counts how often an engine is asked."""
    if "COUNT_IN" in os.environ:
        with Path(os.environ["COUNT_IN"]).open("a") as file:
            file.write("asked\n")


class Sound(Reference):
    name = "sound"

    def version(self) -> str:
        return f"sound {os.environ.get('SOUND_VERSION', '1')}"

    def targets(self) -> tuple[Target, ...]:
        count()
        return super().targets()


class Threaded(Sound):
    """Offers as many threads as this process has cores."""

    name = "threaded"

    def targets(self) -> tuple[Target, ...]:
        count()
        return cpu_targets()

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        return super().load(artefact, Target())


class Large(Reference):
    """Takes 200 MB for a while, the first time when another engine does, too."""

    name = "large"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        count()
        asked, end = Path(os.environ["COUNT_IN"]), time.monotonic() + 10
        while asked.read_text().count("asked") < 2 and time.monotonic() < end:
            time.sleep(0.02)
        taken = np.ones(200 * 2**17)
        time.sleep(1)  # for the other one, and whoever watches
        taken.fill(0)
        return super().load(artefact, target)


class Larger(Large):
    name = "larger"


class Absent(Reference):
    name = "absent"

    def missing(self) -> str | None:
        return "no package absent: pip install absent"

    def targets(self) -> tuple[Target, ...]:
        return ()


class Refusing(Reference):
    name = "refusing"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        raise BackendError("refusing: it will not")


class Raising(Reference):
    name = "raising"

    def build(self, network: Network, target: Target) -> bytes:
        raise ZeroDivisionError("division by zero")


class Wrong(Reference):
    """Every number is a little too large; with two images more so."""

    name = "wrong"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        return WrongSession(Network.from_bytes(artefact))


class WrongSession(ReferenceSession):
    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        made = super().run(batch)
        return {name: (value * np.float32(1.01)).astype(np.float32) for name, value in made.items()}


class LateWrong(Reference):
    """Right while it is tried, in a session of its own; wrong where it is deployed."""

    name = "late_wrong"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        tried = os.getsid(0) == os.getpid()
        return (ReferenceSession if tried else WrongSession)(Network.from_bytes(artefact))


class Illegal(Reference):
    """Executes an instruction that no processor has."""

    name = "illegal"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        memory = mmap.mmap(
            -1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        )
        memory.write(UNDEFINED[platform.machine()])
        code = ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
        code()
        return super().load(artefact, target)


class Dereferencing(Reference):
    """Reads address 0 as soon as its package is asked anything."""

    name = "dereferencing"

    def targets(self) -> tuple[Target, ...]:
        ctypes.string_at(0)
        return super().targets()


class SecondTarget(Reference):
    """Dies on the second of three targets."""

    name = "second_target"

    def targets(self) -> tuple[Target, ...]:
        return tuple(Target(threads=threads) for threads in (1, 2, 4))

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        if target.threads == 2:
            os.abort()
        return super().load(artefact, Target())


class Uncalibrated(Reference):
    """Dies where it is given a network that measures BatchNorm statistics."""

    name = "uncalibrated"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        if LOGITS not in Network.from_bytes(artefact).outputs:
            os.abort()
        return super().load(artefact, target)


class Hungry(Reference):
    name = "hungry"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        taken = []
        while True:
            taken.append(np.ones(2**20))


class Unallocated(Reference):
    """Is refused the memory it asks for."""

    name = "unallocated"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        np.ones(2**52)
        return super().load(artefact, target)


class Hanging(Reference):
    """Holds the interpreter's lock and never comes back."""

    name = "hanging"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        count()
        ctypes.PyDLL(None).sleep(1000)
        return super().load(artefact, target)


class Silent(Reference):
    """Ends its process as if all were well."""

    name = "silent"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        os._exit(0)


class Talking(Reference):
    """Writes to every descriptor it finds, the report's among them, and computes well."""

    name = "talking"

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        for descriptor in range(1, 20):
            try:
                os.write(descriptor, b"warning: {not json\n[1, 2]\n")
            except OSError:
                continue
        return super().load(artefact, target)


class Fallback(Reference):
    """Offers a neural processor and runs on the CPU."""

    name = "fallback"

    def targets(self) -> tuple[Target, ...]:
        return (Target("npu"), Target())

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        return super().load(artefact, Target())
