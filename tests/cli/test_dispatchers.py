"""Which dispatchers an embedded run needs, and what they are told."""

from dataclasses import replace
from pathlib import Path

import pytest

from pto_bus.topology import dispatcher_user, single_host_accounts
from pto_cli.access import host_run
from pto_cli.dispatchers import serving, told_settings
from pto_cli.engines import service_settings
from pto_cli.model_flags import SIMULATED
from pto_cli.prepare import prepare
from pto_cli.registry import Dispatchers, RunFolder, RunNote, run_folder
from pto_proto.ids import Lane
from pto_runtime.settings import BadSettings, Settings
from pto_runtime.variables import SETTINGS

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


def told(lane: str, dispatchers: Dispatchers, **environment: str) -> Settings:
    return told_settings(service_settings(SIMULATED, {}), Lane(lane), dispatchers, environment)


def test_what_was_typed_goes_before_the_environment_and_the_lane_names_its_place() -> None:
    typed = Dispatchers(lanes=(Lane("slurm-hpc1"),), told={"PTO_SLURM_MODE": "pilot"})
    found = told("slurm-hpc1", typed, PTO_SLURM_MODE="jobs", PTO_SLURM_SITE="other", PTO_SLURM_PYTHON="python3.9")
    assert (found.slurm_mode, found.slurm_site, found.slurm_python) == ("pilot", "hpc1", "python3.9")
    assert told("slurm-hpc1", Dispatchers(), PTO_SLURM_MODE="pilot").slurm_mode == "pilot"


def test_a_cluster_is_called_as_it_was_typed_not_as_its_lane() -> None:
    typed = Dispatchers(told={"PTO_AWS_CLUSTER": "Ml-Training", "PTO_AWS_BUCKET": "b"})
    found = told("parallelcluster-ml-training", typed)
    assert (found.aws_cluster, found.aws_bucket, found.aws_region) == ("Ml-Training", "b", "eu-central-1")
    assert told("parallelcluster-other", typed).aws_cluster == "other"


def test_all_that_is_wrong_with_a_backends_variables_is_said_at_once() -> None:
    with pytest.raises(BadSettings) as caught:
        told("docker", Dispatchers(), PTO_DOCKER_MEMORY="much", PTO_DOCKER_PIDS="1", PTO_CAPACITY="ignored")
    assert [line.split()[0] for line in str(caught.value).splitlines()] == ["PTO_DOCKER_MEMORY", "PTO_DOCKER_PIDS"]


def test_the_local_dispatcher_is_told_nothing_of_other_backends() -> None:
    base = service_settings(SIMULATED, {})
    assert told_settings(base, Lane("local"), Dispatchers(), {"PTO_DOCKER_MEMORY": "much"}) is base


def test_every_variable_that_flags_stand_for_is_one_of_a_service() -> None:
    words = ("--aws", "--aws-cluster-name=c", "--aws-s3-bucket=bucket", "--slurm-mode=jobs", "--slurm-lookahead=1")
    found = prepare(["a", *words])
    assert found is not None
    assert set(found.options.backend.told) <= {setting.name for setting in SETTINGS.values()}
    assert set(found.options.backend.told) == {
        "PTO_SLURM_MODE", "PTO_SLURM_LOOKAHEAD", "PTO_AWS_CLUSTER", "PTO_AWS_REGION", "PTO_AWS_BUCKET",
    }  # fmt: skip


@pytest.mark.parametrize("lane", ["local", "docker", "slurm-x", "parallelcluster-y"])
def test_every_lane_has_a_service(lane: str) -> None:
    ((name, serve),) = serving(Dispatchers(lanes=(Lane(lane),)))
    assert name == lane
    assert callable(serve)


def test_runs_on_one_spool_have_folders_of_their_own(tmp_path: Path) -> None:
    """A dispatcher locks its spool, and two runs of one person have two dispatchers."""
    environment = {"PTO_SLURM_SPOOL": str(tmp_path / "spool")}
    spools = {
        told_settings(
            replace(service_settings(SIMULATED, {}), snapshots=tmp_path / run / "snapshots"),
            Lane("slurm-default"),
            Dispatchers(lanes=(Lane("slurm-default"),), told={}),
            environment,
        ).slurm_spool
        for run in ("run-one", "run-two")
    }
    assert spools == {tmp_path / "spool/run-one", tmp_path / "spool/run-two"}


def test_clusters_of_one_run_have_spools_of_their_own(tmp_path: Path) -> None:
    """Each of two dispatchers in one folder would take the other's jobs for left over."""
    base = replace(service_settings(SIMULATED, {}), snapshots=tmp_path / "run-one" / "snapshots")
    lanes = (Lane("local"), Lane("slurm-a"), Lane("parallelcluster-b"))
    told = [told_settings(base, lane, Dispatchers(lanes=lanes), {}).slurm_folder for lane in lanes[1:]]
    assert told == [tmp_path / "run-one/slurm" / lane for lane in lanes[1:]]
    alone = told_settings(base, lanes[1], Dispatchers(lanes=lanes[:2]), {}).slurm_folder
    assert alone == tmp_path / "run-one/slurm"


async def test_a_setting_that_cannot_be_used_is_said_and_nothing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PTO_DOCKER_MEMORY", "much")
    folder = run_folder("run-0001")
    dispatchers = Dispatchers(lanes=(Lane("docker"),))
    with pytest.raises(BadSettings, match="PTO_DOCKER_MEMORY"):
        await host_run(folder, work_dir=tmp_path, capacity=1, with_services=True, dispatchers=dispatchers)
    assert not folder.is_hosted()
