"""Everything at once on a real cluster: nothing runs twice and counts, nothing is lost, nothing wrong is said.

``PTO_SLURM_STORM=tasks,kills,seconds`` makes it bigger: 200,20,120 is the whole campaign.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chaos.asking import Requester, Watcher
from tests.chaos.checker import check_log
from tests.chaos.plans import command_plan
from tests.fakes.canaries import holders
from tests.slurm.gates import Gates
from tests.slurm.slurm_site import DISPATCHER, LANE, SERVICES, Census, SlurmSite
from tests.slurm.testbed import SlurmTestbed

from pto_proto.ids import TaskId
from pto_proto.plans import Plan, TaskSpec

TASKS, KILLS, AWAY_S = (int(part) for part in os.environ.get("PTO_SLURM_STORM", "200,12,10").split(","))
EXECUTORS = 16
TIMED_OUT = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
LIAR = f"""
case $((RANDOM % 40)) in
    0 | 1) "$REAL" "$@" >/dev/null; {TIMED_OUT} ;;
    2) {TIMED_OUT} ;;
    3 | 4 | 5) answer=$("$REAL" "$@"); sleep 1; echo "$answer" ;;
    *) exec "$REAL" "$@" ;;
esac"""
"""One answer in 20 hides a job, one in 40 does not, and some jobs are there for a second before anybody hears of them."""


@pytest.fixture
async def site(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SlurmSite]:
    testbed = SlurmTestbed.start(tmp_path_factory.mktemp("storm") / "c", nodes=3, MINJOBAGE="2", SLURMDTIMEOUT="4")
    site = SlurmSite(tmp_path, testbed)
    try:
        await site.set_up()
        yield site
    finally:
        site.close()
        testbed.do("down")


@pytest.fixture
async def requester(site: SlurmSite) -> AsyncIterator[Requester]:
    it = await Requester.open(site)
    yield it
    await it.close()


@pytest.fixture
async def watcher(site: SlurmSite) -> AsyncIterator[Watcher]:
    it = Watcher(await Requester.open(site, "hostile"), site.check)
    it.begin()
    yield it
    await it.close()
    await it.requester.close()


@pytest.mark.slow
async def test_a_storm_on_a_cluster(site: SlurmSite, requester: Requester, watcher: Watcher) -> None:
    site.fake("sbatch", LIAR)
    site.start_all(SERVICES)
    await watcher.wait(lambda: watcher.kinds["DispatcherUp"] >= 3, 60, "the start of the services")
    census = Census(site.testbed)
    census.begin()
    await requester.run("storm-one", command_plan(TASKS, sleep_s=0.5), executors=EXECUTORS, backend=LANE, max_retries=0)
    await watcher.wait(lambda: watcher.succeeded["storm-one"] >= EXECUTORS, 90, "the first tasks")
    draw = random.Random(1)
    deeds = Counter({"kill": KILLS, "controller": 1, "node": 1, "urgent": 1, "broker": 1})
    for deed in draw.sample([*deeds.elements()], deeds.total()):
        await asyncio.sleep(draw.uniform(0.5, 4.0))
        await do(deed, site, draw)
    await watcher.until_finished("storm-one", timeout_s=300)
    await census.close()
    checker = await check_log(site)
    checker.check_succeeded("storm-one", TASKS, checker.runs["storm-one"].outcome_digest)
    checker.check_trace(site.trace, ["storm-one"])
    print(dict(checker.figures), "most jobs at once:", census.most, "of looks:", census.looks)
    assert not checker.verdict(), f"{checker.verdict()}\n{site.logs()}"
    assert not site.tracebacks()
    assert checker.figures["AttemptLost"] == 0
    assert census.most <= EXECUTORS + 1, "one more only where a job was submitted twice, until that is seen"


async def do(deed: str, site: SlurmSite, draw: random.Random) -> None:
    if deed == "kill":
        site.kill(DISPATCHER.name)
        await asyncio.sleep(draw.uniform(0.0, 2.0))
        site.start(DISPATCHER)
    elif deed == "controller":
        await asyncio.to_thread(site.testbed.do, "restart-controller")
    elif deed == "node":
        await asyncio.to_thread(site.testbed.do, "kill-node", "2")
        await asyncio.sleep(20)
        await asyncio.to_thread(site.testbed.do, "start-node", "2")
    elif deed == "urgent":
        site.testbed.client("sbatch", "-p", "urgent", "-c", "16", "-N", "2", "-o", "/dev/null", "--wrap", "sleep 3")
    elif deed == "broker":
        site.broker.kill()
        await asyncio.sleep(AWAY_S)
        site.broker.restart()


@pytest.mark.slow
async def test_values_of_variables_are_nowhere_but_in_their_file(
    site: SlurmSite, requester: Requester, watcher: Watcher, gates: Gates
) -> None:
    """What a plan passes through by name is in a file that nobody else can read, and gone when the task has ended."""
    canary = "canary-7f3a9c51"
    site.variables["TOKEN"] = canary
    site.start_all(SERVICES)
    await watcher.wait(lambda: watcher.kinds["DispatcherUp"] >= 3, 60, "the start of the services")
    told = site.folder / "told"
    command = f'printf %s "$TOKEN" | cksum > {told}; echo token $TOKEN; {gates.wait()}'
    plan = Plan(tasks=(TaskSpec(id=TaskId("one"), command=command, env=("TOKEN",)),))
    await requester.run("secret-one", plan, executors=1, backend=LANE)
    await watcher.wait(told.exists, 60, "the task")
    shown = [site.testbed.client("scontrol", "show", "job", "-o"), site.testbed.client("squeue", "--json")]
    holding = holders(canary, below=(site.spool, site.testbed.folder))
    assert [path.name for path in holding] == ["secrets.json"], holding
    assert holding[0].stat().st_mode & 0o777 == 0o600
    assert holding[0].parent.stat().st_mode & 0o777 == 0o700
    assert canary not in "".join(shown)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert canary.encode() not in entry.read_bytes()
        except OSError:
            continue
    gates.open()
    await watcher.until_finished("secret-one")
    await watcher.wait(lambda: not holding[0].exists(), 20, "the end of the file")
    everywhere = (site.spool, site.testbed.folder, site.folder / "store", site.folder / DISPATCHER.name)
    assert not holders(canary, below=tuple(everywhere))
