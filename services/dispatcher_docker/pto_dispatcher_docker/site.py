"""What all containers of one dispatcher share, and the way in which each of them is run.

Imports harness, ports and siblings. Invariant: every container is made of ``render_body`` alone and carries its owner.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from pto_dispatcher_docker.body import WORK, Allowance, Mount, Part, labels_of, name_of, render_body
from pto_dispatcher_docker.container import Container, Say
from pto_dispatcher_docker.daemon import Daemon, DaemonRefused, Seen
from pto_dispatcher_docker.judgement import judged, refusal
from pto_dispatcher_docker.limits import STOP_GRACE_S, USER
from pto_dispatcher_docker.private import PrivateFiles
from pto_dispatcher_docker.room import Rooms
from pto_harness import Cancel
from pto_harness.process import Ended
from pto_ports.backend import Order
from pto_ports.clock import Clock


def container_user() -> tuple[int, int]:
    """User and group of everything in containers: never root."""
    return (os.getuid(), os.getgid()) if os.getuid() else (USER, USER)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One container of one order."""

    order: Order
    what: str
    """In words, such as "the command"."""
    argv: Sequence[str]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    folders: tuple[Path, ...]
    """Where it may write on this host."""
    room_bytes: int
    """What each of them may take."""
    allowed: Allowance
    part: str = WORK
    limit_s: float = 0.0
    """What is left of the attempt's time; 0: no limit."""
    whole_limit_s: float = 0.0
    grace_s: int = STOP_GRACE_S


class Site:
    """One dispatcher's."""

    def __init__(
        self,
        *,
        daemon: Daemon,
        clock: Clock,
        owner: str,
        user: tuple[int, int],
        defaults: Allowance,
        rooms: Rooms,
        private: PrivateFiles,
    ) -> None:
        self.daemon = daemon
        self.clock = clock
        self.owner = owner
        self.user = user
        self.defaults = defaults
        self.rooms = rooms
        self.private = private

    async def run(
        self,
        wanted: Wanted,
        feed: Callable[[str, bytes], None],
        cancel: Cancel,
        *,
        on_start: Callable[[], None] = lambda: None,
        say: Say = lambda state, detail: None,
        found: Seen | None = None,
    ) -> Ended:
        """Run it to its end, or see the end of the one that was found. Raises Failed."""
        part = Part(
            name=name_of(wanted.order, wanted.part),
            labels=labels_of(wanted.order, self.owner, wanted.part),
            argv=wanted.argv,
            environment=wanted.environment,
            mounts=wanted.mounts,
        )
        container = Container(
            self.daemon,
            self.clock,
            part.name,
            render_body(part, wanted.allowed, self.user),
            feed=feed,
            on_start=on_start,
            say=say,
            is_full=partial(self.rooms.is_full, wanted.folders, wanted.room_bytes),
            grace_s=wanted.grace_s,
            found=found,
        )
        try:
            seen, watch = await container.run(cancel, wanted.limit_s, wanted.whole_limit_s)
        except DaemonRefused as refused:
            raise refusal(refused, wanted.what, wanted.allowed) from refused
        verdict = judged(seen, watch, wanted.what, wanted.allowed, wanted.room_bytes)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict
