"""Does an engine keep the protocol? Buffers, refusals, threads, memory, name and targets."""

from __future__ import annotations

import ctypes
import gc
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import psutil

from tofa_edge import backends
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.backends.protocol import Backend, Session, Target
from tofa_edge.backends.support import cpu_targets
from tofa_edge.conformance.subject import Inapplicable, Subject, expect, refusal
from tofa_edge.selftest.golden import difference
from tofa_edge.selftest.memory import taken_bytes
from tofa_edge.selftest.specimens import calibrated, photos, random_supernet, specimen

GARBAGE = (b"", b"garbage", bytes(4096), b"\xff" * 4096)
SHARES = (0.01, 0.5, 0.99)  # of an artefact that was cut off
NOWHERE = (Target(precision="int4"), Target(unit="nowhere"))
CALLERS, CALLS, SLOW_CALLS = 4, 80, 16
PROCESSOR_SECONDS, MOST_SECONDS = 1.0, 30.0  # to see how many threads share the work
MOST_CORES = 1.25  # one, and what the clocks and the caller add
WARM_LOADS = 50
MAX_GROWTH = 0.05


def it_keeps_the_protocol(subject: Subject) -> str:
    """Every attribute and method; its name is the entry point's."""
    backend = subject.backend
    expect(isinstance(backend, Backend), "attributes or methods of `Backend` are missing")
    expect(type(backend.calibrates) is bool, f"calibrates is {backend.calibrates!r}, not a bool")
    version = backend.version()
    expect(bool(version) and version != "unknown", f"wanted its version, got {version!r}")
    with subject.session(specimen()) as session:
        expect(isinstance(session, Session), "attributes or methods of `Session` are missing")
    registered = type(backends.backends().get(backend.name)) is type(backend)
    expect(registered, f"its name is {backend.name!r}, but no entry point of that name leads to it")
    return version


def targets_differ(subject: Subject) -> str:
    """At least one, none twice, threads counted from one."""
    targets = subject.offered
    expect(bool(targets), "no target, though `missing` says that the engine works")
    expect(len(set(targets)) == len(targets), f"a target is offered twice: {targets}")
    expect(min(target.threads for target in targets) >= 1, f"a target without threads: {targets}")
    return ", ".join(map(str, targets))


def sessions_run_where_the_target_says(subject: Subject) -> str:
    """`session.unit` is the target's unit."""
    for target in subject.targets:
        with subject.session(specimen(), target) as session:
            expect(session.unit == target.unit, f"{target}: it runs on {session.unit!r}")
    return ""


def artefacts_are_the_same_each_time(subject: Subject) -> str:
    """Two builds of one network are equal bytes: they are cached by what they depend on."""
    artefacts = [subject.backend.build(specimen(), subject.target) for _ in range(2)]
    expect(isinstance(artefacts[0], bytes), f"wanted bytes, got {type(artefacts[0]).__name__}")
    expect(artefacts[0] == artefacts[1], "two builds of one network differ")
    return f"{len(artefacts[0])} bytes"


def artefacts_can_be_loaded_again(subject: Subject) -> str:
    """A closed session and its successor from the same bytes agree."""
    network = specimen()
    artefact, images = subject.backend.build(network, subject.target), photos(2, 32)
    logits = []
    for _ in range(2):
        with closing(subject.backend.load(artefact, subject.target)) as session:
            logits.append(session.run(images)[LOGITS])
    wrong = difference(logits[1], logits[0])
    expect(wrong <= subject.allowed(), f"{wrong:.1e} of the largest logit off when loaded again")
    return ""


def input_is_kept_and_outputs_are_the_callers(subject: Subject) -> str:
    """A read-only batch stays as it is; results outlive the next run, and the session."""
    images, others = photos(2, 32, 1), photos(2, 32, 2)
    before = images.copy()
    images.flags.writeable = False
    with subject.session(specimen()) as session:
        first = session.run(images)[LOGITS]
        kept = first.copy()
        expect(np.array_equal(images, before), "the batch was written to")
        session.run(others)
        expect(np.array_equal(first, kept), "a later run overwrites an earlier result")
        first[:] = 0
        again = session.run(images)[LOGITS]
        expect(np.array_equal(again, kept), "writing to a result changes the next one")
    expect(bool((first == 0).all()), "closing the session changes a result")
    return ""


def strided_batches_are_read_right(subject: Subject) -> str:
    """Every second image, mirrored: a view that is not contiguous."""
    view = photos(6, 32)[::2, :, ::-1]
    with subject.session(specimen()) as session:
        wanted = session.run(np.ascontiguousarray(view))[LOGITS]
        expect(np.array_equal(session.run(view)[LOGITS], wanted), "other logits than of a copy")
    return ""


def other_batches_are_refused(subject: Subject) -> str:
    """Another size, channel count, rank, type, or no image at all."""
    shapes = ((1, 31, 32, 3), (1, 32, 32, 4), (32, 32, 3), (0, 32, 32, 3))
    batches: list[Any] = [np.zeros(shape, np.uint8) for shape in shapes]
    batches.append(np.zeros((1, 32, 32, 3), np.float32))
    with subject.session(specimen()) as session:
        for batch in batches:
            refusal(partial(session.run, batch), f"a batch {batch.dtype} {batch.shape}")
    return ""


