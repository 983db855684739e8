"""What has to be brought where, decided from what is here, what is there and what is settled. Pure; imports siblings.

Invariants: a file that is settled is not touched again unless it changed and may change; what is written once is never
written over, on either side; the plan of what a plan has carried out is empty.
"""

from collections.abc import Collection, Mapping
from typing import TypeAlias

import msgspec

from pto_s3.layout import Area, is_plain_name


class LocalFile(msgspec.Struct, frozen=True, gc=False):
    """A file as its folder shows it."""

    size: int
    mtime_ns: int


Name: TypeAlias = tuple[Area, str]


class Settled(msgspec.Struct):
    """What is known to be the same on both sides; begins empty, and is found again by comparing after a start."""

    once: set[Name] = msgspec.field(default_factory=set)
    replaced: dict[str, tuple[LocalFile, str]] = msgspec.field(default_factory=dict)
    """File of the state -> how it looked when it was brought up, and the ETag it got."""


class SyncPlan(msgspec.Struct, frozen=True):
    """Everything to do, in the order in which to do it."""

    uploads: tuple[Name, ...] = ()
    """Write once."""
    compares: tuple[Name, ...] = ()
    """Both sides have it, and nobody has looked yet whether it is the same."""
    downloads: tuple[Name, ...] = ()
    replacements: tuple[str, ...] = ()
    """Files of the state to write over what was there."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.uploads or self.compares or self.downloads or self.replacements)


def plan_sync(local: Mapping[Name, LocalFile], remote: Collection[Name] | None, settled: Settled) -> SyncPlan:
    """The plan. ``remote`` holds what the bucket has; None: it was not looked at, so nothing is brought down.

    State that only the bucket has is brought down too: that is how a new head node begins where the old one ended.
    """
    there = () if remote is None else remote
    mine = sorted(name for name in local if is_plain_name(name[1]) and name not in settled.once)
    once = [name for name in mine if not name[0].is_replaced]
    theirs = sorted(name for name in there if name not in local and is_plain_name(name[1]))
    return SyncPlan(
        uploads=tuple(name for name in once if name not in there),
        compares=tuple(name for name in once if name in there),
        downloads=tuple(name for name in theirs if not _was_here(settled, name)),
        replacements=tuple(
            name[1] for name in mine if name[0].is_replaced and _changed(local[name], settled.replaced.get(name[1]))
        ),
    )


def _was_here(settled: Settled, name: Name) -> bool:
    """Then it was cleaned away here, on purpose."""
    return name[1] in settled.replaced if name[0].is_replaced else name in settled.once


def _changed(now: LocalFile, then: tuple[LocalFile, str] | None) -> bool:
    return then is None or then[0] != now
