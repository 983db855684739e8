"""Calls the clients of SLURM: by argument vector, in an environment of our own, with a time limit.

Imports pto_slurm and runtime. Invariants: no shell; nothing of our environment but an allow-list reaches a client,
since ``SBATCH_*`` and ``SLURM_*`` change what it does; a call that fails raises and says nothing about any job.
"""

import asyncio
import getpass
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from pto_slurm.answers import Answer, answer_of
from pto_slurm.queue import (
    SACCT_FIELDS,
    SACCT_FIELDS_OLD,
    SINFO_FORMAT,
    SQUEUE_FORMAT,
    TIME_FORMAT,
    JobRow,
    NodeGroup,
    read_sacct,
    read_sinfo,
    read_squeue,
)

ALLOWED = ("HOME", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "SLURM_CONF", "TMPDIR", "USER")
LIMIT_S = 30.0
"""A client gives up by itself after about 10 s without its controller; some hang for ever."""
CANCEL_AT_ONCE = 100
"""Jobs in one scancel: each is a call to the controller."""
SHOWN = 400
NO_ACCOUNTING = "accounting storage is disabled"


class ClientFailed(Exception):
    """A client did not answer as it should; nothing follows from that."""


class Ended(NamedTuple):
    """How a client ended; ``exit_code`` None: it was killed at the limit."""

    exit_code: int | None
    stdout: str
    stderr: str


class SlurmClients:
    """The commands of one cluster."""

    def __init__(self, environment: Mapping[str, str], *, limit_s: float = LIMIT_S) -> None:
        kept = {name: environment[name] for name in ALLOWED if name in environment}
        self._environment = {**kept, "LC_ALL": "C", "SLURM_TIME_FORMAT": TIME_FORMAT}
        self._limit_s = limit_s
        self._sacct_fields: tuple[str, ...] = SACCT_FIELDS
        self._has_sacct = True

    async def submit(self, argv: Sequence[str]) -> Answer:
        """What sbatch answered. Never raises for what sbatch does: that it could not be started is a refusal."""
        ended = await self._call(argv)
        return answer_of(ended.exit_code, ended.stdout, ended.stderr)

    async def jobs(self) -> tuple[JobRow, ...]:
        """All jobs of this user that the controller knows. Raises ClientFailed."""
        ended = await self._checked(("squeue", "-h", "-a", "--me", "-t", "all", "-O", SQUEUE_FORMAT))
        reading = read_squeue(ended.stdout)
        if reading.unreadable and not reading.jobs:
            raise ClientFailed(f"squeue printed what cannot be read: {reading.unreadable[0][:SHOWN]!r}")
        return reading.jobs

    async def past_jobs(self, jobs: Sequence[str]) -> tuple[JobRow, ...]:
        """What accounting knows of these jobs; nothing where there is none. Raises ClientFailed."""
        if not jobs or not self._has_sacct:
            return ()
        argv = ("sacct", "-X", "-n", "-P", "-o", ",".join(self._sacct_fields), "-j", ",".join(jobs))
        try:
            ended = await self._checked(argv)
        except ClientFailed as failed:
            if NO_ACCOUNTING in str(failed).lower():
                self._has_sacct = False
                return ()
            if "Invalid field" in str(failed) and self._sacct_fields is SACCT_FIELDS:
                self._sacct_fields = SACCT_FIELDS_OLD
                return await self.past_jobs(jobs)
            raise
        return read_sacct(ended.stdout, self._sacct_fields).jobs

    async def node_groups(self) -> tuple[NodeGroup, ...]:
        """The nodes of all partitions. Raises ClientFailed."""
        return read_sinfo((await self._checked(("sinfo", "-h", "-e", "-o", SINFO_FORMAT))).stdout)

    async def node_reason(self, node: str) -> str:
        """Why a node is in the state it is in, in the words of whoever set it; may be empty. Raises ClientFailed."""
        said = (await self._checked(("scontrol", "show", "node", node))).stdout
        return next((line.strip().removeprefix("Reason=") for line in said.splitlines() if "Reason=" in line), "")

    async def cancel(self, jobs: Sequence[str]) -> None:
        """Ask for the end of these jobs; whether they end, the next look tells. Raises ClientFailed."""
        for at in range(0, len(jobs), CANCEL_AT_ONCE):
            await self._checked(("scancel", "-Q", *jobs[at : at + CANCEL_AT_ONCE]))

    async def version(self) -> str:
        """What sbatch calls itself. Raises ClientFailed."""
        return (await self._checked(("sbatch", "--version"))).stdout.strip()

    async def configuration(self) -> dict[str, str]:
        """The controller's settings by name. Raises ClientFailed."""
        lines = (await self._checked(("scontrol", "show", "config"))).stdout.splitlines()
        return {name.strip(): value.strip() for name, mark, value in (line.partition("=") for line in lines) if mark}

    async def own_limits(self) -> str:
        """What accounting allows this user, in its own words; empty without accounting. Raises ClientFailed."""
        fields = "format=account,partition,qos,maxjobs,maxsubmitjobs"
        argv = ("sacctmgr", "-n", "-P", "show", "associations", f"user={getpass.getuser()}", fields)
        if shutil.which(argv[0], path=self._environment.get("PATH")) is None:
            return ""
        ended = await self._call(argv)
        if ended.exit_code != 0:
            return ""
        return "; ".join(f"association {line}" for line in ended.stdout.split())

    async def _checked(self, argv: Sequence[str]) -> Ended:
        ended = await self._call(argv)
        if ended.exit_code is None:
            raise ClientFailed(f"{argv[0]} did not answer within {self._limit_s:g} s")
        if ended.exit_code != 0:
            said = ended.stderr.strip()[-SHOWN:] or f"exit code {ended.exit_code}"
            raise ClientFailed(f"{argv[0]}: {said}")
        return ended

    async def _call(self, argv: Sequence[str]) -> Ended:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            return Ended(127, "", f"{argv[0]} cannot be started: {error.strerror}")
        try:
            async with asyncio.timeout(self._limit_s):
                stdout, stderr = await process.communicate()
        except TimeoutError:
            return Ended(None, "", f"{argv[0]} did not answer within {self._limit_s:g} s")
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return Ended(process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
