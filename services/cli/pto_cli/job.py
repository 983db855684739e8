"""What a run was asked for with, kept in its folder: for a background host, or if it ends before it was accepted.

Imports msgspec, client and proto. Invariant: a job names no file outside the blob store, so it means the same later.
"""

from pathlib import Path

import msgspec

from pto_cli.registry import RunFolder
from pto_client.requester import store_inputs, with_plan
from pto_ports.blob_store import BlobStore
from pto_proto.plans import Plan
from pto_proto.requests import RunRequested


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is complete: everything that it names is stored."""

    request: RunRequested
    request_id: str


async def make_job(
    request: RunRequested, request_id: str, blobs: BlobStore, plan: Plan | None, inputs: tuple[tuple[str, Path], ...]
) -> Job:
    """Store what the request names. Raises StoreFull, LogUnavailable."""
    if inputs:
        request = msgspec.structs.replace(request, inputs_digest=await store_inputs(blobs, inputs))
    if plan is not None:
        request = await with_plan(request, plan, blobs)
    return Job(request=request, request_id=request_id)


def write_job(folder: RunFolder, job: Job) -> None:
    """Keep the job in the run's folder."""
    folder.path.mkdir(parents=True, exist_ok=True)
    path = folder.path / "job.json"
    part = path.with_name("job.json.part")
    part.write_bytes(msgspec.json.encode(job))
    part.replace(path)


def read_job(folder: RunFolder) -> Job | None:
    """The run's job; None if there is none that can be read."""
    try:
        return msgspec.json.decode((folder.path / "job.json").read_bytes(), type=Job)
    except (OSError, msgspec.MsgspecError):
        return None
