"""The network that serves before anything was chosen: soon, and by an engine seen to work here."""

from __future__ import annotations

from collections.abc import Iterable

from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.registry import backend, working
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.build import built
from tofa_edge.deployment.measure import unexplained
from tofa_edge.deployment.request import DeployOptions, Request
from tofa_edge.deployment.verify import verified
from tofa_edge.errors import BackendError
from tofa_edge.live.rungs import Rung, rung_of
from tofa_edge.selftest.calibrating import calibrates_itself, calibrating_among
from tofa_edge.selftest.records import TRUSTED, Record, records_here


def first_rung(request: Request, unknown_below: float) -> Rung:
    """Returns the network to begin with, its numbers compared with the reference's.

    The very subnet that is asked for, where its statistics are known, else the cheapest such.

    Args:
        request: what is wanted.
        unknown_below: of the model.

    Raises:
        BackendError: not even the reference runs it.
    """
    bundle, cutter = request.bundle, Cutter(request.bundle)
    subnet = _first_subnet(request, cutter)
    trusted = Engine(backend(TRUSTED), Target())
    best = calibrating_among(engines_on_record(bundle, request.options))
    for engine in (trusted,) if best is None else (best, trusted):
        try:
            made = verified(built(cutter, subnet, engine, engine), cutter, engine).built
        except BackendError:
            if engine is trusted:
                raise
            continue
        model = unexplained(bundle, made.session, subnet, engine)
        model.unknown_below = unknown_below
        return rung_of(model, request.tested.get(subnet), chosen=False)
    raise AssertionError("the reference is the last")


def _first_subnet(request: Request, cutter: Cutter) -> Subnet:
    if request.subnet is not None and cutter.knows_statistics(request.subnet):
        return request.subnet
    space = request.bundle.space
    known = [subnet for subnet in request.tested if cutter.knows_statistics(subnet)]
    return min([*known, space.largest()], key=lambda subnet: macs(layers(space, subnet)))


def engines_on_record(bundle: Bundle, options: DeployOptions) -> list[Engine]:
    """Returns the engines that passed a self-test on this machine before, in float on the CPU.

    None is tested for it. Where there is no record with this bundle, an engine must have passed
    with every other one that it was tested with.

    Args:
        bundle: to be served.
        options: which engines may be used.
    """
    records = [r for r in records_here() if options.backend in (None, r.backend)]
    offered, found = working(), list[Engine]()
    for name in sorted({record.backend for record in records} & offered.keys() - {TRUSTED}):
        own = [r for r in records if r.backend == name and r.subject == bundle.digest]
        counted = own or [record for record in records if record.backend == name]
        engines = [Engine(offered[name], target) for target in _sound_in_all(counted)]
        found += filter(calibrates_itself, engines)
    return [e for e in found if options.threads in (None, e.target.threads)]


def _sound_in_all(records: Iterable[Record]) -> list[Target]:
    first, *others = records
    return [t for t in first.sound if all(t in other.sound for other in others)]
