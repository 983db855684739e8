"""The steps of docs/howto/operate.md that back up and restore a broker's store, run as they are written there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pto_blobs.snapshots import DirectorySnapshotStore
from pto_bus.event_log import NatsEventLog
from pto_client.auditor import Auditor
from pto_core.snapshot import seal
from pto_proto.envelope import decode_event
from pto_proto.ids import InstanceId, digest_of
from pto_proto.subjects import LOG_STREAM
from pto_runtime.clock import SystemClock

from .places import Place, steps

PLAN = "tasks: [{id: a, command: sleep 2; echo 1 > one}, {id: b, command: cat one > two, depends_on: [a]}]"
SCHEDULERS = ("scheduler", "scheduler-2")
LOOKS = 20


@pytest.fixture
async def places(tmp_path: Path) -> AsyncIterator[tuple[Place, Place]]:
    both = Place(tmp_path / "here"), Place(tmp_path / "there")
    for place in both:
        place.folder.mkdir()
        (place.folder / "plan.yaml").write_text(PLAN)
    yield both
    for place in both:
        place.down()


async def save_snapshots(place: Place) -> int:
    """Have both schedulers remember the log as it is now, as they do every 100,000 messages; its last sequence."""
    assert place.broker is not None
    connection = await place.broker.connect("scheduler-2")
    log = NatsEventLog(connection)
    auditor = Auditor(log, SystemClock())
    await auditor.fold()
    reader = await log.read(after=auditor.audit.seq - 1)
    last = (await reader.next(5))[0]
    await reader.close()
    await connection.close()
    sealed = seal(auditor.audit.state, LOG_STREAM, f"{decode_event(last.data).id} {digest_of(last.data)}")
    for name in SCHEDULERS:
        await DirectorySnapshotStore(place.state / "snapshots", InstanceId(name)).save(sealed)
    return last.seq


@pytest.mark.slow
async def test_a_copy_of_the_store_is_restored_elsewhere_by_the_steps_of_the_page(places: tuple[Place, Place]) -> None:
    here, there = places
    await here.up()
    before = here.ask("run", "--plan", "plan.yaml", "--detach").split()[-1]
    await here.follow(steps("To back up"))  # while the run goes on
    here.ask("watch", before)
    after = here.ask("run", "--plan", "plan.yaml", "--detach").split()[-1]
    here.ask("watch", after)
    here.down()

    there.sh("cp -a ../here/copy .")
    await there.follow(steps("To restore"))
    there.ask("watch", before)  # what had not ended in the copy ends now
    assert "succeeded" in there.ask("status", before)
    runs = there.ask("list")
    assert before in runs
    assert after not in runs
    again = there.ask("run", "--plan", "plan.yaml", "--detach").split()[-1]
    there.ask("watch", again)
    assert "all is well" in there.ask("audit", "--blobs")


@pytest.mark.slow
async def test_a_restore_in_place_forgets_snapshots_that_know_more_than_the_copy(places: tuple[Place, Place]) -> None:
    here, _ = places
    await here.up()
    before = here.ask("run", "--plan", "plan.yaml", "--detach").split()[-1]
    here.ask("watch", before)
    await here.follow(steps("To back up"))
    here.ask("watch", here.ask("run", "--plan", "plan.yaml", "--detach").split()[-1])
    here.down()
    assert here.broker is not None
    here.broker.server.start()
    await save_snapshots(here)
    here.broker.server.end()
    await here.follow(steps("To restore"))
    assert before in here.ask("list")
    said = ""
    for _ in range(LOOKS):  # an audit takes the answers that come within a moment
        if (said := here.ask("audit")).count("scheduler scheduler") == len(SCHEDULERS):
            break
    assert said.count("knows the same") == len(SCHEDULERS), said
