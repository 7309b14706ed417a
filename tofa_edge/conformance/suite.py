"""Is it a backend? A suite that any plug-in can be put through, on numpy alone.

`tofa-edge conformance NAME` runs it from the command line. Networks are made from seeds, so that
neither a bundle nor torch is needed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Literal

from tofa_edge.backends.protocol import Backend
from tofa_edge.conformance import conduct, numbers
from tofa_edge.conformance.subject import CheckFunction, Fault, Inapplicable, Subject
from tofa_edge.errors import BackendError

log = logging.getLogger(__name__)

Outcome = Literal["passed", "failed", "skipped"]

FUNCTIONS: tuple[CheckFunction, ...] = (
    conduct.it_keeps_the_protocol,
    conduct.targets_differ,
    conduct.sessions_run_where_the_target_says,
    numbers.subnets_equal_the_reference,
    numbers.every_target_equals_the_reference,
    numbers.preprocessing_is_the_networks_own,
    numbers.calibration_statistics_equal_the_reference,
    conduct.artefacts_are_the_same_each_time,
    conduct.artefacts_can_be_loaded_again,
    conduct.input_is_kept_and_outputs_are_the_callers,
    conduct.strided_batches_are_read_right,
    conduct.other_batches_are_refused,
    conduct.closed_sessions_refuse,
    conduct.garbage_is_refused,
    conduct.pieces_of_artefacts_are_refused,
    conduct.targets_not_offered_are_refused,
    conduct.sessions_do_not_disturb_each_other,
    conduct.four_threads_get_what_one_gets,
    conduct.one_thread_takes_one_core,
    conduct.memory_stays_level,
)
CHECKS = {function.__name__.replace("_", " "): function for function in FUNCTIONS}


APOSTROPHES = {"networks own": "network's own", "the callers": "the caller's"}


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: one of `CHECKS`.
        outcome: whether it holds; skipped where it says nothing of this backend or machine.
        reason: why it failed or was skipped; for one that passed a figure, if there is one.
        seconds: that it took.
    """

    name: str
    outcome: Outcome
    reason: str
    seconds: float

    @property
    def title(self) -> str:
        """Returns the name as a person reads it."""
        return _title(self.name)

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.outcome} {self.title}{reason} ({self.seconds:.1f} s)"


def run(
    backend: Backend,
    quick: bool = False,
    tolerance: float | None = None,
    unit: str | None = None,
    slow: bool = False,
) -> tuple[Check, ...]:
    """Puts a backend through every check.

    Args:
        backend: to examine; an instance, registered under its name as an entry point.
        quick: fewer subnets (15 in place of 52) and fewer loads (200 in place of 1,000).
        tolerance: of the largest logit in fp32; default: 1e-3.
        unit: to examine alone, such as "gpu"; default: all, most of the checks on the CPU.
        slow: for a device on which loading takes long, such as a GPU in software: 8 subnets, 20
            loads.

    Raises:
        BackendError: its engine cannot run here.
    """
    missing = backend.missing()
    if missing:
        raise BackendError(f"backend {backend.name} cannot run here: {missing}")
    subject, checks = Subject(backend, quick, tolerance, unit=unit, slow=slow), []
    for name in CHECKS:
        log.info(_title(name))
        checks.append(check(name, subject))
    return tuple(checks)


def check(name: str, subject: Subject) -> Check:
    """Puts a backend through the check of a `name` in `CHECKS`."""
    started = time.perf_counter()
    outcome: Outcome = "passed"
    try:
        reason = CHECKS[name](subject)
    except Inapplicable as why:
        outcome, reason = "skipped", str(why)
    except Fault as fault:
        outcome, reason = "failed", str(fault)
    except Exception as error:  # whatever an engine raises where it should not
        outcome, reason = "failed", f"{type(error).__name__}: {error}"
    return Check(name, outcome, reason, time.perf_counter() - started)


def _title(name: str) -> str:
    for plain, apostrophe in APOSTROPHES.items():
        name = name.replace(plain, apostrophe)
    return name