def closed_sessions_refuse(subject: Subject) -> str:
    """A run after `close` raises and says why; a second `close` does nothing."""
    with subject.session(specimen()) as session:
        session.run(photos(1, 32))
        session.close()
        message = refusal(lambda: session.run(photos(1, 32)), "a run after close")
        expect("closed" in message, f"wanted a message with the word closed, got {message!r}")
        session.close()
    return ""


def garbage_is_refused(subject: Subject) -> str:
    """Artefacts that `build` never made."""
    for content in GARBAGE:
        load = partial(subject.backend.load, content, subject.target)
        refusal(load, f"{len(content)} bytes of garbage")
    return ""


def pieces_of_artefacts_are_refused(subject: Subject) -> str:
    """Artefacts cut off after a hundredth, a half, or just before the end."""
    artefact = subject.backend.build(specimen(), subject.target)
    for share in SHARES:
        piece = artefact[: int(len(artefact) * share)]
        load = partial(subject.backend.load, piece, subject.target)
        refusal(load, f"the first {share:.0%} of an artefact")
    return ""


def targets_not_offered_are_refused(subject: Subject) -> str:
    """A precision and a unit that no backend has."""
    artefact = subject.backend.build(specimen(), subject.target)
    for target in NOWHERE:
        refusal(partial(subject.backend.load, artefact, target), str(target))
    return ""


def sessions_do_not_disturb_each_other(subject: Subject) -> str:
    """Closing one network leaves another as it was."""
    images = photos(1, 32)
    with subject.session(specimen()) as session:
        wanted = session.run(images)[LOGITS]
        with subject.session(specimen(7)) as other:
            expect(not np.allclose(wanted, other.run(images)[LOGITS]), "two networks, one result")
            again = session.run(images)[LOGITS]
            expect(np.array_equal(again, wanted), "running another network changes a result")
        again = session.run(images)[LOGITS]
        expect(np.array_equal(again, wanted), "closing another network changes a result")
    return ""


def four_threads_get_what_one_gets(subject: Subject) -> str:
    """One session, called from four threads with batches of different sizes."""
    batches = [photos(1 + seed % 2, 32, seed) for seed in range(8)]
    with subject.session(specimen()) as session:
        wanted = [session.run(batch)[LOGITS] for batch in batches]

        def work(turn: int) -> float:
            return difference(session.run(batches[turn % 8])[LOGITS], wanted[turn % 8])

        calls = SLOW_CALLS if subject.slow else CALLS
        with ThreadPoolExecutor(CALLERS) as pool:
            worst = max(pool.map(work, range(calls)))
    expect(worst <= subject.allowed() / 10, f"{worst:.1e} of the largest logit off")
    return f"{calls} calls"


def one_thread_takes_one_core(subject: Subject) -> str:
    """The processor time of a larger network comes from one thread, within the time elapsed."""
    able = [item for item in subject.targets if (item.unit, item.threads) == ("cpu", 1)]
    if not able:
        raise Inapplicable("it offers no CPU target with one thread")
    if cpu_targets()[-1].threads < 2:
        raise Inapplicable("this process may use one core: there is no second one to take")
    space = replace(efficientnet_lite0(), resolutions=(128,))
    network = calibrated(space, space.largest(), random_supernet(space, 0))
    images = photos(1, network.input_size)
    with subject.session(network, able[0]) as session:
        for _ in range(3):
            session.run(images)
        cores = _cores(session, images)
    expect(cores <= MOST_CORES, f"{able[0]} takes {cores:.2f} cores")
    return f"{cores:.2f} cores"


def memory_stays_level(subject: Subject) -> str:
    """Resident memory and open files, before and after many sessions were opened and closed."""
    artefact, images = subject.backend.build(specimen(), subject.target), photos(1, 32)

    def cycle(times: int) -> tuple[int, int]:
        for _ in range(times):
            with closing(subject.backend.load(artefact, subject.target)) as session:
                session.run(images)
        return _held()

    warm = min(WARM_LOADS, subject.cycles)
    (before, files), (after, files_after) = cycle(warm), cycle(subject.cycles)
    growth = (after - before) / psutil.Process().memory_info().rss
    result = f"{growth:+.1%} after {subject.cycles} loads"
    expect(growth <= MAX_GROWTH, f"the process grew by {growth:.1%}, {result}")
    expect(files_after <= files, f"{files_after - files} files more are open, {result}")
    return result


def _held() -> tuple[int, int]:
    """Returns bytes that the process alone keeps, and open files, after freed memory went back.

    Else a leak would hide in room that earlier, larger networks left behind. Pages of libraries
    come and go with the memory that other programs take.
    """
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # glibc has it
    process = psutil.Process()
    return taken_bytes(process.pid), process.num_fds()


def _cores(session: Session, images: ImageArray) -> float:
    """Returns how many cores a session takes, also where other processes leave it less than one.

    Threads that share the work each have a part of the processor time, however long they wait for
    a core. Those that end with each run are not listed any more: time elapsed tells of them.
    """
    threads, wall, processor = _thread_seconds(), time.perf_counter(), time.process_time()
    used = elapsed = 0.0
    while used < PROCESSOR_SECONDS and elapsed < MOST_SECONDS:
        session.run(images)
        used, elapsed = time.process_time() - processor, time.perf_counter() - wall
    spent = [now - threads.get(key, 0.0) for key, now in _thread_seconds().items()]
    return used / min(elapsed, max(*spent, used - sum(spent), 1e-3))


def _thread_seconds() -> dict[int, float]:
    return {item.id: item.user_time + item.system_time for item in psutil.Process().threads()}
