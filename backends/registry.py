"""How backends are found: through the entry-point group `tofa_edge.backends`, our own as well."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tofa_edge.backends.protocol import Backend, Session, Target
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "tofa_edge.backends"


def backends() -> dict[str, Backend]:
    """Returns every backend found, by name, whether or not its engine is installed."""
    return _discovered()


@lru_cache(maxsize=1)
def _discovered() -> dict[str, Backend]:
    from importlib.metadata import entry_points  # slow to import

    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    if not points:
        raise BackendError("no backend found: install the package (pip install tofa-edge)")
    return {point.name: _opened(point) for point in points}


def _opened(point: EntryPoint) -> Backend:
    """Returns the backend of an entry point, or what stands for it where it is broken."""
    asked = "cannot be loaded"
    try:
        item = point.load()()
        members = {*Backend.__annotations__, *(name for name in vars(Backend) if name[0] != "_")}
        absent = sorted(name for name in members if not hasattr(item, name))
        if absent:
            lacks = f"lacks {', '.join(absent)} of tofa_edge.backends.Backend: update it"
            return _Broken(point.name, f"{point.value} {lacks}")
        for question in ("missing", "version", "remarks"):  # which are asked without a guard
            asked = f"cannot be asked for {question}()"
            getattr(item, question)()
    except (Exception, SystemExit) as error:  # a plug-in's code may raise anything
        return _Broken(point.name, f"{point.value} {asked} ({error!r}): reinstall it")
    backend: Backend = item
    return backend


@dataclass
class _Broken:
    """Stands for a plug-in that cannot be used: an engine that is missing, and why."""

    name: str
    reason: str
    calibrates: bool = False

    def missing(self) -> str:
        return self.reason

    def version(self) -> str:
        return "unknown"

    def remarks(self) -> tuple[str, ...]:
        return ()

    def targets(self) -> tuple[Target, ...]:
        return ()

    def build(self, network: Network, target: Target) -> bytes:
        raise BackendError(f"{self.name}: {self.reason}")

    def load(self, artefact: bytes, target: Target) -> Session:
        raise BackendError(f"{self.name}: {self.reason}")


def backend(name: str) -> Backend:
    """Returns the backend whose entry point has this `name`.

    Raises:
        BackendError: there is none of that name, or its engine cannot run here.
    """
    known = backends()
    if name not in known:
        raise BackendError(f"no backend {name!r}; there are {', '.join(known)}")
    reason = known[name].missing()
    if reason:
        raise BackendError(f"backend {name} cannot run here: {reason}")
    return known[name]


def working() -> dict[str, Backend]:
    """Returns the backends whose engine is installed, the reference last: it is slow.

    Whether they run is another question: `tofa_edge.selftest.records` answers it.
    """
    able = {name: item for name, item in backends().items() if item.missing() is None}
    return dict(sorted(able.items(), key=lambda pair: pair[0] == "reference"))
