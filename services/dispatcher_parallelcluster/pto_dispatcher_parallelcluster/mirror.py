"""Brings runs to the bucket while they go on: outputs, then results, then state. Never in the way of a task.

Imports ports, runtime, pto_s3 and siblings. Invariants: a result is in the bucket only after the blobs that it names;
it takes one run at a time, and of each only what is new; while S3 is away or refuses, everything stays on the shared
file system and pauses get longer; what is wrong with one run holds up no other.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from pto_dispatcher_parallelcluster.shelf import Shelf
from pto_ports.blob_store import BlobDamaged, BlobMissing, BlobStore
from pto_ports.clock import Clock
from pto_ports.event_log import LogUnavailable
from pto_proto.ids import Digest, RunId
from pto_proto.manifests import Manifest
from pto_runtime.logs import get_logger
from pto_s3 import Area, Bucket, OtherWriter, Pool, RunSync, S3Away, S3BlobStore, S3Error, pause_s

ROUND_S = 2.0
"""Between two rounds while there is news."""
QUIET_ROUNDS = 5
"""So many rounds without news, and a run is left alone until there is some: its state may follow its results."""
MAX_RUNS = 64
"""Runs whose syncs are kept though they are quiet: looking at a bucket again costs a listing."""
COPIES = 8
"""Results whose outputs are brought over at once."""
COPYING = ".outputs-"
"""How the folders of outputs begin that are being copied."""
KEPT_S = 14 * 86_400.0
"""Runs whose files stay on the shared file system after they are all in the bucket."""


class _Followed:
    """A run, and how far it is."""

    def __init__(self, sync: RunSync) -> None:
        self.sync = sync
        self.has_looked = False
        """Whether both sides were listed; from then on only news counts."""
        self.quiet = 0
        """Rounds without news."""

    @property
    def is_settled(self) -> bool:
        return self.quiet >= QUIET_ROUNDS


class Mirror:
    """Of one lane. ``state_folder`` gives where a run's state is projected to; ``blobs`` where its outputs are.

    ``pause_s``: how long to wait after so many failed rounds in a row, by chance.
    """

    def __init__(
        self,
        shelf: Shelf,
        bucket: Bucket,
        pool: Pool,
        clock: Clock,
        blobs: BlobStore,
        state_folder: Callable[[RunId], Path],
        pause_s: Callable[[int, float], float] = pause_s,
    ) -> None:
        self._shelf = shelf
        self._bucket = bucket
        self._pool = pool
        self._clock = clock
        self._blobs = blobs
        self._outputs = S3BlobStore(bucket, pool)
        self._state_folder = state_folder
        self._pause_s = pause_s
        self._runs: dict[RunId, _Followed] = {}
        self._deposed: set[RunId] = set()
        self._failures = 0
        self._wake = asyncio.Event()
        self._logger = get_logger()

    def open(self) -> None:
        """Find what an earlier incarnation has left, and remove what it had only half copied."""
        for left in self._shelf.root.glob(f"{COPYING}*"):
            shutil.rmtree(left, ignore_errors=True)
        self._shelf.sweep(self._clock.now_ms() / 1000 - KEPT_S)
        for run in self._shelf.runs():
            self.touch(run)

    def touch(self, run: RunId, task_file: str = "") -> None:
        """There is news of the run: this definition, or anything else."""
        followed = self._runs.get(run)
        if followed is None:
            followed = self._runs[run] = _Followed(self._sync(run))
            self._forget_some()
        if followed.is_settled or not followed.has_looked:
            self._shelf.settle(run, is_settled=False)
        followed.quiet = 0
        if task_file:
            followed.sync.offer(Area.TASKS, task_file)
        self._wake.set()

    async def run(self) -> None:
        """Bring over what comes, until cancelled."""
        while True:
            if not self._open_runs():
                self._wake.clear()
                await self._wake.wait()
            chance = random.random()  # noqa: S311 - spreads requests, and hides nothing
            await self._clock.sleep(self._pause_s(self._failures, chance) if self._failures else ROUND_S)
            await self.round()

    async def round(self) -> None:
        """One round of all runs that are not settled; told is what goes wrong, and nothing raised."""
        failures = self._failures
        for run in self._open_runs():
            followed = self._runs[run]
            try:
                has_news = await self._bring(run, followed)
                followed.quiet = 0 if has_news else followed.quiet + 1
                if followed.is_settled:
                    self._shelf.settle(run, is_settled=True)
            except (S3Error, LogUnavailable, BlobDamaged) as error:
                if not failures:
                    self._logger.warning("S3 does not take the run's state; trying on", run=run, reason=str(error))
                self._failures = failures + 1
                if isinstance(error, S3Away | LogUnavailable):
                    return  # and no other run fares better
            except OSError as error:
                self._logger.warning("the run's files cannot be read or written", run=run, reason=str(error))
                followed.quiet += 1
        if failures and self._failures == failures:
            self._logger.info("S3 takes the runs' state again")
            self._failures = 0

    async def flush(self, within_s: float) -> None:
        """Bring over what there is, if that can be done soon; what is left is found again at the next start."""
        try:
            async with asyncio.timeout(within_s):
                for run in self._open_runs():
                    while await self._bring(run, self._runs[run]):
                        pass
                    self._shelf.settle(run, is_settled=True)
        except (TimeoutError, S3Error, LogUnavailable, BlobDamaged, OSError) as error:
            left = sum(len(self._shelf.told(run)) for run in self._runs)
            said = str(error) or "too slow"
            self._logger.warning(
                "the bucket does not have everything; the next start goes on", results=left, reason=said
            )

    def _open_runs(self) -> list[RunId]:
        return [run for run, followed in self._runs.items() if not followed.is_settled]

    def _forget_some(self) -> None:
        settled = [run for run, followed in self._runs.items() if followed.is_settled]
        for run in settled[: max(0, len(self._runs) - MAX_RUNS)]:
            del self._runs[run]

    async def _bring(self, run: RunId, followed: _Followed) -> bool:
        """Whether there was anything."""
        told = self._shelf.told(run)
        for at in range(0, len(told), COPIES):
            await asyncio.gather(*(self._copy_outputs(path) for path in told[at : at + COPIES]))
            for path in told[at : at + COPIES]:
                followed.sync.offer(Area.RESULTS, self._shelf.ready(run, path))
        try:
            report = await asyncio.to_thread(followed.sync.round, look=not followed.has_looked)
        except OtherWriter as error:
            self._logger.error("this process does not write the run's state any more", run=run, reason=str(error))  # noqa: TRY400
            self._deposed.add(run)
            followed.sync, followed.has_looked = self._sync(run), False
            return True
        followed.has_looked = True
        for lost in report.lost:
            self._logger.warning("another result was there first and stays", run=run, file=lost)
        for damaged in report.damaged:
            self._logger.warning(
                "what the bucket holds does not match its digest; delete it there", run=run, file=damaged
            )
        return bool(told or report.uploaded or report.downloaded or report.replaced)

    def _sync(self, run: RunId) -> RunSync:
        folders = {area: self._shelf.folder(run, area) for area in (Area.TASKS, Area.RESULTS)}
        if run not in self._deposed:
            folders[Area.STATE] = self._state_folder(run)
        return RunSync(self._bucket, run, folders, self._pool)

    # --- outputs ---

    async def _copy_outputs(self, path: Path) -> None:
        """The blobs that the result names, and those that its manifest names."""
        try:
            result = await asyncio.to_thread(self._shelf.read, path)
        except msgspec.MsgspecError as error:
            self._logger.warning("a result cannot be read; it goes as it is", file=path.name, reason=str(error))
            return
        if result.manifest:
            try:
                manifest = msgspec.json.decode(await self._blobs.get(result.manifest), type=Manifest)
            except (BlobMissing, BlobDamaged, msgspec.MsgspecError) as error:
                self._logger.warning("outputs are not there any more", file=path.name, reason=str(error))
            else:
                await self._copy(manifest.bundle)
        for digest in (result.manifest, result.tree, result.log):
            await self._copy(digest)

    async def _copy(self, digest: Digest) -> None:
        if not digest or await self._outputs.has(digest):
            return
        with tempfile.TemporaryDirectory(prefix=COPYING, dir=self._shelf.root) as folder:
            file = Path(folder) / digest
            try:
                await self._blobs.get_file(digest, file)
            except (BlobMissing, BlobDamaged) as error:
                self._logger.warning("an output is not there any more", digest=digest, reason=str(error))
                return
            await self._outputs.put_file(file)
