"""Payloads of plain NATS messages, which may be lost: signs of life, and states to compare. Imports msgspec only.

Invariant: nothing that must not be lost travels here.
"""

from typing import Literal

import msgspec

from pto_proto.ids import Digest, InstanceId, Lane, RunId


class Heartbeat(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The payload of ``pto-live.heartbeat.<lane>._``: this incarnation of the instance is alive."""

    lane: Lane
    instance: InstanceId
    incarnation: str


class StateShown(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The payload of ``pto-live.state._._``: what a scheduler's state is after the event stored at ``seq``."""

    instance: InstanceId
    incarnation: str
    role: Literal["leading", "standby"]
    seq: int
    digest: Digest
    """Digest of the whole state, see ``pto_core.snapshot.digests``."""
    fold_version: int
    """Only states of the same version of the fold can be compared."""
    runs: dict[RunId, Digest] = {}
    """Each run's own digest, so that a difference can be named; the latest runs only, if there are very many."""
