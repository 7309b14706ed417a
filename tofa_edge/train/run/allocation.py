"""Memory that training frees is kept for its next step, where the C library has a setting for it.

A step allocates and frees the same hundreds of megabytes over and over. glibc gives blocks above 32
MB back to the system each time, and the system fills every page of the next one with zeros: some 7
% of the processor time of a step (`benchmarks/studies/training_speed.py`). Training only; a device
runs small networks and keeps its memory low.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3), from <malloc.h>
KEPT, AHEAD = 2**31 - 1, 2**28  # bytes: mallopt takes an int


def keep_freed_memory() -> bool:
    """Makes the C library keep what is freed; returns whether it takes the setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    settings = {MMAP_THRESHOLD: KEPT, TRIM_THRESHOLD: KEPT, TOP_PAD: AHEAD}
    taken = [mallopt(name, value) for name, value in settings.items()]
    return all(taken)
