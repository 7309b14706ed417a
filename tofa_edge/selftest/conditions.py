"""What a record of self-tests depends on: software, processor, cores, and how busy all was."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.backends.protocol import Backend
from tofa_edge.device.machine import fingerprint, state

HARDWARE = ("processor", "cores", "features", "accelerators")  # records of others are kept as well


def conditions(engines: Mapping[str, Backend]) -> dict[str, dict[str, str]]:
    """Returns the conditions that a record of each of the `engines` holds for, by their names.

    Of the kernel's release only the first two numbers count: the others change with every update.
    """
    machine = fingerprint()
    release = platform.release()
    numbers = re.match(r"\d+\.\d+", release)
    shared = {
        "tofa-edge": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {numbers[0] if numbers else release}",
        "processor": f"{platform.machine()}, programs of {machine.userland_bits} bits",
        "cores": f"{machine.usable_cores} usable, {machine.allowed_cores} allowed",
        "features": " ".join(machine.features or ()),
        "accelerators": " ".join(machine.accelerators),
    }
    return {name: {"engine": item.version(), **shared} for name, item in engines.items()}


def hardware(versions: Mapping[str, str]) -> str:
    """Returns the part of an engine's conditions that another machine, or another share of it, has.

    Args:
        versions: what `conditions` says of the engine.
    """
    return "; ".join(versions.get(name, "") for name in HARDWARE)


def is_loaded() -> bool:
    """Whether more processes want to run than there are cores: then a hang says little."""
    load, cores = state().load_average, fingerprint().cores
    return load is not None and cores is not None and load > cores
