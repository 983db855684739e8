"""What a finished task left behind for later runs: the items of the list that ``RunRequested.reuse_digest`` names.

Imports msgspec only. Invariant: only verified successes are listed.
"""

import msgspec

from pto_proto.ids import NO_DIGEST, Digest, TaskId


class Reusable(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One success: whoever has the same ``key`` may take over its outputs."""

    key: Digest
    manifest: Digest = NO_DIGEST
    tree: Digest = NO_DIGEST
    run: str
    task: TaskId
    parts: dict[str, str] = {}
    """What went into the key, by name, each as a digest: so that a difference can be named."""
