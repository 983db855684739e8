"""The requester's side of the front door: stores what a request names, then asks.

Imports ports and proto only. Invariant: a blob is stored before the request that names it; the same request id is the
same request, however often it is sent.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from pto_ports.blob_store import BlobStore
from pto_ports.event_log import LogFull, LogUnavailable, NotSettled
from pto_proto.envelope import MAX_EVENT_BYTES, encode_request
from pto_proto.ids import NO_DIGEST, Digest
from pto_proto.plans import InputFile, Plan
from pto_proto.requests import PlanApproved, Request, RunRequested
from pto_proto.subjects import request_subject

TRIES = 5
"""How often a request is sent before the requester is told that the broker does not take it."""
FULL = (
    "the request was not taken: the broker keeps no more requests of yours. Those that wait are answered when a "
    "scheduler runs; an operator makes room with `orchestrator archive`, or raises the limit"
)
RETRY_S = 0.5
"""Pause between two tries."""


class Queue(Protocol):
    """Where requests are stored."""

    async def submit(self, subject: str, data: bytes, request_id: str) -> int:
        """Store a request; returns its sequence."""


async def ask(queue: Queue, request: Request, *, requester: str, request_id: str, now: int) -> int:
    """Send the request; returns its sequence in ``PTO_REQ``. Raises LogUnavailable when the broker does not
    take it, LogFull when it has no room.
    """
    subject = request_subject(type(request), requester)
    data = encode_request(request_id, requester, now, request)
    for left in range(TRIES - 1, -1, -1):
        try:
            return await queue.submit(subject, data, request_id)
        except LogFull as full:
            raise LogFull(f"{FULL} ({full})") from full
        except (NotSettled, LogUnavailable) as error:
            if left == 0:
                raise LogUnavailable(f"the request could not be stored: {error}") from error
            await asyncio.sleep(RETRY_S)
    raise AssertionError("unreachable")


async def store_inputs(blobs: BlobStore, files: Sequence[tuple[str, Path]]) -> Digest:
    """Store each (path in the workspace, file) and the list of them; returns its digest (none for no files)."""
    if not files:
        return NO_DIGEST
    stored = []
    for path, file in sorted(files):
        status = file.stat()
        mode = 0o755 if status.st_mode & 0o100 else 0o644
        stored.append(InputFile(path=path, sha256=await blobs.put_file(file), size=status.st_size, mode=mode))
    return await blobs.put(msgspec.json.encode(stored))


async def with_plan(request: RunRequested, plan: Plan, blobs: BlobStore) -> RunRequested:
    """The request with this plan: inside, or by digest when it would make the request too big."""
    data = msgspec.json.encode(plan)
    if len(data) <= MAX_EVENT_BYTES // 2:
        return msgspec.structs.replace(request, plan=plan)
    return msgspec.structs.replace(request, plan_digest=await blobs.put(data))


async def with_edited_plan(request: PlanApproved, plan: Plan, blobs: BlobStore) -> PlanApproved:
    """The approval with this plan in the place of the one that waits: inside, or by digest when it would be too big."""
    data = msgspec.json.encode(plan)
    if len(data) <= MAX_EVENT_BYTES // 2:
        return msgspec.structs.replace(request, plan=plan)
    return msgspec.structs.replace(request, edited_digest=await blobs.put(data))
