"""A broken plug-in is one missing engine, and never a crash."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from tofa_edge.backends import Backend, BackendError, Network, Target, registry
from tofa_edge.backends.reference import Reference
from tofa_edge.selftest.specimens import specimen


class NoRemarks(Reference):
    """Follows the protocol of an older version."""

    remarks = property()  # reading it raises AttributeError


class Unversioned(Reference):
    def version(self) -> str:
        raise OSError("no such library")


class Unready(Reference):
    def missing(self) -> str | None:
        sys.exit("this driver is too old")


class Unfinished(Reference):
    @property
    def calibrates(self) -> bool:  # type: ignore[override]
        raise RuntimeError("not initialised")


def leaving() -> Backend:
    sys.exit(3)


def raising() -> Backend:
    raise SystemError("initialization failed")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    registry._discovered.cache_clear()
    yield
    registry._discovered.cache_clear()


def offered(monkeypatch: pytest.MonkeyPatch, value: str) -> Backend:
    points = [EntryPoint("plugin", value, registry.ENTRY_POINTS)]
    points.append(EntryPoint("reference", f"{Reference.__module__}:Reference", points[0].group))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    assert list(registry.working()) == ["reference"]
    return registry.backends()["plugin"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (f"{__name__}:NoRemarks", "lacks remarks of tofa_edge.backends.Backend: update it"),
        (f"{__name__}:raising", r"cannot be loaded \(SystemError\('initialization failed'\)\)"),
        (f"{__name__}:leaving", r"cannot be loaded \(SystemExit\(3\)\)"),
        (f"{__name__}:Unversioned", r"cannot be asked for version\(\) \(OSError"),
        (f"{__name__}:Unready", r"cannot be asked for missing\(\) \(SystemExit"),
        (f"{__name__}:Unfinished", r"cannot be loaded \(RuntimeError"),
        ("no_such_module:Plugin", r"cannot be loaded \(ModuleNotFoundError"),
        (f"{__name__}:specimen", "lacks build, calibrates, load, missing, name, remarks, targets"),
    ],
)
def test_broken_plugin_is_missing(monkeypatch: pytest.MonkeyPatch, value: str, reason: str) -> None:
    plugin = offered(monkeypatch, value)
    assert isinstance(plugin, Backend)
    assert plugin.targets() == ()
    assert plugin.remarks() == ()
    with pytest.raises(BackendError, match=f"backend plugin cannot run here: .*{reason}"):
        registry.backend("plugin")
    network: Network = specimen()
    with pytest.raises(BackendError, match=reason):
        plugin.build(network, Target())
    with pytest.raises(BackendError, match=reason):
        plugin.load(b"", Target())


def test_no_backend_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    with pytest.raises(BackendError, match="no backend found: install the package"):
        registry.backends()
