"""The frame of a service: log lines, exit codes and signals, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

HEAD = """
import asyncio, logging
import structlog
from pto_runtime.service import CannotServe, run_service
log = structlog.get_logger()
"""
WAITS = (
    HEAD
    + """
async def serve(settings, stop, on_up):
    on_up()
    print("up", flush=True)
    await stop.wait()
    print("ending", flush=True)
    await asyncio.sleep({ending_s})
run_service("sample", serve)
"""
)
FAILS = (
    HEAD
    + """
async def serve(settings, stop, on_up):
    raise CannotServe("the broker at nowhere does not answer: check NATS_URL")
run_service("sample", serve)
"""
)
LOGS = (
    HEAD
    + """
async def serve(settings, stop, on_up):
    structlog.contextvars.bind_contextvars(run="run-one", task="a", attempt=1)
    log.info("started", files=3)
    log.debug("not shown")
    logging.getLogger("nats.aio.client").warning("lost %s", "connection")
run_service("sample", serve)
"""
)


WAITS_FOR_EVER = (
    HEAD
    + """
import pto_runtime.service
pto_runtime.service.END_S = 0.5
async def serve(settings, stop, on_up):
    on_up()
    print("up", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("left", flush=True)
run_service("sample", serve)
"""
)
STARTS_FOR_EVER = (
    HEAD
    + """
async def serve(settings, stop, on_up):
    print("starting", flush=True)
    await asyncio.Event().wait()
run_service("sample", serve)
"""
)
HAS_LAST_WORDS = (
    HEAD
    + """
async def answer(questions):
    while True:
        (await questions.get()).set_result("kept")
async def serve(settings, stop, on_up):
    questions = asyncio.Queue()
    connection = asyncio.create_task(answer(questions))
    print("starting", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        asked = asyncio.get_running_loop().create_future()
        questions.put_nowait(asked)
        print(await asked, flush=True)
run_service("sample", serve)
"""
)
CANNOT_BE_CANCELLED = (
    HEAD
    + """
import pto_runtime.ending
pto_runtime.ending.LEAVE_S = 0.05
async def items():
    await asyncio.Event().wait()
    yield
async def serve(settings, stop, on_up):
    print("starting", flush=True)
    for _ in range({times}):
        try:
            async for _ in items():
                pass
        except asyncio.CancelledError:
            pass
    print("left", flush=True)
run_service("sample", serve)
"""
)
LEAVES_TASKS = (
    HEAD
    + """
import pto_runtime.ending
pto_runtime.ending.LEAVE_S = 0.2
async def work(is_deaf):
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if not is_deaf:
                raise
async def serve(settings, stop, on_up):
    global left
    left = [asyncio.create_task(work(is_deaf)) for is_deaf in (True, False)]
    await asyncio.sleep(0)
    print("done", flush=True)
run_service("sample", serve)
"""
)


@contextmanager
def service(code: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def signal_after(process: subprocess.Popen[str], line: str, number: int = signal.SIGTERM) -> None:
    """Send the signal once the service has said this."""
    assert process.stdout
    assert process.stdout.readline() == f"{line}\n"
    process.send_signal(number)


def test_a_signal_ends_a_service_in_order() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with service(WAITS.format(ending_s=0)) as process:
            signal_after(process, "up", number)
            assert process.stdout.readline() == "ending\n"
            assert process.wait(10) == 0


def test_who_waits_for_a_broker_that_is_away_can_be_ended() -> None:
    with service(WAITS_FOR_EVER) as process:
        signal_after(process, "up")
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "left\n")
        assert "did not end in order" in err


def test_who_is_still_starting_ends_at_once() -> None:
    with service(STARTS_FOR_EVER) as process:
        signal_after(process, "starting")
        assert process.wait(10) == 0  # END_S is longer


def test_last_words_find_the_connection_still_there() -> None:
    with service(HAS_LAST_WORDS) as process:
        signal_after(process, "starting")
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "kept\n")


def test_a_cancellation_that_got_lost_is_sent_again() -> None:
    with service(CANNOT_BE_CANCELLED.format(times=2)) as process:
        signal_after(process, "starting")
        assert process.stdout.readline() == "left\n"
        assert process.wait(10) == 0


def test_who_cannot_be_cancelled_at_all_is_ended_and_tells_where_it_waited() -> None:
    with service(CANNOT_BE_CANCELLED.format(times=1000)) as process:
        signal_after(process, "starting")
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (3, "")
        last = json.loads(err.splitlines()[-1])
        assert last["event"].startswith("cannot be ended in order")
        assert last["waits_at"][0].startswith("<string>:")


def test_what_a_service_leaves_behind_does_not_keep_it() -> None:
    with service(LEAVES_TASKS) as process:
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (3, "done\n")
        assert len(json.loads(err.splitlines()[-1])["waits_at"]) == 1, "the other one has heard"


def test_a_second_signal_ends_it_at_once() -> None:
    with service(WAITS.format(ending_s=60)) as process:
        signal_after(process, "up")
        assert process.stdout.readline() == "ending\n"
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM


def test_what_was_foreseen_is_one_sentence_and_exit_3() -> None:
    with service(FAILS) as process:
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 3
        assert errors.splitlines()[-1] == "pto-sample: the broker at nowhere does not answer: check NATS_URL"
        assert "Traceback" not in errors


def test_bad_settings_are_exit_2() -> None:
    with service(FAILS, PTO_CAPACITY="many") as process:
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 2
        assert errors == "pto-sample: PTO_CAPACITY must be a number from 1 to 10000, not 'many'\n"


def test_log_lines_are_json_with_their_context_and_so_are_those_of_libraries() -> None:
    with service(LOGS) as process:
        _, errors = process.communicate(timeout=10)
        own, library = [json.loads(line) for line in errors.splitlines()]
        assert own.pop("timestamp").endswith("Z")
        assert own == {
            "event": "started", "level": "info", "files": 3,
            "service": "sample", "run": "run-one", "task": "a", "attempt": 1,
        }  # fmt: skip
        assert (library["event"], library["logger"], library["level"]) == (
            "lost connection", "nats.aio.client", "warning",
        )  # fmt: skip
