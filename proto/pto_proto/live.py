"""Payloads of plain NATS messages, which may be lost: signs of life. Imports msgspec only.

Invariant: nothing that must not be lost travels here.
"""

import msgspec

from pto_proto.ids import InstanceId, Lane


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of ``pto-live.heartbeat.<lane>._``: this incarnation of the instance is alive."""

    lane: Lane
    instance: InstanceId
    incarnation: str
