"""One container from its creation to its end: brought up once, watched through whatever happens to the daemon, ended
when that is asked for.

Imports harness, ports and siblings. Invariants: it is started at most once, because its name is taken by then; that it
has ended is believed only of a look at it; while nobody can look, nothing is concluded.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from pto_dispatcher_docker.daemon import Daemon, DaemonAway, DaemonRefused, NameTaken, NoContainer, Seen
from pto_dispatcher_docker.judgement import Watch, Why
from pto_dispatcher_docker.limits import (
    DRAIN_S,
    ESCAPED_BYTES,
    FIRST_PAUSE_S,
    LATE_DONE_S,
    LATE_KILL_S,
    LATE_S,
    LINE_BYTES,
    LOG_BYTES,
    LONGEST_PAUSE_S,
    LOOK_S,
    OVERLAP_S,
    PATIENCE_S,
    PLAIN,
    SHUTDOWN_S,
    STOP_GRACE_S,
)
from pto_harness import Cancel
from pto_harness.failure import KILLED, Failed
from pto_ports.clock import Clock

Say = Callable[[str, str], None]
"""(state, detail) of the container, for whoever looks on."""
IsFull = Callable[[], Coroutine[Any, Any, None]]
"""Returns when the container takes too much room."""
NEVER_RAN = Seen(id="", name="", status="created", exit_code=143)


class Container:
    """One of them. ``found``: it was there before this process began to care."""

    def __init__(
        self,
        daemon: Daemon,
        clock: Clock,
        name: str,
        body: Mapping[str, Any],
        *,
        feed: Callable[[str, bytes], None],
        on_start: Callable[[], None] = lambda: None,
        say: Say = lambda state, detail: None,
        is_full: IsFull | None = None,
        grace_s: int = STOP_GRACE_S,
        found: Seen | None = None,
    ) -> None:
        self._daemon = daemon
        self._clock = clock
        self._name = name
        self._body = body
        self._feed = feed
        self._on_start = on_start
        self._say = say
        self._is_full = is_full
        self._grace_s = grace_s
        self._found = found
        self._id = found.id if found is not None else ""
        self._why: Why = "exited"
        self._lost_ms: int | None = None
        self._is_unwatched = found is not None and found.has_ended
        self._is_away = False
        self._may_run = found is not None and found.status != "created"
        """Whether a start was asked for, whatever came of it."""
        self._is_told = found is not None and found.status != "created"
        self._has_ended = asyncio.Event()
        self._fed: Counter[str] = Counter()
        self._kept_bytes = 0
        """What the daemon has kept of that, or more."""
        self._fed_ms = 0

    async def run(self, cancel: Cancel, limit_s: float = 0.0, whole_limit_s: float = 0.0) -> tuple[Seen, Watch]:
        """Bring it up and see it ended; ``limit_s`` is what is left of ``whole_limit_s``.

        Raises Failed when it cannot be brought up, or is gone, and DaemonRefused.
        """
        stop = asyncio.Event()
        throw = partial(_set_from_anywhere, asyncio.get_running_loop(), stop)
        cancel.listen(throw)
        try:
            if not await self._bring_up(cancel):
                return NEVER_RAN, Watch("cancelled")
            following = asyncio.create_task(self._follow())
            ending = asyncio.create_task(self._end_when(stop, limit_s))
            try:
                seen = await self._see_ended()
                self._has_ended.set()
                why = self._why
                told = await self._told_of(seen)
                seen = msgspec.structs.replace(seen, oom_killed=seen.oom_killed or "oom" in told)
                done, _ = await asyncio.wait({following}, timeout=DRAIN_S)
                for task in done:
                    task.result()
            finally:
                for task in (following, ending):
                    task.cancel()
                await asyncio.gather(following, ending, return_exceptions=True)
        finally:
            cancel.unlisten(throw)
        return seen, Watch(why, self._is_unwatched, "kill" in told, self._lost_ms, whole_limit_s)

    # --- bringing it up ---

    async def _bring_up(self, cancel: Cancel) -> bool:
        """Whether it runs, or has run; False: it was cancelled before."""
        pauses = Pauses(self._clock)
        since = self._clock.monotonic_s()
        while True:
            if cancel.requested and not self._may_run:
                return False
            try:
                if not self._id:
                    self._id = await self._make()
                    continue
                if self._found is None or self._found.status == "created":
                    self._may_run = True
                    await self._daemon.start(self._id)
                if not self._is_told:
                    self._is_told = True
                    self._on_start()
            except NoContainer as error:
                raise Failed("infra", f"its container {self._name} is gone; somebody removed it") from error
            except DaemonAway as away:
                if not self._may_run and self._clock.monotonic_s() - since > PATIENCE_S:
                    raise no_daemon(self._daemon, away) from away
                self._note_away(away)
                await pauses.wait()
            else:
                return True
            if self._may_run:
                self._found = await self._look()

    async def _make(self) -> str:
        try:
            return await self._daemon.create(self._name, self._body)
        except NameTaken:
            # An answer got lost, or an attempt of somebody else has this name.
            seen = await self._daemon.inspect(self._name)
        if not seen.bears(self._body["Labels"]):
            hint = f"Remove it if nobody needs it: docker rm -f {self._name}"
            raise Failed("config", f"a container {self._name} is there already, and it is not of this system", hint)
        self._found = seen
        self._may_run = seen.status != "created"
        return seen.id

    # --- seeing it ended ---

    async def _see_ended(self) -> Seen:
        pauses = Pauses(self._clock)
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._daemon.wait(self._id)
            except TimeoutError:
                pass
            except NoContainer:
                pass
            except (DaemonAway, DaemonRefused) as away:
                self._note_away(away)
                await pauses.wait()
            seen = await self._look()
            if seen.has_ended:
                return seen
            if self._lost_ms is not None and self._clock.now_ms() - self._lost_ms > SHUTDOWN_S * 1000:
                self._lost_ms = None  # it has outlived that: however it ends now is its own end
            if self._is_away:
                self._is_away = False
                self._say("running", "the container engine answers again")

    async def _told_of(self, seen: Seen) -> frozenset[str]:
        """What the daemon tells of a container beside its state: whether it used up its memory, which its state never
        says when the daemon heard of that after the end; and of a failed one, whether somebody else told it to end, a
        person or the daemon itself when it is stopped.
        """
        if seen.oom_killed or self._why != "exited" or self._is_unwatched:
            return frozenset()
        late_s = LATE_KILL_S if seen.exit_code == KILLED else LATE_S if seen.exit_code else LATE_DONE_S
        since_ms = min(seen.started_ms, seen.finished_ms)  # the start of a short one may be noted after its end
        try:
            told = await self._daemon.told_of(self._id, since_ms, seen.finished_ms + int(late_s * 1000))
        except (DaemonAway, DaemonRefused) as away:
            self._note_away(away)
            return frozenset()
        return told if seen.exit_code else told - {"kill"}

    async def _look(self) -> Seen:
        """The container as it is, as soon as anybody can say that. Raises Failed if there is none."""
        pauses = Pauses(self._clock)
        while True:
            try:
                return await self._daemon.inspect(self._id)
            except NoContainer as error:
                raise Failed("infra", f"its container {self._name} is gone; somebody removed it") from error
            except (DaemonAway, DaemonRefused) as away:
                self._note_away(away)
                await pauses.wait()

    def _note_away(self, away: Exception) -> None:
        if self._lost_ms is None and self._may_run:
            self._lost_ms = self._clock.now_ms()
        if not self._is_away:
            self._is_away = True
            self._say("unknown", f"the container engine does not answer ({away})")

    # --- beside that ---

    async def _follow(self) -> None:
        """Feed its output once, whatever connections it takes. Raises Failed when it cannot be kept."""
        pauses = Pauses(self._clock)
        while True:
            is_whole = self._kept_bytes < LOG_BYTES  # else what was fed may be gone, and cannot be counted off
            since_s = 0.0 if is_whole else self._fed_ms / 1000 - OVERLAP_S
            try:
                await self._daemon.follow(self._id, self._feed_new(Counter(self._fed if is_whole else ())), since_s)
            except (DaemonAway, DaemonRefused):
                await pauses.wait()
                continue
            # A daemon that is stopped may close the stream in order, too.
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await self._has_ended.wait()
                    return

    def _feed_new(self, skip: Counter[str]) -> Callable[[str, bytes], None]:
        """Takes the output and feeds it but for so many bytes of each stream, which were fed before."""

        def feed(stream: str, data: bytes) -> None:
            known = min(skip[stream], len(data))
            skip[stream] -= known
            if len(data) > known:
                self._fed[stream] += len(data) - known
                escaped = len(data.translate(None, PLAIN))
                self._kept_bytes += len(data) + (ESCAPED_BYTES - 1) * escaped + LINE_BYTES * data.count(b"\n")
                self._fed_ms = self._clock.now_ms()
                try:
                    self._feed(stream, data[known:])
                except OSError as error:
                    hint = "Free some space on the disk of the workspaces."
                    raise Failed("infra", f"its output cannot be kept: {error}", hint) from error

        return feed

    async def _end_when(self, stop: asyncio.Event, limit_s: float) -> None:
        """End it when that is asked for, when its time is over, or when it takes too much room."""
        reasons: dict[asyncio.Task[object], Why] = {asyncio.create_task(stop.wait()): "cancelled"}
        if limit_s:
            reasons[asyncio.create_task(self._clock.sleep(limit_s))] = "timeout"
        if self._is_full is not None:
            reasons[asyncio.create_task(self._is_full())] = "full"
        try:
            done, _ = await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in reasons:
                task.cancel()
        self._why = min(reasons[task] for task in done)
        pauses = Pauses(self._clock)
        while not self._has_ended.is_set():
            try:
                await self._daemon.stop(self._id, self._grace_s)
            except NoContainer:
                return
            except (DaemonAway, DaemonRefused):
                await pauses.wait()
            else:
                return


class Pauses:
    """Longer and longer ones, up to a bound."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.count = 0

    def next_s(self) -> float:
        """The next one."""
        self.count += 1
        return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.count - 1)))

    async def wait(self) -> None:
        """Take it."""
        await self._clock.sleep(self.next_s())


def no_daemon(daemon: Daemon, away: Exception) -> Failed:
    """No container can be made now: the lane rests, and nothing is burnt."""
    reason = f"the container engine does not answer at {daemon.socket}: {away}"
    return Failed("capacity", reason, "Start it (systemctl start docker); the lane goes on by itself then.")


def _set_from_anywhere(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop has just been closed
        loop.call_soon_threadsafe(event.set)
