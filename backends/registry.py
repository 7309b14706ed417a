"""How backends are found: through the entry-point group `tofa_edge.backends`, our own as well."""

from __future__ import annotations

from functools import lru_cache

from tofa_edge.backends.protocol import Backend
from tofa_edge.errors import BackendError

ENTRY_POINTS = "tofa_edge.backends"


def backends() -> dict[str, Backend]:
    """Returns every backend found, by name, whether or not its engine is installed."""
    return _discovered()


@lru_cache(maxsize=1)
def _discovered() -> dict[str, Backend]:
    from importlib.metadata import entry_points  # slow to import

    found: dict[str, Backend] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        found[point.name] = point.load()()
    if not found:
        raise BackendError("no backend found: install the package (pip install tofa-edge)")
    return found


def backend(name: str) -> Backend:
    """Returns the backend of that name.

    Args:
        name: of its entry point.

    Raises:
        BackendError: there is none of that name, or its engine cannot run here.
    """
    found = backends()
    if name not in found:
        raise BackendError(f"no backend {name!r}; there are {', '.join(found)}")
    reason = found[name].missing()
    if reason:
        raise BackendError(f"backend {name} cannot run here: {reason}")
    return found[name]


def working() -> dict[str, Backend]:
    """Returns the backends whose engine is installed, the reference last: it is slow.

    Whether they run is another question: `tofa_edge.selftest.records` answers it.
    """
    able = {name: item for name, item in backends().items() if item.missing() is None}
    return dict(sorted(able.items(), key=lambda pair: pair[0] == "reference"))
