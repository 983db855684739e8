"""One container through lost answers and a daemon that comes and goes: every call is made, or not, by a script."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pto_dispatcher_docker.container import Container
from pto_dispatcher_docker.daemon import DaemonAway, NameTaken, NoContainer, Seen
from pto_dispatcher_docker.judgement import Watch
from pto_dispatcher_docker.limits import LOG_BYTES, PATIENCE_S, SHUTDOWN_S
from pto_harness import Cancel
from pto_harness.failure import Failed
from pto_runtime.clock import SystemClock

BODY = {"Labels": {"pto.owner": "mine"}}


class FastClock(SystemClock):
    """Sleeps a thousandth of what it is told, and says that it was all of it."""

    def __init__(self) -> None:
        self._slept = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._slept

    def now_ms(self) -> int:
        return super().now_ms() + int(self._slept * 1000)

    async def sleep(self, seconds: float) -> None:
        self._slept += seconds
        await asyncio.sleep(seconds / 1000)


class ScriptedDaemon:
    """A daemon with one container. ``trouble``: call -> what happens, one after the other; then it works.

    ``lost``: it does what was asked, and the answer gets lost; ``away``: it does nothing.
    """

    socket = "/nowhere.sock"

    def __init__(self, **trouble: list[str]) -> None:
        self.trouble = trouble
        self.calls: list[str] = []
        self.state = ""
        self.labels: Mapping[str, str] = {}
        self.exit_code = 0
        self.told: frozenset[str] = frozenset()
        self.output = [("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\n")]
        self.ended = asyncio.Event()
        self.at_start: Callable[[], object] = self.end_soon
        """What happens when it runs: it ends by itself unless the test says otherwise."""

    async def _do(self, call: str, work: Callable[[], Any]) -> Any:
        self.calls.append(call)
        await asyncio.sleep(0)
        trouble = self.trouble.get(call, [])
        what = trouble.pop(0) if trouble else ""
        if what == "away":
            raise DaemonAway("refused")
        result = work()
        if what == "lost":
            raise DaemonAway("cut")
        return result

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        def work() -> str:
            if self.state:
                raise NameTaken(409, "already in use")
            self.state, self.labels = "created", body["Labels"]
            return "c1"

        return await self._do("create", work)

    async def start(self, container: str) -> None:
        def work() -> None:
            assert self.state == "created", "started twice"
            self.state = "running"
            self.at_start()

        await self._do("start", work)

    def end_soon(self) -> None:
        asyncio.get_running_loop().call_later(0.05, self.finish)

    def finish(self, code: int | None = None) -> None:
        if self.state == "running":
            self.state, self.exit_code = "exited", self.exit_code if code is None else code
            self.ended.set()

    async def inspect(self, container: str) -> Seen:
        def work() -> Seen:
            if not self.state:
                raise NoContainer(404, "no such container")
            return Seen(
                id="c1", name="pto-1", labels=self.labels, status=self.state, exit_code=self.exit_code, started_ms=1
            )

        return await self._do("inspect", work)

    async def wait(self, container: str) -> None:
        await self._do("wait", lambda: None)
        await self.ended.wait()

    async def follow(self, container: str, feed: Callable[[str, bytes], None], since_s: float = 0.0) -> None:
        for at, (stream, data) in enumerate(self.output):
            await self._do(f"follow{at}", lambda stream=stream, data=data: feed(stream, data))
        await self.ended.wait()

    async def stop(self, container: str, grace_s: int) -> None:
        await self._do("stop", lambda: self.finish(143))

    async def told_of(self, container: str, since_ms: int, until_ms: int) -> frozenset[str]:
        return self.told


async def live(
    daemon: ScriptedDaemon, cancel: Cancel | None = None, limit_s: float = 0.0, **fields: Any
) -> tuple[Seen, Watch, bytes, list[str]]:
    """(container, watch, what it wrote, what was said)."""
    said: list[str] = []
    written: list[bytes] = []
    container = Container(
        daemon, FastClock(), "pto-1", BODY,  # type: ignore[arg-type]
        feed=lambda stream, data: written.append(data), on_start=lambda: said.append("started"),
        say=lambda state, detail: said.append(state), **fields,
    )  # fmt: skip
    seen, watch = await container.run(cancel or Cancel(), limit_s)
    return seen, watch, b"".join(written), said


@pytest.mark.parametrize(
    "trouble",
    [
        {},
        {"create": ["away", "away"]},
        {"create": ["lost"]},
        {"create": ["lost"], "inspect": ["away"]},
        {"start": ["away"]},
        {"start": ["lost"]},
        {"start": ["lost"], "inspect": ["away", "lost", "away"]},
        {"wait": ["away", "lost"]},
        {"wait": ["away"], "inspect": ["away", "away", "away"]},
        {"follow1": ["away"], "follow2": ["lost", "away"]},
        {
            "create": ["lost"],
            "start": ["lost"],
            "wait": ["lost"],
            "inspect": ["lost", "lost"],
            "follow0": ["lost", "lost"],
        },
    ],
)
async def test_it_is_started_once_and_its_output_comes_once(trouble: dict[str, list[str]]) -> None:
    daemon = ScriptedDaemon(**trouble)
    seen, watch, written, said = await live(daemon)
    assert (seen.status, seen.exit_code, watch.why) == ("exited", 0, "exited")
    assert written == b"one\ntwo\nthree\n"
    assert said.count("started") == 1


async def test_without_a_daemon_there_is_no_capacity_and_nothing_was_started() -> None:
    daemon = ScriptedDaemon(create=["away"] * 1000)
    with pytest.raises(Failed) as caught:
        await live(daemon)
    assert caught.value.failure == "capacity"
    assert "/nowhere.sock" in str(caught.value)
    assert "start" not in daemon.calls
    assert PATIENCE_S > 3, "a restart of the daemon is waited for"


async def test_one_that_is_there_is_waited_for_however_long_the_daemon_is_away() -> None:
    daemon = ScriptedDaemon(start=["lost"], inspect=["away"] * 50)
    _, watch, _, said = await live(daemon)
    assert watch.lost_ms is not None
    assert said[:2] == ["unknown", "started"] or said.count("unknown") == 1


async def test_output_of_which_the_daemon_has_forgotten_the_beginning_is_read_to_its_end() -> None:
    class Forgetful(ScriptedDaemon):
        async def follow(self, container: str, feed: Callable[[str, bytes], None], since_s: float = 0.0) -> None:
            feed("stdout", b"end\n" if since_s else bytes(LOG_BYTES))
            if not since_s:
                raise DaemonAway("cut")
            await self.ended.wait()

    _, _, written, _ = await live(Forgetful())
    assert written[LOG_BYTES:] == b"end\n"


@pytest.mark.parametrize(("later_s", "is_its_own"), [(1.0, False), (SHUTDOWN_S + 1, True)])
async def test_an_end_long_after_the_daemon_was_away_is_its_own(later_s: float, is_its_own: bool) -> None:
    class Back(ScriptedDaemon):
        async def wait(self, container: str) -> None:
            self.calls.append("wait")
            if self.calls.count("wait") == 1:
                raise DaemonAway("cut")
            if self.calls.count("wait") == 2:
                clock._slept += later_s
            else:
                self.finish()

    daemon, clock = Back(), FastClock()
    daemon.at_start = lambda: None
    container = Container(daemon, clock, "pto-1", BODY, feed=lambda stream, data: None)  # type: ignore[arg-type]
    _, watch = await container.run(Cancel())
    assert (watch.lost_ms is None) == is_its_own


async def test_a_container_of_somebody_else_is_left_alone() -> None:
    daemon = ScriptedDaemon()
    daemon.state, daemon.labels = "running", {"pto.owner": "somebody"}
    with pytest.raises(Failed) as caught:
        await live(daemon)
    assert caught.value.failure == "config"
    assert daemon.calls == ["create", "inspect"]


@pytest.mark.parametrize("state", ["created", "running", "exited"])
async def test_one_that_was_found_is_never_made_again(state: str) -> None:
    daemon = ScriptedDaemon()
    daemon.state, daemon.labels = state, BODY["Labels"]
    if state == "running":
        daemon.end_soon()
    elif state == "exited":
        daemon.ended.set()
    found = Seen(id="c1", name="pto-1", labels=BODY["Labels"], status=state)
    seen, watch, written, said = await live(daemon, found=found)
    assert seen.status == "exited"
    assert written == b"one\ntwo\nthree\n"
    assert "create" not in daemon.calls
    assert ("start" in daemon.calls) == (state == "created")
    assert watch.is_unwatched == (state == "exited")
    assert said == (["started"] if state == "created" else [])


async def test_a_cancel_before_the_start_starts_nothing() -> None:
    cancel = Cancel()
    cancel.request("enough")
    daemon = ScriptedDaemon()
    _, watch, _, said = await live(daemon, cancel)
    assert watch.why == "cancelled"
    assert not said
    assert not daemon.calls


@pytest.mark.parametrize(("limit_s", "why"), [(0.0, "cancelled"), (5.0, "timeout")])
async def test_it_is_told_to_end_until_the_daemon_hears_it(limit_s: float, why: str) -> None:
    daemon = ScriptedDaemon(stop=["away", "away"])
    cancel = Cancel()
    daemon.at_start = lambda: limit_s or cancel.request("enough")
    seen, watch, _, _ = await live(daemon, cancel, limit_s)
    assert (watch.why, seen.exit_code) == (why, 143)
    assert daemon.calls.count("stop") == 3


@pytest.mark.parametrize("exit_code", [137, 1, 0])
async def test_that_its_memory_was_used_up_may_be_told_after_its_end(exit_code: int) -> None:
    daemon = ScriptedDaemon()
    daemon.exit_code, daemon.told = exit_code, frozenset({"oom"})
    seen, watch, _, _ = await live(daemon)
    assert (seen.oom_killed, watch.was_killed) == (True, False)


@pytest.mark.parametrize(("exit_code", "was_killed"), [(143, True), (0, False)])
async def test_one_that_was_told_to_end_and_ended_well_has_done_its_work(exit_code: int, was_killed: bool) -> None:
    daemon = ScriptedDaemon()
    daemon.exit_code, daemon.told = exit_code, frozenset({"kill"})
    seen, watch, _, _ = await live(daemon)
    assert (seen.oom_killed, watch.was_killed) == (False, was_killed)


async def test_one_that_disappears_is_nobodys_fault() -> None:
    daemon = ScriptedDaemon()
    daemon.at_start = lambda: (setattr(daemon, "state", ""), daemon.ended.set())
    with pytest.raises(Failed) as caught:
        await live(daemon)
    assert caught.value.failure == "infra"


async def test_a_log_that_cannot_be_written_ends_nothing_but_the_attempt() -> None:
    def full(stream: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    daemon = ScriptedDaemon()
    container = Container(daemon, FastClock(), "pto-1", BODY, feed=full)  # type: ignore[arg-type]
    with pytest.raises(Failed, match="cannot be kept"):
        await container.run(Cancel())
    assert daemon.state == "exited"
