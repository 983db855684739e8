"""Which dispatchers an embedded run needs, and what they are told."""

from pathlib import Path

import pytest

from pto_bus.topology import dispatcher_user, single_host_accounts
from pto_cli.prepare import prepare
from pto_cli.registry import Dispatchers, RunFolder, RunNote
from pto_proto.ids import Lane

PLAN = """
tasks:
- {id: here, command: "true"}
- {id: there, command: "true", backend: slurm-hpc1}
- {id: boxed, command: "true", backend: docker}
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NATS_URL", raising=False)
    monkeypatch.delenv("PTO_SLURM_SITE", raising=False)
    (tmp_path / "plan.yaml").write_text(PLAN)


def lanes(*words: str) -> tuple[str, ...]:
    found = prepare(list(words))
    assert found is not None
    return found.dispatchers().lanes


def test_only_the_lanes_of_the_run_and_its_plan_have_a_dispatcher() -> None:
    assert lanes("a") == ("local",)
    assert lanes("a", "--docker") == ("docker",)
    assert lanes("a", "--slurm", "--slurm-site", "x") == ("slurm-x",)
    assert lanes("a", "--docker-planner-in-docker") == ("docker", "local")
    assert lanes("--plan", "plan.yaml") == ("docker", "local", "slurm-hpc1")
    assert lanes("--plan", "plan.yaml", "--slurm", "--slurm-site", "hpc1") == ("docker", "slurm-hpc1")


def test_the_note_says_what_is_needed_to_host_the_run_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    note = RunNote(
        run="run-1234", name="n", state="succeeded", created="", output_dir="", lanes=("docker", "slurm-x"),
        told={"PTO_SLURM_MODE": "pilot"},
    )  # fmt: skip
    folder.write_note(note)
    read = folder.read_note()
    assert read is not None
    assert read.dispatchers() == Dispatchers(lanes=(Lane("docker"), Lane("slurm-x")), told={"PTO_SLURM_MODE": "pilot"})


def test_a_note_of_before_stands_for_a_run_on_this_machine() -> None:
    note = RunNote(run="run-1234", name="n", state="succeeded", created="", output_dir="")
    assert note.dispatchers().lanes == ("local",)


def test_every_lane_has_an_account_of_its_own_however_long_its_name() -> None:
    names = [Lane("parallelcluster-" + "x" * 47 + last) for last in "ab"] + [Lane("local"), Lane("slurm-default")]
    users = {account.user for account in single_host_accounts("pw", tuple(names)) if account.role == "dispatcher"}
    assert len(users) == 4
    assert dispatcher_user(Lane("slurm-default")) == "dispatcher-slurm-default"
