"""Backends are asked before anything is started, by ``run`` and by ``doctor``; a dry run shows what would be."""

import json
import re
import shlex
from pathlib import Path

import pytest
from fakes.containers import DockerEngine
from tests.slurm.testbed import SlurmTestbed

from pto_proto.ids import external_name
from typing_in import Cli, summary, write

SWEEP = str(Path(__file__).resolve().parents[2] / "docs/examples/sweep.yaml")
SINFO = """\
#!/bin/sh
cat <<'ROWS'
compute*|up|1-00:00:00|16|64000|4|idle|ib|(null)
gpu|up|12:00:00|16|128000|2|idle|a100|gpu:a100:4
closed|down|1-00:00:00|16|64000|4|idle|ib|(null)
ROWS
"""
AWAY = "#!/bin/sh\necho 'slurm_load_partitions: Unable to contact slurm controller' >&2\nexit 1\n"
PLAN = """
tasks:
- {id: small, command: "true"}
- {id: wide, command: "true", resources: {cpus: 64}}
- {id: long, command: "true", resources: {time: 2-00:00:00}}
- {id: there, command: "true", slurm: {partition: nowhere}}
"""


@pytest.fixture
def sinfo(tmp_path: Path, environment: dict[str, str]) -> None:
    """A cluster that can be asked what it is made of, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sinfo", "sbatch", "squeue", "scancel"):
        (folder / name).write_text(SINFO if name == "sinfo" else "#!/bin/sh\necho must not be called >&2\nexit 9\n")
        (folder / name).chmod(0o755)
    environment["PATH"] = f"{folder}:{environment['PATH']}"


def said(lines: str) -> list[str]:
    return [line.removeprefix("orchestrator: ").strip() for line in lines.splitlines()]


# --- docker ----------------------------------------------------------------------------------------------------------


def test_without_an_engine_nothing_starts(cli: Cli, tmp_path: Path, environment: dict[str, str]) -> None:
    environment["PTO_DOCKER_SOCKET"] = "/nowhere/docker.sock"
    for words in (("--docker",), ("--docker-planner-in-docker",)):
        (found,) = said(cli("a", *words, code=3).stderr)
        assert found == (
            "no container engine listens at /nowhere/docker.sock: start it (systemctl start docker), "
            "or name another socket in PTO_DOCKER_SOCKET"
        )
    assert list(tmp_path.iterdir()) == []


def test_variables_of_a_backend_are_checked_with_it(cli: Cli, environment: dict[str, str]) -> None:
    environment["PTO_DOCKER_MEMORY"] = "much"
    assert "PTO_DOCKER_MEMORY must be" in cli("a", "--docker", code=3).stderr
    assert cli("a", "--dry-run").stderr == ""


def test_doctor_says_what_to_do_without_an_engine(cli: Cli, environment: dict[str, str]) -> None:
    environment["PTO_DOCKER_SOCKET"] = "/nowhere/docker.sock"
    found = cli("doctor", "--docker", code=3).stdout
    assert "FAIL  engine: no container engine listens at /nowhere/docker.sock: start it" in found
    assert "image" not in found


def test_a_missing_image_and_network_are_told_together(cli: Cli, docker_engine: DockerEngine, tmp_path: Path) -> None:
    found = said(cli("a", "--docker", "--docker-image", "no-such:1", "--docker-network", "no-such", code=3).stderr)
    assert found[0].startswith("there is no image no-such:1 on this machine. Build it with deploy/docker/build.sh")
    networks = sorted(docker_engine.docker("network", "ls", "--format={{.Name}}").split())
    assert found[1].startswith(f"there is no network no-such; there are {', '.join(networks)}.")
    assert not (tmp_path / "outputs").exists()


def test_doctor_starts_a_container_and_leaves_none(cli: Cli, docker_engine: DockerEngine) -> None:
    found = cli("doctor", "--docker", "--docker-image", docker_engine.slim, "--docker-network", "none").stdout
    for what in ("engine", "rights", "image", "network", "container", "engine's disk"):
        assert re.search(rf"^ok    {what}: ", found, re.MULTILINE), found
    assert "pto-doctor" not in docker_engine.docker("ps", "--all", "--format={{.Names}}")


def test_a_dry_run_shows_the_containers(cli: Cli, environment: dict[str, str]) -> None:
    environment |= {"PTO_DOCKER_SOCKET": "/nowhere/docker.sock", "PTO_DOCKER_CPUS": "1"}
    done = cli("run", "--plan", SWEEP, "--docker", "--docker-image", "mine:1", "--docker-network", "none", "--dry-run")
    assert "no container engine listens" in done.stderr
    assert "lane docker:\ncontainers of mine:1 for data, train-0.02-2, train-0.02-6" in done.stdout
    assert "    4096 MiB of memory, 1 processors, at most 512 processes, network none" in done.stdout
    assert "read-only root, no capabilities, no-new-privileges" in done.stdout


# --- slurm -----------------------------------------------------------------------------------------------------------


def test_without_slurm_nothing_starts(cli: Cli, tmp_path: Path, environment: dict[str, str]) -> None:
    environment["PATH"] = str(tmp_path / "empty")
    (found,) = said(cli("a", "--slurm", code=3).stderr)
    assert "sbatch, squeue, sinfo, scancel: not on the PATH; run this on a login node" in found
    assert "FAIL  slurm: sbatch, squeue, sinfo, scancel: not on the PATH" in cli("doctor", "--slurm", code=3).stdout


@pytest.mark.usefixtures("sinfo")
def test_every_shape_of_the_plan_is_held_against_the_cluster(cli: Cli, tmp_path: Path) -> None:
    plan = write(tmp_path, PLAN)
    assert said(cli("--plan", plan, "--slurm", code=2).stderr) == [
        "wide: asked 64 CPUs; partition compute (the default) has at most 16 per node",
        "long: asked 2-00:00:00 of time; partition compute (the default) allows at most 1-00:00:00",
        "there: asked partition nowhere, which is not there; there are: closed, compute, gpu",
    ]
    assert not (tmp_path / "outputs").exists()


@pytest.mark.usefixtures("sinfo")
def test_without_a_plan_the_runs_own_shape_is(cli: Cli) -> None:
    (found,) = said(cli("a", "--slurm", "--slurm-mem", "1T", code=2).stderr)
    assert found == "every-task: asked 1048576M of memory; partition compute (the default) has at most 64000M per node"
    (found,) = said(cli("a", "--slurm", "--slurm-gpus", "8", "--slurm-gpu-partition", "gpu", code=2).stderr)
    assert found == "every-task: asked 8 GPUs; partition gpu has at most 4 per node"


@pytest.mark.usefixtures("sinfo")
def test_a_spool_that_cannot_be_is_told_before_anything_starts(
    cli: Cli, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "file").touch()
    environment["PTO_SLURM_SPOOL"] = str(tmp_path / "file/spool")
    (found,) = said(cli("a", "--slurm", code=3).stderr)
    assert found.startswith(f"PTO_SLURM_SPOOL: {tmp_path}/file is no folder: name a folder that you may write")
    environment["PTO_SLURM_SPOOL"] = str(tmp_path / "new/spool")
    cli("--plan", write(tmp_path, PLAN), "--slurm", "--dry-run", code=2)
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("sinfo")
def test_a_controller_that_is_away_is_not_the_users_fault(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bin/sinfo").write_text(AWAY)
    (found,) = said(cli("a", "--slurm", code=3).stderr)
    assert "Unable to contact slurm controller" in found
    assert "`orchestrator doctor --slurm`" in found


@pytest.mark.usefixtures("sinfo")
def test_a_partition_that_is_down_is_only_noted(cli: Cli, tmp_path: Path) -> None:
    plan = write(tmp_path, 'tasks: [{id: a, command: "true"}]')
    done = cli("--plan", plan, "--slurm", "--slurm-partition", "closed", "--dry-run")
    assert said(done.stderr) == ["partition closed is down: jobs wait until it is brought up"]


@pytest.mark.usefixtures("sinfo")
def test_a_dry_run_shows_each_script_and_what_sbatch_would_be_given(cli: Cli, tmp_path: Path) -> None:
    shown = cli(
        "run", "--plan", SWEEP, "--slurm", "--slurm-partition=compute", "--slurm-mem=500M", "--slurm-account=proj",
        "--dry-run",
    ).stdout  # fmt: skip
    assert re.search(r"each job starts \S+/bin/job-[0-9a-f]{12}\.sh:\n    #!/bin/sh\n", shown)
    commands = [shlex.split(line) for line in shown.splitlines() if line.startswith("    sbatch ")]
    assert len(commands) == 11
    for words in commands:
        assert {"--partition=compute", "--mem=500M", "--cpus-per-task=1", "--time=60", "--account=proj"} <= set(words)
    comment = next(word for word in commands[0] if word.startswith("--comment="))
    run = comment.removeprefix("--comment=pto:").partition("/")[0]
    assert f"--job-name={external_name(run, 'data', 1)}-data" in commands[0]  # type: ignore[arg-type]
    assert f"--chdir={tmp_path}/state/parallel-orchestrator/runs/{run}/slurm/runs/{run}" in commands[0]
    assert not (tmp_path / "state").exists()


@pytest.mark.slow
def test_doctor_asks_a_real_cluster_and_leaves_nothing(
    cli: Cli, slurm_cluster: SlurmTestbed, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= slurm_cluster.environment | {"XDG_STATE_HOME": str(tmp_path / "state")}
    found = cli("doctor", "--slurm", "--slurm-partition", "compute").stdout
    for what in ("slurm", "controller", r"partition compute \(the default\)", "limits", "shared folder", "probe job",
                 "python of nodes"):  # fmt: skip
        assert re.search(rf"^ok    {what}: ", found, re.MULTILINE), found
    assert slurm_cluster.client("squeue", "-h") == ""
    assert not (tmp_path / "state/parallel-orchestrator/doctor").exists()
    environment["PTO_SLURM_PYTHON"] = "/nowhere/python3"
    assert "FAIL  python of nodes: job" in cli("doctor", "--slurm", code=3).stdout
    assert "FAIL  tasks: asked 64 CPUs" in cli("doctor", "--slurm", "--slurm-cpus", "64", code=3).stdout


@pytest.mark.slow
def test_the_sweep_runs_on_a_cluster(
    cli: Cli, slurm_cluster: SlurmTestbed, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= slurm_cluster.environment | {"XDG_STATE_HOME": str(tmp_path / "state"), "PTO_SLURM_POLL_S": "0.5"}
    words = ("--slurm", "--slurm-partition=compute", "--slurm-mem=500M", "-m", "4", "-o", "out")
    said = cli("run", "--plan", SWEEP, *words, timeout_s=180).stdout
    assert re.search(r"data: attempt 1, job \d+, is submitted", said)
    assert summary(tmp_path / "out")["status"] == "succeeded"
    assert (tmp_path / "out/src/best.json").is_file()
    assert json.loads((tmp_path / "out/.slurm_state/jobs.json").read_text())


# --- aws -------------------------------------------------------------------------------------------------------------


def test_without_credentials_nothing_starts_on_aws(cli: Cli, tmp_path: Path, environment: dict[str, str]) -> None:
    for name in [name for name in environment if name.startswith("AWS_")]:
        del environment[name]
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    words = ("--aws", "--aws-cluster-name=c", "--aws-s3-bucket=bucket")
    found = cli("a", *words, code=3).stderr
    assert "AWS credentials: " in found
    assert "FAIL  AWS credentials: " in cli("doctor", *words, code=3).stdout
