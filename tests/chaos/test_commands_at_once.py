"""Two commands about one run at a broker: the log's order decides, and the one that came too late says so."""

import msgspec
import pytest

from pto_proto.ids import RunId, TaskId
from pto_proto.plans import Plan, TaskSpec
from pto_proto.requests import RunPauseRequested

from .asking import Requester, Watcher
from .checker import check_log
from .plans import command_plan, gate
from .processes import ended, wait_for_one
from .sites import SERVICES, Site


def gated_plan(site: Site) -> Plan:
    """40 short commands, and one that ends when a test opens its gate."""
    last = TaskSpec(id=TaskId("gate"), command=gate(site.folder / "gate"))
    plan = command_plan(40, sleep_s=0.2)
    return msgspec.structs.replace(plan, tasks=(*plan.tasks, last))


@pytest.mark.slow
async def test_of_two_resumes_one_wins(site: Site, requester: Requester, watcher: Watcher) -> None:
    """A paused run: both may ask before either is answered; one lifts the pause, the other says that there is none."""
    site.start_all(SERVICES)
    await requester.run("resumed-twice", gated_plan(site), executors=4)
    await watcher.wait(lambda: watcher.started["resumed-twice"] > 4, 60, "the start of the run")
    await requester.ask(RunPauseRequested(run=RunId("resumed-twice")))
    await watcher.wait(lambda: "RunPaused" in watcher.runs["resumed-twice"], 60, "the pause")
    both = [site.command("resume", "resumed-twice") for _ in range(2)]
    wait_for_one(*both)
    (site.folder / "gate").touch()
    results = sorted(ended(process) for process in both)
    assert [code for code, _ in results] == [0, 2], results
    assert len(results[1][1].strip().splitlines()) == 1, results
    assert "resumed-twice" in results[1][1]
    await watcher.until_finished("resumed-twice")
    checker = await check_log(site)
    checker.check_succeeded("resumed-twice", 41, checker.runs["resumed-twice"].outcome_digest)
    assert not checker.verdict()
    assert checker.figures["RunResumed"] == 1


@pytest.mark.slow
async def test_a_cancel_beside_a_resume_wins_in_the_end(site: Site, requester: Requester, watcher: Watcher) -> None:
    """In whatever order they are answered, the run ends as cancelled; a resume that was too late says so, or goes on
    in a new run with what had succeeded.
    """
    site.start_all(SERVICES)
    await requester.run("both-at-once", gated_plan(site), executors=4)
    await watcher.wait(lambda: watcher.started["both-at-once"] > 4, 60, "the start of the run")
    await requester.ask(RunPauseRequested(run=RunId("both-at-once")))
    await watcher.wait(lambda: "RunPaused" in watcher.runs["both-at-once"], 60, "the pause")
    resuming, cancelling = site.command("resume", "both-at-once"), site.command("cancel", "both-at-once")
    cancel_code, cancel_said = ended(cancelling)
    (site.folder / "gate").touch()
    resume_code, resume_said = ended(resuming)
    assert cancel_code == 0, cancel_said
    assert resume_code in (0, 2), resume_said
    is_new = "goes on where both-at-once ended" in resume_said
    assert is_new or len(resume_said.strip().splitlines()) == 1, resume_said
    await watcher.until_finished("both-at-once")
    assert watcher.finished["both-at-once"] == "cancelled"
    assert not (await check_log(site)).verdict()


@pytest.mark.slow
async def test_two_cancels_are_one(site: Site, requester: Requester, watcher: Watcher) -> None:
    """Neither fails, and the run ends once."""
    site.start_all(SERVICES)
    await requester.run("cancelled-twice", command_plan(40, sleep_s=60), executors=4)
    await watcher.wait(lambda: watcher.started["cancelled-twice"] >= 4, 60, "the start of the run")
    results = [ended(process) for process in [site.command("cancel", "cancelled-twice") for _ in range(2)]]
    assert all(code in (0, 2) for code, _ in results), results
    assert 0 in [code for code, _ in results]
    await watcher.until_finished("cancelled-twice")
    assert watcher.finished["cancelled-twice"] == "cancelled"
    checker = await check_log(site)
    assert not checker.verdict()
    assert checker.figures["RunFinished"] == 1
