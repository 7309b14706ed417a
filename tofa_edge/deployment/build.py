"""A subnet as an engine's network, built and loaded: rounded where it must be."""

from __future__ import annotations

from dataclasses import dataclass

from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine, Session
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import RANGE_IMAGES, ready
from tofa_edge.cutting.sensitivity import with_sensitive_layers_in_float
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import specimen_images

FEW_IMAGES = 32


@dataclass(frozen=True, eq=False, slots=True)
class Built:
    """A network that an engine built and loaded; nobody has looked at its numbers yet.

    Attributes:
        subnet: its architecture.
        engine: that built it.
        network: what was built, perhaps in integers.
        exact: the same in float32; the same object where nothing was rounded.
        artefact: the engine's file.
        session: loaded from it; whoever holds this value closes it.
    """

    subnet: Subnet
    engine: Engine
    network: Network
    exact: Network
    artefact: bytes
    session: Session

    @property
    def in_integers(self) -> bool:
        """Whether it was rounded."""
        return self.network is not self.exact


def built(cutter: Cutter, subnet: Subnet, engine: Engine, by: Engine) -> Built:
    """Cuts a subnet, calibrates it, rounds it for an engine in integers, builds and loads it.

    `by` computes statistics and ranges in float.

    Raises:
        BackendError: the engine refuses it.
        BundleError: there are too few images to calibrate with.
    """
    network = exact = cutter.network(subnet, by)
    if engine.target.is_integer:
        network = ready(exact, engine.target, cutter.images(subnet.resolution), by)
    return loaded(subnet, engine, network, exact)


def loaded(subnet: Subnet, engine: Engine, network: Network, exact: Network) -> Built:
    """Builds and loads a network; `exact` is the same in float32."""
    artefact = engine.backend.build(network, engine.target)
    session = engine.backend.load(artefact, engine.target)
    return Built(subnet, engine, network, exact, artefact, session)


def with_sensitive_in_float(first: Built, cutter: Cutter, by: Engine) -> Built:
    """Builds a network again whose integers cost too much: its most sensitive layers in float.

    The first session is closed. `by` computes in float.
    """
    first.session.close()
    images = cutter.images(first.subnet.resolution)[:RANGE_IMAGES]
    network = with_sensitive_layers_in_float(first.exact, images, first.engine, by)
    return loaded(first.subnet, first.engine, network, first.exact)


def calibrated_shortly(cutter: Cutter, subnet: Subnet, engine: Engine, by: Engine) -> Network:
    """Returns a subnet calibrated with few images: enough to time it, without denormals.

    `by` computes statistics and ranges in float. Where there are no images, stored statistics do.
    """
    if not cutter.can_cut(subnet):
        return stored_network(cutter, subnet, engine, by)
    network = cutter.network(subnet, by, FEW_IMAGES)
    if not engine.target.is_integer:
        return network
    return ready(network, engine.target, cutter.images(subnet.resolution, FEW_IMAGES), by)


def stored_network(cutter: Cutter, subnet: Subnet, engine: Engine, by: Engine) -> Network:
    """Returns a subnet with stored statistics, as an engine runs it: exact, not accurate.

    `by` computes ranges in float. An engine can be timed with it: calibrated, it takes as long.
    """
    network = cutter.stored_network(subnet)
    return ready(network, engine.target, specimen_images(network.input_size), by)
