"""The ParallelCluster backend on the AWS test bed, without a log: orders go in, what it reports is kept."""

import sys
from pathlib import Path
from typing import Any

from tests.slurm.slurm_lane import SlurmLane

from pto_dispatcher_parallelcluster.backend import ParallelClusterBackend
from pto_dispatcher_parallelcluster.fallback import Fallback
from pto_dispatcher_parallelcluster.mirror import Mirror
from pto_dispatcher_parallelcluster.shelf import Shelf
from pto_proto.ids import InstanceId
from pto_runtime.clock import SystemClock
from pto_s3 import Bucket, Pool, run_prefix
from pto_slurm_lane.backend import SlurmBackend
from pto_slurm_lane.clients import SlurmClients
from pto_slurm_lane.lane import LaneSettings
from pto_slurm_lane.projection import FOLDER

from .aws_testbed import AwsTestbed


class ClusterLane(SlurmLane):
    """As ``SlurmLane``; ``bucket`` is what the mirror writes to."""

    def __init__(self, testbed: AwsTestbed, folder: Path, bucket: Bucket, pool: Pool, **settings: Any) -> None:
        self._bucket, self._pool = bucket, pool
        super().__init__(testbed, folder, **settings)  # type: ignore[arg-type]

    def _make(self) -> Any:
        clock, shelf = SystemClock(), Shelf(self.folder / "spool" / "s3")
        return ParallelClusterBackend(
            lambda revise: SlurmBackend(
                blobs=self.blobs,
                clock=clock,
                instance=InstanceId("cluster-1"),
                capacity=self.capacity,
                settings=LaneSettings(spool=self.folder / "spool", agent_python=sys.executable, **self._settings),  # type: ignore[arg-type]
                work_folder=lambda run: self.folder / "out" / run,
                engines=("simulated",),
                host_environment=self.environment,
                revise=revise,
            ),
            clients=SlurmClients(self.environment),
            shelf=shelf,
            mirror=Mirror(
                shelf,
                self._bucket,
                self._pool,
                clock,
                self.blobs,
                lambda run: self.folder / "out" / run / FOLDER,
                pause_s=lambda failures, chance: 0.3,
            ),
            fallback=Fallback({"spot": "ondemand"}, shelf.root),
            capacity_retry_s=77.0,
        )

    def here(self) -> dict[str, bytes]:
        """What is to be in the bucket, by area and name."""
        shelf = self.folder / "spool" / "s3" / self.run
        state = self.folder / "out" / self.run / FOLDER
        files = [("state", state / "jobs.json"), ("state", state / "tasks.json")]
        files += [(area, path) for area in ("tasks", "results") for path in (shelf / area).glob("*")]
        return {f"{area}/{path.name}": path.read_bytes() for area, path in files if path.exists()}


def there(bucket: Bucket, run: str) -> dict[str, bytes]:
    """What is in the bucket, by area and name."""
    prefix = run_prefix(run)  # type: ignore[arg-type]
    return {stored.key.removeprefix(prefix): bucket.get(stored.key) for stored in bucket.list(prefix)}
