"""Values inside events: what a model charged for, what a check said, what tasks disagree about. Imports msgspec only.

Invariant: plain data that means the same on every host.
"""

import msgspec

from pto_proto.ids import TaskId


class Usage(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Tokens that a model charged for."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


class CheckResult(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One check on the merged tree."""

    command: str
    passed: bool
    exit_code: int | None = None
    tail: tuple[str, ...] = ()


class Conflict(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Tasks that wrote different content to one path without one depending on the other."""

    path: str
    tasks: tuple[TaskId, ...]
    resolution: str
