"""``--approve`` and ``orchestrator approve``: what a person sees, types, and finds afterwards."""

import asyncio
import json
import sys
from pathlib import Path

import nats
import pytest

from pty_session import PtySession
from typing_in import ORCHESTRATOR, Cli, runs, summary, task_states, wait_for_state, write

PLAN = """\
name: Steps
tasks:
- {id: first, command: "echo 1 > first.txt", outputs: first.txt, estimate_s: 2}
- {id: left, command: "echo 2 > left.txt", depends_on: first, estimate_s: 3}
- {id: right, command: "echo 3 > right.txt", depends_on: first, estimate_s: 4}
- {id: last, noop: true, depends_on: [left, right]}
"""
EDITED = "name: Mine\ntasks:\n- {id: only, command: 'echo 4 > only.txt'}\n"
BROKEN = "tasks:\n- {id: only, noop: true, depends_on: nowhere}\n- {id: only, command: 7}\n"
QUESTION = "[a]pprove, [e]dit or [r]eject this plan? (Ctrl-D: decide later) "


class Desk:
    """Somebody at a terminal, in a folder with a plan."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        write(folder, PLAN)

    def type_in(self, *words: str) -> PtySession:
        return PtySession([ORCHESTRATOR, *words], self.folder, self.environment)

    def ask(self) -> PtySession:
        """A run whose plan is on the screen."""
        session = self.type_in("run", "--plan", "plan.yaml", "--approve", "-o", "out")
        self.review = session.expect(QUESTION)
        return session

    def edit_with(self, *texts: str) -> None:
        """Have the editor write these texts, one each time that it is called."""
        for number, text in enumerate(texts):
            write(self.folder, text, f"text-{number}")
        script = write(
            self.folder,
            "import pathlib, sys\n"
            "counter = pathlib.Path('count'); at = int(counter.read_text()) if counter.exists() else 0\n"
            "counter.write_text(str(at + 1))\n"
            "path = pathlib.Path(sys.argv[1]); pathlib.Path(f'seen-{at}').write_text(path.read_text())\n"
            "path.write_text(pathlib.Path(f'text-{at}').read_text())\n",
            "editor.py",
        )
        self.environment["EDITOR"] = f"{sys.executable} {script}"


@pytest.fixture
def desk(tmp_path: Path, environment: dict[str, str]) -> Desk:
    return Desk(tmp_path, environment)


def the_run(cli: Cli) -> tuple[str, str]:
    """(id, state) of the only run."""
    (row,) = runs(cli)
    return row["run"], row["state"]


def waiting(cli: Cli, folder: Path, *words: str) -> str:
    """A run that waits although nobody hosts it."""
    cli("run", "--plan", write(folder, PLAN), "--approve", "-o", "out", *words, code=4)
    return the_run(cli)[0]


def test_a_plan_is_shown_and_runs_when_a_person_approves_it(desk: Desk, cli: Cli) -> None:
    session = desk.ask()
    shown = " ".join(desk.review.split())
    for line in (
        "plan: Steps",
        "4 tasks in 3 levels, at most 2 at once",
        "task what after writes time",
        "first command: echo 1 > first.txt - first.txt 2.0 s",
        "left command: echo 2 > left.txt first anything 3.0 s",
        "last nothing left - - right",
        "first ├─ left └─ right → last (also after left)",
        "time: about 6.0 s with 5 at once (9.0 s one by one), by the tasks' estimates",
        "tokens and money of the tasks: none, no task asks a model",
    ):
        assert line in shown
    run, state = the_run(cli)
    assert state == "awaiting-approval"
    assert json.loads(cli("status", run, "--json").stdout)["tasks"] == []
    session.type("yes\n")
    session.expect("type a, e or r")
    session.type("a\n")
    assert session.end() == 0, session.seen
    assert set(task_states(desk.folder / "out").values()) == {"succeeded"}
    assert '"approved"' in cli("events", run, "--json").stdout


def test_an_edited_plan_is_checked_shown_again_and_runs(desk: Desk, cli: Cli) -> None:
    desk.edit_with(BROKEN, EDITED)
    session = desk.ask()
    session.type("e\n")
    said = session.expect("the edited plan cannot be taken; Enter: edit it again, Ctrl-D: drop it ")
    assert "orchestrator: plan.yaml:2: tasks[0].depends_on[0]: there is no task 'nowhere'" in said
    assert "orchestrator: plan.yaml:3: tasks[1].command: must be text, not a number; put it in quotes" in said
    assert "orchestrator: plan.yaml:3: tasks[1].id: 'only' is already the id of tasks[0]" in said
    session.type("\n")
    assert "plan: Mine (edited)" in session.expect(QUESTION)
    assert (desk.folder / "seen-1").read_text() == BROKEN
    session.type("a\n")
    assert session.end() == 0, session.seen
    assert task_states(desk.folder / "out") == {"only": "succeeded"}
    plan = json.loads((desk.folder / "out/execution_plan.json").read_text())
    assert [task["id"] for task in plan["tasks"]] == ["only"]
    assert "PlanEditAccepted" in cli("events", the_run(cli)[0]).stdout


def test_an_editor_that_fails_changes_nothing(desk: Desk) -> None:
    desk.environment["EDITOR"] = "false"
    session = desk.ask()
    session.type("e\n")
    session.expect("the editor 'false' ended with 1; the plan is as it was")
    session.type("a\n")
    assert session.end() == 0, session.seen


def test_interrupts_belong_to_the_editor(desk: Desk) -> None:
    write(
        desk.folder,
        "import time\ntry:\n    print('editing', flush=True); time.sleep(30)\nexcept KeyboardInterrupt:\n    pass\n",
        "patient.py",
    )
    desk.environment["VISUAL"] = f"{sys.executable} patient.py"
    session = desk.ask()
    session.type("e\n")
    session.expect("editing")
    session.type("\x03")
    session.expect("nothing was changed")
    session.type("\x03")
    assert session.end() == 130, session.seen
    assert "orchestrator resume" in session.seen


def test_a_rejected_plan_ends_the_run_with_the_reason(desk: Desk, cli: Cli) -> None:
    session = desk.ask()
    session.type("r\n")
    session.expect("why? (Enter: no reason) ")
    session.type("too many steps\n")
    assert session.end() == 1, session.seen
    assert the_run(cli)[1] == "cancelled"
    found = summary(desk.folder / "out")
    assert (found["status"], found["reason"]) == ("cancelled", "the plan was rejected: too many steps")
    assert found["tasks"] == []


def test_deciding_later_and_answering_from_another_terminal(desk: Desk, cli: Cli) -> None:
    session = desk.ask()
    session.type("\x04")
    assert session.end() == 4, session.seen
    run, state = the_run(cli)
    assert f"run {run} waits for approval of its plan: `orchestrator approve {run}`" in session.seen
    assert state == "awaiting-approval"
    assert "nobody hosts run" in cli("pause", run, code=2).stderr
    again = desk.type_in("resume", run)
    assert "4 tasks in 3 levels" in again.expect(QUESTION)
    assert "is approved; `orchestrator watch" in cli("approve", run).stdout
    assert again.end() == 0, again.seen
    assert summary(desk.folder / "out")["status"] == "succeeded"


def test_without_a_terminal_the_run_waits_and_the_answer_takes_it_to_its_end(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--plan", write(tmp_path, PLAN), "--approve", "-o", "out", code=4)
    run, state = the_run(cli)
    assert state == "awaiting-approval"
    assert "└─ right → last (also after left)" in done.stdout
    assert "started" not in done.stdout
    assert f"`orchestrator approve {run}`, or with --edit FILE, or with --reject [REASON]" in done.stderr
    assert "plan of 4 tasks waits for a person's approval: " in cli("status", run).stdout
    assert "4 tasks in 3 levels" in cli("approve", run, "--show").stdout
    assert f"waits for approval of its plan: `orchestrator approve {run}`" in cli("resume", run, code=4).stderr
    digest = json.loads(cli("status", run, "--json").stdout)["plan_digest"]
    assert f"another plan waits for approval: {digest}" in cli("approve", run, "--plan-digest", "0" * 64, code=2).stderr
    assert "4 of 4 done" in cli("approve", run, "--plan-digest", digest).stdout
    assert summary(tmp_path / "out")["status"] == "succeeded"
    assert f"run {run} has already ended as succeeded" in cli("approve", run, code=2).stderr


def test_an_edited_plan_names_only_lanes_that_the_run_has_dispatchers_for(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path, "tasks: [{id: a, noop: true}]")
    write(tmp_path, "tasks: [{id: b, noop: true}, {id: c, noop: true, backend: slurm}]", "elsewhere.yaml")
    cli("--plan", "plan.yaml", "--approve", code=4)
    (run,) = [row["run"] for row in runs(cli)]
    assert (
        "elsewhere.yaml: tasks[1].backend: this run has no dispatcher of lane slurm-default, only of local; "
        "start a new run with this plan"
    ) in cli("approve", run, "--edit", "elsewhere.yaml", code=2).stderr


def test_the_plan_can_be_printed_edited_and_handed_back(cli: Cli, tmp_path: Path) -> None:
    run = waiting(cli, tmp_path, "-q")
    text = cli("approve", run, "--yaml").stdout
    write(tmp_path, text.replace("echo 1 > first.txt", "echo one > first.txt"), "mine.yaml")
    write(tmp_path, BROKEN, "broken.yaml")
    said = cli("approve", run, "--edit", "broken.yaml", code=2).stderr
    assert "broken.yaml:2: tasks[0].depends_on[0]: there is no task 'nowhere'" in said
    assert "broken.yaml:3: tasks[1].id: 'only' is already the id of tasks[0]" in said
    write(tmp_path, "tasks: [{id: a, command: x, inputs: 'no/*.csv'}]", "inputs.yaml")
    assert (
        "'no/*.csv' matches no input file that was stored"
        in cli("approve", run, "--edit", "inputs.yaml", code=2).stderr
    )
    cli("approve", run, "--edit", "mine.yaml")
    cli("audit", run)
    assert (tmp_path / "out/data/first.txt").read_text() == "one\n"
    assert '"edited"' in cli("events", run, "--json").stdout


def test_a_run_that_nobody_hosts_is_rejected(cli: Cli, tmp_path: Path) -> None:
    run = waiting(cli, tmp_path, "--json")
    assert "is rejected; the run ends as cancelled" in cli("approve", run, "--reject", "not now").stdout
    assert the_run(cli)[1] == "cancelled"
    assert "the plan was rejected: not now" in cli("status", run).stdout


def test_a_run_that_waits_can_be_cancelled_and_its_audit_is_clean(cli: Cli, tmp_path: Path) -> None:
    run = waiting(cli, tmp_path)
    assert "is cancelled" in cli("cancel", run).stdout
    assert "has already ended as cancelled" in cli("approve", run, code=2).stderr
    cli("audit", run)


def test_a_run_in_the_background_waits_for_an_answer(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--plan", write(tmp_path, PLAN), "--approve", "--detach", "-o", "out", code=4)
    run = done.stdout.strip()
    assert f"`orchestrator approve {run}`" in done.stderr
    wait_for_state(cli, "awaiting-approval")
    assert f"run {run} is paused" in cli("pause", run, "--reason", "lunch").stdout
    assert "is approved" in cli("approve", run).stdout
    assert "does not wait for approval, it is running, paused" in cli("approve", run, code=2).stderr
    assert "goes on" in cli("resume", run).stdout
    cli("watch", run)
    wait_for_state(cli, "succeeded")


def test_a_program_answers_by_publishing_a_request(cli: Cli, tmp_path: Path) -> None:
    run = cli("run", "--plan", write(tmp_path, PLAN), "--approve", "--detach", "-o", "out", code=4).stdout.strip()
    wait_for_state(cli, "awaiting-approval")
    digest = json.loads(cli("status", run, "--json").stdout)["plan_digest"]
    endpoint = json.loads((tmp_path / "state/parallel-orchestrator/runs" / run / "endpoint.json").read_text())
    tasks = [{"id": "a", "noop": True}, {"id": "b", "noop": True, "depends_on": ["a", "nowhere"]}]

    async def publish(number: int, **data: object) -> None:
        user = endpoint["user"]
        connection = await nats.connect(
            endpoint["url"], user=user, password=endpoint["password"], inbox_prefix=f"_INBOX_{user}"
        )
        envelope = {
            "specversion": "1.0", "id": f"answer-{number}", "type": "pto.PlanApproved.v1", "source": "requester/me",
            "subject": "pto.req.plan-approved.requester", "time": "2026-01-01T00:00:00.000Z",
            "datacontenttype": "application/json", "data": {"run": run, **data},
        }  # fmt: skip
        await connection.jetstream().publish("pto.req.plan-approved.requester", json.dumps(envelope).encode())
        await connection.close()

    asyncio.run(publish(1, plan_digest="0" * 64))
    asyncio.run(publish(2, plan_digest=digest, plan={"tasks": tasks}))
    asyncio.run(publish(3, plan_digest=digest, plan={"tasks": tasks[:1]}))
    wait_for_state(cli, "succeeded")
    entries = [
        entry
        for line in cli("events", run, "--json").stdout.splitlines()
        for entry in json.loads(line)["data"]["entries"]
    ]
    refused = [reason for entry in entries for reason in entry.get("reasons", ())]
    assert [reason["where"] for reason in refused] == ["plan_digest", "plan.tasks[1].depends_on[1]"]
    assert [entry["request_id"] for entry in entries if entry.get("request_seq")] == [
        entries[0]["request_id"], "answer-1", "answer-2", "answer-3",
    ]  # fmt: skip
    assert task_states(tmp_path / "out") == {"a": "succeeded"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["approve", "run-001", "--edit", "x", "--reject"], "--edit and --reject: choose one"),
        (["approve", "nobody-knows"], "there is no run 'nobody-knows' here"),
    ],
)
def test_wrong_use_is_told(cli: Cli, words: list[str], said: str) -> None:
    assert said in cli(*words, code=2).stderr


def test_a_run_that_asks_nobody_has_nothing_to_approve(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--plan", write(tmp_path, EDITED), "-o", "out", "-q")
    assert "has already ended as succeeded" in cli("approve", the_run(cli)[0], code=2).stderr
