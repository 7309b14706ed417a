"""What a process that chooses is asked for, and what it answers: JSON lines and artefacts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tofa_edge.architecture.space import Subnet
from tofa_edge.budget import Budget
from tofa_edge.cutting.cutter import FRAMES_SHARE
from tofa_edge.deployment.remember import MOST_BYTES, Decision
from tofa_edge.deployment.request import DeployOptions, Request, requested
from tofa_edge.errors import BundleError
from tofa_edge.storage.plain import from_plain, to_plain

MOST_LINE_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class Order:
    """A choice that another process is to make.

    Attributes:
        bundle: its file.
        digest: of the bundle, which must be the same there.
        budget: of the first network.
        subnet: as JSON, where the very architecture is asked for.
        backend: as in `DeployOptions`, and so the next ones.
        threads: of the engine.
        precision: of the engine.
        frames: files of the frames that calibrate.
        frames_share: of those that calibrate.
        max_seconds: to measure.
        seed: of the search.
        python: that tests the engines.
        remember: whether decisions are reused and kept.
        rungs: how many networks are wanted, each faster than the one before.
        top_ms: own latency of the first network, where that is chosen already; else 0.
    """

    bundle: str
    digest: str
    budget: Budget
    subnet: str | None = None
    backend: str | None = None
    threads: int | None = None
    precision: str | None = None
    frames: tuple[str, ...] = ()
    frames_share: float = FRAMES_SHARE
    max_seconds: float | None = None
    seed: int = 0
    python: str | None = None
    remember: bool = True
    rungs: int = 1
    top_ms: float = 0.0

    @property
    def options(self) -> DeployOptions:
        """How to choose."""
        return DeployOptions(
            self.backend, self.threads, self.precision, self.frames, self.frames_share,
            self.max_seconds, self.seed, self.python,
        )  # fmt: skip

    def request(self) -> Request:
        """Returns it as a request, the bundle opened.

        Raises:
            BundleError: it is another bundle by now, or damaged.
        """
        subnet = None if self.subnet is None else Subnet.from_json(self.subnet)
        request = requested(self.bundle, self.budget, subnet, self.options)
        if request.bundle.digest != self.digest:
            raise BundleError(f"{self.bundle} is another bundle than the one opened: deploy again")
        return request


@dataclass(frozen=True, slots=True)
class Answer:
    """A network chosen, or why there is none.

    Attributes:
        rung: its number in the ladder, 0 the first.
        decision: what was chosen; None where nothing was.
        budget: that the network was chosen within.
        failure: why nothing was chosen; empty where something was.
        artefact_bytes: the size of the engine's file, which follows.
    """

    rung: int
    budget: Budget
    decision: Decision | None = None
    failure: str = ""
    artefact_bytes: int = 0


def order_of(request: Request, remember: bool, rungs: int, top_ms: float = 0.0) -> Order:
    """Returns a request as another process can fulfil it.

    Args:
        request: whose frames, if there are any, are files.
        remember: whether decisions are reused and kept.
        rungs: how many networks are wanted.
        top_ms: own latency of the first, where that is chosen already; else 0.
    """
    options, subnet = request.options, request.subnet
    return Order(
        str(request.bundle.path.absolute()),
        request.bundle.digest,
        request.budget,
        None if subnet is None else subnet.to_json(),
        options.backend,
        options.threads,
        options.precision,
        tuple(str(Path(frame).absolute()) for frame in options.calibration),  # type: ignore[arg-type]
        options.frames_share,
        options.max_seconds,
        options.seed,
        options.python,
        remember,
        rungs,
        top_ms,
    )


def send(stream: IO[bytes], answer: Answer, artefact: bytes = b"") -> None:
    """Writes an answer and the engine's file that belongs to it.

    Args:
        stream: binary, to write to.
        answer: with the size of the `artefact`.
        artefact: the file's content.
    """
    stream.write(json.dumps(to_plain(answer)).encode() + b"\n" + artefact)
    stream.flush()


def received(stream: IO[bytes]) -> Iterator[tuple[Answer, bytes]]:
    """Yields answers with their files until the other end is closed; one cut short is left out.

    Args:
        stream: binary, buffered, to read from.

    Raises:
        ValueError: something else came.
    """
    while line := stream.readline(MOST_LINE_BYTES):
        if not line.endswith(b"\n"):
            return
        answer = from_plain(Answer, json.loads(line))
        if not 0 <= answer.artefact_bytes <= MOST_BYTES:
            raise ValueError(f"an artefact of {answer.artefact_bytes} bytes")
        artefact = stream.read(answer.artefact_bytes)
        if len(artefact) < answer.artefact_bytes:
            return
        yield answer, artefact
