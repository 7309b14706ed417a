"""What a self-test does: an engine computes cases on each of its targets, and reports.

It may crash, so it runs in a process of its own (`tofa_edge.selftest.child`). Each step is reported
before it is taken: the last one tells where the process died.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tofa_edge import backends
from tofa_edge.backends.protocol import Engine
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.errors import TofaError
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import Case, calibrating, golden, judge, specimen_images
from tofa_edge.selftest.specimens import measuring_specimen, specimen


def examine(
    name: str,
    descriptor: int | None,
    path: Path | None,
    start: int,
    report: IO[str],
    digest: str | None = None,
) -> None:
    """Writes, as one JSON object a line, the targets of an engine and the result of each.

    Args:
        name: of the engine.
        descriptor: of the bundle whose golden cases are computed; None takes a small network of
            random weights.
        path: of that bundle, for messages.
        start: number of the first target.
        report: a text stream, flushed with each line.
        digest: of the bundle that was opened.
    """

    def write(**fields: Any) -> None:
        report.write(json.dumps(fields) + "\n")

    logger = logging.getLogger("tofa_edge")
    logger.addHandler(_Steps(write))  # an engine that logs does not hang
    logger.setLevel(logging.INFO)
    write(step="import")
    backend = backends.backends()[name]
    targets = backend.targets()
    write(targets=[dataclasses.asdict(target) for target in targets])
    try:
        cases, measuring = _cases(descriptor, path, digest)
    except TofaError as error:  # the bundle's, not the engine's
        write(unreadable=str(error))
        return
    passed: set[tuple[str, str]] = set()
    for number, target in enumerate(targets[start:], start):
        write(step=f"load and run on {target}")
        computes = (target.unit, target.precision)  # another thread count: one case will do
        chosen = cases[:1] if computes in passed or target.is_integer else cases
        if backend.calibrates and computes == ("cpu", "fp32") and chosen is cases:
            chosen = [*cases, calibrating(measuring)]
        judgement = judge(Engine(backend, target), chosen)
        if judgement is None:
            passed.add(computes)
        write(number=number, judgement=judgement)


class _Steps(logging.Handler):
    """Reports each line that an engine logs as a step: some build for minutes."""

    def __init__(self, write: Callable[..., None]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Reports a line."""
        self.write(step=record.getMessage())


def _cases(
    descriptor: int | None, path: Path | None, digest: str | None
) -> tuple[list[Case], Network]:
    """Returns what an engine must compute, and a network that measures BatchNorm statistics."""
    if descriptor is not None:
        where = path or Path(f"/dev/fd/{descriptor}")
        cutter = Cutter(Bundle.from_descriptor(descriptor, where, digest))
        return golden(cutter), cutter.measuring_network(cutter.space.smallest())
    network = specimen()
    images = specimen_images(network.input_size)
    case = Case(network, images, ReferenceSession(network).run(images))
    return [case], measuring_specimen()
