"""Who answers for a person when a plan waits for approval: the person at the terminal, nobody, or a prepared answer.

Imports client, core, proto and siblings. Invariant: an answer names the plan that was shown, so that nobody approves
what he did not see.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from pto_cli.access import Access
from pto_cli.problems import Unavailable, WrongUse, complain
from pto_cli.progress import Progress
from pto_cli.review import awaits_review, review_lines
from pto_cli.terminal import Lines, NoEditor, columns, edit, is_interactive, write
from pto_client.follower import Follower
from pto_client.plan_file import PlanFileError, read_edited_plan
from pto_client.plan_yaml import plan_yaml
from pto_client.requester import with_edited_plan
from pto_core.lanes import lane_named
from pto_ports.blob_store import BlobDamaged, BlobMissing
from pto_proto.ids import NO_DIGEST, Digest, RunId
from pto_proto.plans import InputFile, Plan, Problem
from pto_proto.requests import PlanApproved, PlanRejected

Reviewer = Callable[[Access, Follower, Progress, asyncio.Event], Awaitable[bool]]
"""Called when the plan waits: True when somebody has answered, False to leave it waiting."""
Answer = PlanApproved | PlanRejected

QUESTION = "[a]pprove, [e]dit or [r]eject this plan? (Ctrl-D: decide later) "
WHY = "why? (Enter: no reason) "
AGAIN = "the edited plan cannot be taken; Enter: edit it again, Ctrl-D: drop it "
HEAD = """\
# The plan of run {run}. Save and leave the editor to see it again; nothing is approved by that.
# Everything that a plan may say is described in docs/reference/plan.md.
"""


def make_reviewer(*, json: bool, quiet: bool) -> Reviewer:
    """What fits these wishes and standard input and output."""
    if is_interactive() and not json and not quiet:
        return ask_person
    return leave_waiting if json or quiet else show_and_leave


async def leave_waiting(access: Access, follower: Follower, progress: Progress, stop: asyncio.Event) -> bool:
    """Nobody is there."""
    return False


async def show_and_leave(access: Access, follower: Follower, progress: Progress, stop: asyncio.Event) -> bool:
    """Nobody can be asked, but somebody may read."""
    progress.close()
    show(follower)
    return False


def prepared(answer: Answer) -> Reviewer:
    """Gives this answer; it raises WrongUse if that is refused, Unavailable without a scheduler."""

    async def give(access: Access, follower: Follower, progress: Progress, stop: asyncio.Event) -> bool:
        from pto_cli.arguments import granted
        from pto_cli.conduct import ask_and_wait

        granted(await ask_and_wait(access, follower, answer))
        return True

    return give


async def ask_person(access: Access, follower: Follower, progress: Progress, stop: asyncio.Event) -> bool:
    """Show the plan and ask until there is an answer, or somebody else has given one."""
    progress.close()
    return await _Conversation(access, follower, stop).hold()


def show(follower: Follower, edited: Plan | None = None) -> None:
    """Write the review to standard output."""
    write("\n".join(["", *review_lines(follower.view, columns(), edited), "", ""]))


async def stored_inputs(access: Access, follower: Follower) -> list[str]:
    """Paths of the input files that were stored for the run. Raises Unavailable, LogUnavailable."""
    run = follower.view.run
    if run is None or not run.request.inputs_digest:
        return []
    try:
        files = msgspec.json.decode(await access.blobs.get(run.request.inputs_digest), type=list[InputFile])
    except (BlobMissing, BlobDamaged, msgspec.MsgspecError) as error:
        raise Unavailable(f"the list of the run's input files cannot be read: {error}") from error
    return [file.path for file in files]


class _Conversation:
    """One review at the terminal."""

    def __init__(self, access: Access, follower: Follower, stop: asyncio.Event) -> None:
        self._access = access
        self._follower = follower
        self._stop = stop
        self._edited: Plan | None = None

    async def hold(self) -> bool:
        """Whether an answer was given, by whomever."""
        show(self._follower)
        lines = Lines()
        while awaits_review(self._follower.view):
            word = await lines.ask(QUESTION, self._meanwhile)
            if word is None:
                break
            await self._take(lines, word.lower())
        is_settled = not awaits_review(self._follower.view)
        return is_settled and not self._stop.is_set()

    async def _meanwhile(self) -> bool:
        from pto_cli.conduct import TICK_S, check_host

        news = await self._follower.next(TICK_S)
        is_open = not self._stop.is_set() and awaits_review(self._follower.view)
        return is_open and check_host(self._access, is_news=bool(news))

    async def _take(self, lines: Lines, word: str) -> None:
        if word in ("a", "approve"):
            await self._answer(await approval(self._access, self._follower, self._edited))
        elif word in ("r", "reject"):
            why = await lines.ask(WHY, self._meanwhile)
            if why is not None:
                await self._answer(rejection(self._follower, why))
        elif word in ("e", "edit"):
            await self._edit(lines)
        elif word:
            write("type a, e or r\n")

    async def _answer(self, answer: Answer) -> None:
        from pto_cli.arguments import NO_ANSWER
        from pto_cli.conduct import ask_and_wait

        refused = await ask_and_wait(self._access, self._follower, answer)
        complain(refused if refused is not None else [NO_ANSWER])

    async def _edit(self, lines: Lines) -> None:
        run, plan = self._follower.view.run, self._edited or self._follower.view.plan()
        if run is None or plan is None:
            return
        with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
            path = Path(folder) / "plan.yaml"
            path.write_text(HEAD.format(run=run.id) + plan_yaml(plan))
            while True:
                try:
                    await edit(path, self._meanwhile)
                    edited = await edited_plan(path, self._access, self._follower)
                    break
                except NoEditor as error:
                    complain([str(error)])
                    return
                except PlanFileError as error:
                    complain(str(problem).removeprefix(f"{folder}/") for problem in error.problems)
                if await lines.ask(AGAIN, self._meanwhile) is None:
                    return
        if edited == plan:
            write("nothing was changed\n")
            return
        self._edited = edited
        show(self._follower, edited)


async def edited_plan(path: Path, access: Access, follower: Follower) -> Plan:
    """The plan of this file, to take the place of the one that waits. Raises PlanFileError, LogUnavailable."""
    edited = read_edited_plan(path, await stored_inputs(access, follower))
    note = access.folder.read_note() if access.folder is not None else None
    if note is not None and follower.view.run is not None:
        backend = follower.view.run.request.backend
        where = [(index, lane_named(spec.backend or backend)) for index, spec in enumerate(edited.tasks)]
        absent = [(index, lane) for index, lane in where if lane not in note.lanes]
        if absent:
            index, lane = absent[0]
            there = ", ".join(note.lanes)
            what = f"this run has no dispatcher of lane {lane}, only of {there}; start a new run with this plan"
            raise PlanFileError([Problem(where=f"{path.name}: tasks[{index}].backend", what=what)])
    return edited


async def approval(access: Access, follower: Follower, edited: Plan | None = None) -> PlanApproved:
    """The approval of the plan that waits, or of the edited one in its place. Raises StoreFull, LogUnavailable."""
    request = PlanApproved(run=_run(follower), plan_digest=waiting_digest(follower))
    return request if edited is None else await with_edited_plan(request, edited, access.blobs)


def rejection(follower: Follower, reason: str) -> PlanRejected:
    """The rejection of the plan that waits."""
    return PlanRejected(run=_run(follower), plan_digest=waiting_digest(follower), reason=reason)


def waiting_digest(follower: Follower) -> Digest:
    """The digest of the plan that waits; none if there is none."""
    run = follower.view.run
    return run.plan.plan_digest if run is not None and run.plan is not None else NO_DIGEST


def _run(follower: Follower) -> RunId:
    run = follower.view.run
    if run is None:
        raise WrongUse("the run was not accepted; there is nothing to approve")
    return run.id
