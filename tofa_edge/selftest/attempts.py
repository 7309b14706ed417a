"""All targets of an engine are tested: after one that ends the process, the next in a new one."""

from __future__ import annotations

from dataclasses import dataclass

from tofa_edge.backends.protocol import Target
from tofa_edge.errors import BackendError, BundleError
from tofa_edge.selftest.golden import Fault
from tofa_edge.selftest.watchdog import Ending, Watch, watched
from tofa_edge.storage.files import printable

REASON_LENGTH = 500  # engines write several lines, and colours


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a self-test: no fault, or what and where; without a target, of the engine."""

    target: Target | None
    fault: Fault | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.fault}: {self.reason}" if self.fault else "works"


def attempts(name: str, watch: Watch) -> tuple[Verdict, ...]:
    """Tests an engine on all its targets and returns the verdicts.

    Args:
        name: of the engine.
        watch: what is shared with others tested at the same time.

    Raises:
        BackendError: no process can be started.
        BundleError: the bundle cannot be read.
    """
    verdicts: list[Verdict] = []
    while not watch.cancelled.is_set():
        try:
            ending = watched(name, watch, start=len(verdicts))
        except OSError as error:
            raise no_process(name, error) from error
        if ending.unreadable:
            raise BundleError(ending.unreadable)
        count = _add(verdicts, ending)
        if len(verdicts) >= count:
            break
    return tuple(verdicts)


def no_process(name: str, error: OSError) -> BackendError:
    """Returns what to say where the system refuses a process to test an engine in.

    Args:
        name: of the engine.
        error: what the system said.
    """
    return BackendError(
        f"{name}: no process to test it in ({error}): allow more memory, files or processes"
    )


def _add(verdicts: list[Verdict], ending: Ending) -> int:
    """Adds the verdicts of a process; returns how many targets there are."""
    targets = [Target(**fields) for fields in ending.targets]
    for number, judgement in sorted(ending.judgements.items()):
        fault, reason = judgement or (None, "")
        verdicts.append(Verdict(targets[number], fault, printable(reason, REASON_LENGTH)))
    if ending.fault is not None:
        failed = targets[len(verdicts)] if len(verdicts) < len(targets) else None
        verdicts.append(Verdict(failed, ending.fault, printable(ending.reason, REASON_LENGTH)))
    return len(targets)
