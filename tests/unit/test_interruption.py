"""Signals that ask the program to end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tofa_edge import interruption as module
from tofa_edge.interruption import INTERRUPTIONS, Interrupted, interruption


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    before = {number: signal.signal(number, default) for number, default in INTERRUPTIONS.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [*INTERRUPTIONS])
def test_first_signal_raises_once(number: signal.Signals) -> None:
    with interruption() as asked:
        with pytest.raises(Interrupted) as raised:
            send(number)
        send(signal.SIGTERM)  # the same interruption once more
    assert raised.value.args == (number,)
    assert asked.number == number
    assert {each: signal.getsignal(each) for each in INTERRUPTIONS} == INTERRUPTIONS


def test_later_second_signal_raises_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with interruption(raises=False) as asked:
        send(signal.SIGHUP)
        assert asked.number == signal.SIGHUP
        monkeypatch.setattr(module, "SAME_INTERRUPTION_S", 0.0)
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
    assert asked.number == signal.SIGHUP, "the first one says how it ends"


def test_outer_block_learns_of_a_signal_to_the_inner_one() -> None:
    with interruption() as outer:
        with interruption(raises=False) as inner:
            send(signal.SIGTERM)
        assert inner.number == outer.number == signal.SIGTERM
        send(signal.SIGTERM)  # once more, as the inner block has just ended


def test_what_is_ignored_or_handled_elsewhere_stays_so() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    with interruption() as asked:
        send(signal.SIGHUP)
        send(signal.SIGTERM)
        assert asked.number is None
        assert seen == [signal.SIGTERM]


def test_another_thread_takes_no_signals() -> None:
    def enter() -> None:
        with interruption() as asked:
            found.extend([signal.getsignal(signal.SIGTERM), asked.number])

    found: list[object] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL, None]
