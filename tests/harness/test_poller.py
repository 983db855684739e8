"""One thread that waits for everything: order, threads, timers, failures."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from pto_harness.poller import Poller


@pytest.fixture(params=[0, 2])
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    poller = Poller(starters=request.param, workers=request.param)
    yield poller
    poller.close()


def test_calls_from_other_threads_come_in_order_and_in_the_thread_of_the_poller(poller: Poller) -> None:
    called: list[tuple[int, int]] = []
    thread = threading.Thread(
        target=lambda: [poller.soon(lambda n=n: called.append((n, threading.get_ident()))) for n in range(1000)]
    )
    thread.start()
    poller.run_until(lambda: len(called) == 1000)
    thread.join()
    assert called == [(number, threading.get_ident()) for number in range(1000)]


def test_a_call_that_fails_takes_no_other_one_along(poller: Poller) -> None:
    called: list[str] = []
    poller.soon(lambda: called.append("a"))
    poller.soon(lambda: 1 // 0)
    poller.soon(lambda: called.append("b"))
    poller.soon(lambda: called.append("c"))
    with pytest.raises(ZeroDivisionError):
        poller.step(1)
    poller.run_until(lambda: len(called) == 3)
    assert sorted(called) == ["a", "b", "c"]


def test_a_descriptor_whose_callback_fails_holds_up_no_other_one(poller: Poller) -> None:
    served: list[int] = []
    pipes = [os.pipe() for _ in range(6)]
    for number, (out, _) in enumerate(pipes):
        poller.watch(out, lambda number=number, out=out: served.append(os.read(out, 10)[0] // (number - 2)))
    for turn in (1, 2):
        for _, into in pipes:
            os.write(into, b"x")
        if turn == 1:
            with pytest.raises(ZeroDivisionError):
                poller.step(1)
        else:
            poller.step(1)
        assert len(served) == 5 * turn
    for out, into in pipes:
        poller.forget(out)
        os.close(out)
        os.close(into)


def test_what_goes_aside_comes_back_with_its_outcome(poller: Poller) -> None:
    outcomes: list[object] = []
    poller.aside(lambda: 1 + 1, lambda result, error: outcomes.append((result, error)))
    poller.aside(lambda: 1 // 0, lambda result, error: outcomes.append(type(error)), is_start=True)
    poller.run_until(lambda: len(outcomes) == 2)
    assert set(outcomes) == {(2, None), ZeroDivisionError}


def test_more_work_than_threads_waits_its_turn() -> None:
    poller = Poller(workers=2)
    at_once: list[int] = []
    running, lock, done = [0], threading.Lock(), []

    def work() -> None:
        with lock:
            running[0] += 1
            at_once.append(running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1

    for _ in range(8):
        poller.aside(work, lambda *_: done.append(1))
    poller.run_until(lambda: len(done) == 8)
    poller.close()
    assert max(at_once) == 2


def test_stuck_starters_are_replaced_and_spare_ones_dismissed() -> None:
    poller = Poller(starters=2)
    may_end, done = threading.Event(), []

    def threads() -> int:
        return sum(thread.name == "start" for thread in threading.enumerate())

    for _ in range(5):
        poller.aside(lambda: may_end.wait(10), lambda *_: done.append("stuck"), is_start=True)
    for _ in range(3):
        poller.aside(lambda: None, lambda *_: done.append("sound"), is_start=True)
    poller.run_until(lambda: done.count("sound") == 3)
    assert done.count("stuck") == 0
    may_end.set()
    until = time.monotonic() + 20
    while threads() > 2 and time.monotonic() < until:
        poller.step(0.05)
    assert threads() == 2
    assert done.count("stuck") == 5
    poller.close()


def test_timers_come_in_the_order_of_their_times_unless_cancelled(poller: Poller) -> None:
    called: list[str] = []
    poller.later(0.04, lambda: called.append("late"))
    poller.later(0.02, lambda: called.append("early"))
    poller.later(0.01, lambda: called.append("never")).cancel()
    poller.run_until(lambda: "late" in called)
    assert called == ["early", "late"]


def test_a_thread_that_comes_late_writes_nowhere() -> None:
    poller = Poller(workers=1)
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait(5)
        ended.set()

    poller.aside(work, lambda *_: None)
    poller.close()
    out, into = os.pipe()  # takes the numbers of what was closed just now
    may_end.set()
    assert ended.wait(5)
    poller.soon(lambda: None)
    os.close(into)
    assert os.read(out, 1) == b""
    os.close(out)
