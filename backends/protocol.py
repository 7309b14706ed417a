"""What an engine must offer: targets, `build`, `load`, and sessions that run batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.network.network import Network

INTEGERS = ("int8", "dynamic")  # precisions


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how an engine runs: the unit ("cpu"), the precision ("fp32"), and its threads.

    Precisions are "fp32", "fp16", "bf16", "int8" (weights and values in 8 bits, their ranges known
    before), and "dynamic" (weights in 8 bits; values are rounded as they come).

    Attributes:
        unit: such as "cpu" or "gpu".
        precision: "fp32", "fp16", "bf16", "int8" or "dynamic".
        threads: of the processor.
    """

    unit: str = "cpu"
    precision: str = "fp32"
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.unit} {self.precision} {self.threads}t"

    @property
    def is_integer(self) -> bool:
        """Whether a network needs its quantisation to be built for it."""
        return self.precision in INTEGERS

    @property
    def is_coarse(self) -> bool:
        """Whether it rounds so much that what that costs in accuracy has to be measured."""
        return self.is_integer or self.precision == "bf16"


@runtime_checkable
class Session(Protocol):
    """A loaded network. Safe to call from several threads; not after `close`, nor after a fork.

    Attributes:
        unit: where the engine says that the network runs ("cpu", "gpu", …), asked of the engine
            after loading: an engine may fall back to the CPU and say nothing else.
    """

    unit: str

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch of images, uint8, (N, S, S, 3), and returns the network's outputs by name.

        The arrays returned belong to the caller. `batch` is not written to.

        Raises:
            BackendError: the session is closed, the batch has another type or shape, or the
                engine fails.
        """
        ...

    def close(self) -> None:
        """Frees the engine's memory; a second call does nothing."""
        ...


@runtime_checkable
class Backend(Protocol):
    """An engine. Its package is imported inside the methods, never at the top of the module.

    Attributes:
        name: of its entry point.
        calibrates: whether it expresses the layer `BatchStatistics`. Where it does not, another
            engine estimates BatchNorm statistics, and this one is given folded networks alone.
    """

    name: str
    calibrates: bool

    def missing(self) -> str | None:
        """Returns None where the engine can run here, else why not and what to do about it."""
        ...

    def version(self) -> str:
        """Returns the version of the engine's package, for caches and reports."""
        ...

    def remarks(self) -> tuple[str, ...]:
        """Returns what else `doctor` should say of its packages, such as one that is broken."""
        ...

    def targets(self) -> tuple[Target, ...]:
        """Returns the targets it offers on this machine; empty where it is missing."""
        ...

    def build(self, network: Network, target: Target) -> bytes:
        """Returns the native artefact of a network: a file's content, cacheable.

        Args:
            network: with its quantisation where the target is one in integers.
            target: one of its own.

        Raises:
            BackendError: the engine cannot express the network.
        """
        ...

    def load(self, artefact: bytes, target: Target) -> Session:
        """Returns a session for an artefact that `build` returned for the same target.

        Args:
            artefact: what `build` returned, perhaps in another process of the same versions.
            target: the one it was built for.

        Raises:
            BackendError: the engine is missing, refuses the artefact, or would run it elsewhere
                than on the target.
        """
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """A backend on one of its targets: what a network is loaded into."""

    backend: Backend
    target: Target

    def __str__(self) -> str:
        return f"{self.backend.name} {self.target}"

    def load(self, network: Network) -> Session:
        """Builds and loads a network.

        Raises:
            BackendError: the engine is missing or refuses it.
        """
        return self.backend.load(self.backend.build(network, self.target), self.target)
