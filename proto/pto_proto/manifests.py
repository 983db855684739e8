"""The contents of the blobs that name files: manifests (one attempt's own outputs) and trees (merged views).

Imports msgspec only. Invariant: both list their files sorted by path, without repeats, and encode to the same bytes for
the same files, so that their digests can be compared. The harness writes the same format without importing this module.
"""

import msgspec

from pto_proto.ids import Digest, TaskId


class ManifestFile(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One output file of an attempt."""

    path: str
    """Relative, ``/``-separated, confined to the workspace."""
    sha256: Digest
    size: int
    mode: int = 0o644
    """0o644 or 0o755; nothing else of the mode is kept."""


class Manifest(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An attempt's own outputs. ``bundle`` names an uncompressed tar with exactly these files."""

    bundle: Digest
    files: tuple[ManifestFile, ...]
    version: int = 1


class TreeFile(ManifestFile, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a merged view: which task made it, in which bundle it lies, whose versions it replaced."""

    bundle: Digest
    member: str = ""
    """Name inside the bundle when it differs from ``path``."""
    task: TaskId
    over: tuple[TaskId, ...] = ()
    """Tasks whose versions of this path this one saw and replaced, directly or through others."""


class Tree(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Files of several tasks merged over each other."""

    files: tuple[TreeFile, ...]
    version: int = 1
