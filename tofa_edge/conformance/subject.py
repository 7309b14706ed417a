"""The backend under examination, and what its checks are written with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property

from tofa_edge import backends
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.protocol import Backend, Engine, Session, Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.cutting.ranges import ready
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import difference, tolerance
from tofa_edge.selftest.specimens import photos, specimen

FULL_LOADS, QUICK_LOADS, SLOW_LOADS = 1000, 200, 20
RANGE_PHOTOS = 4


class Fault(Exception):
    """What a check found wrong. It never leaves the suite."""


class Inapplicable(Exception):
    """Why a check says nothing of this backend or machine. It never leaves the suite."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A backend to examine."""

    backend: Backend  # whose engine works here
    quick: bool = False  # whether fewer subnets and fewer loads must do
    tolerance: float | None = None  # in place of the one for a target's precision
    loads: int | None = None  # to see memory grow; by default as many as `quick` or `slow` say
    unit: str | None = None  # whose targets alone are examined
    slow: bool = False  # whether loading takes long, as on a GPU in software: fewer of all

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """The targets that take a network: what is offered need not work here, if it says so."""
        able: list[Target] = []
        where = "" if self.unit is None else f" on {self.unit}"
        reason = f"it offers none{where}"
        for target in self.offered:
            try:
                Engine(self.backend, target).load(prepared(specimen(), target)).close()
            except BackendError as error:
                reason = f"{target}: {error}"
            else:
                able.append(target)
        expect(bool(able), f"no target works here; {reason}")
        return tuple(able)

    @property
    def offered(self) -> tuple[Target, ...]:
        """The targets on the unit that is examined, whether or not they work."""
        return tuple(t for t in self.backend.targets() if self.unit in (None, t.unit))

    @property
    def target(self) -> Target:
        """The last that works in fp32 on the unit, by default the CPU; else the last."""
        unit = self.unit or "cpu"
        exact = [t for t in self.targets if (t.unit, t.precision) == (unit, "fp32")]
        return (exact or self.targets)[-1]

    @property
    def cycles(self) -> int:
        """How many sessions to open and close."""
        usual = QUICK_LOADS if self.quick else FULL_LOADS
        return self.loads or (SLOW_LOADS if self.slow else usual)

    def allowed(self, target: Target | None = None, rounding: float = 0.0) -> float:
        """Returns how far logits may be from the reference's; see `golden.tolerance`."""
        target = target or self.target
        own = self.tolerance if target.precision == "fp32" else None
        return own or tolerance(target, rounding)

    @contextmanager
    def session(self, network: Network, target: Target | None = None) -> Iterator[Session]:
        """Yields a session and closes it."""
        target = target or self.target
        with closing(Engine(self.backend, target).load(prepared(network, target))) as session:
            yield session

    def compare(self, network: Network, images: ImageArray, target: Target | None = None) -> float:
        """Returns how far a network's logits for `images`, uint8 (N, S, S, 3), are off."""
        exact = ReferenceSession(network).run(images)[LOGITS]
        wanted = ReferenceSession(prepared(network, target or self.target)).run(images)[LOGITS]
        allowed = self.allowed(target, difference(wanted, exact))
        with self.session(network, target) as session:
            wrong = difference(session.run(images)[LOGITS], wanted)
        expect(wrong <= allowed, f"{wrong:.1e} of the largest logit off")
        return wrong


def prepared(network: Network, target: Target) -> Network:
    """Returns a network in the form that a target runs, ranges observed on a few photos."""
    trusted = Engine(backends.backend("reference"), Target())
    return ready(network, target, photos(RANGE_PHOTOS, network.input_size), trusted)


CheckFunction = Callable[[Subject], str]


def expect(held: bool, otherwise: str) -> None:
    """Raises a fault that says `otherwise` unless a check `held`."""
    if not held:
        raise Fault(otherwise)


def refusal(act: Callable[[], object], what: str) -> str:
    """Returns the message with which a backend refuses something."""
    try:
        act()
    except BackendError as error:
        return str(error)
    except Exception as error:
        raised = f"{type(error).__name__} ({error})"
        raise Fault(f"{what}: wanted a BackendError, got {raised}") from error
    raise Fault(f"{what}: accepted, wanted a BackendError")
