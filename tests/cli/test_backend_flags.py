"""Where tasks run and on what: the rules of the backends' flags, and what becomes of them in a request."""

import shlex
from pathlib import Path

import pytest

from pto_cli.prepare import Prepared, prepare
from pto_cli.problems import WrongUse
from pto_proto.plans import DockerOptions, Resources, SlurmOptions
from pto_proto.requests import RunRequested

SECRET = "canary-secret-value"
AWS = ("--aws", "--aws-cluster-name=c", "--aws-s3-bucket=bucket")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NATS_URL", "PTO_SLURM_SITE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


def prepared(*words: str) -> Prepared:
    found = prepare(["a", *words])
    assert found is not None
    return found


def request(*words: str) -> RunRequested:
    return prepared(*words).request()


def mistakes(*words: str) -> list[str]:
    with pytest.raises(WrongUse) as caught:
        prepare(["a", *words])
    return list(caught.value.problems)


SEED = {
    """orchestrator "Create a calculator function" """: ("local", {}),
    """orchestrator "Build todo list with backend and frontend" --max-executors 3""": ("local", {}),
    """orchestrator "Build a chess game" --max-executors 5 --real""": ("local", {}),
    """orchestrator "Build a todo list app" --docker --docker-planner-in-docker --docker-use-bedrock --max-executors 3
    --real""": ("docker", {"planner_backend": "docker", "max_executors": 3, "engine": "api"}),
    """orchestrator "Build a contact form" --docker --docker-planner-in-docker --max-executors 2 --real""":
        ("docker", {"planner_backend": "docker", "max_executors": 2}),
    """orchestrator "Build ML pipeline" --slurm --slurm-partition=compute --max-executors 10""":
        ("slurm-default", {"slurm": SlurmOptions(partition="compute"),
                           "resources": Resources(cpus=1, memory="4G", time="01:00:00")}),
    """orchestrator "Process large dataset" --slurm --slurm-partition=compute --slurm-time=02:00:00 --slurm-mem=16G
    --slurm-cpus=4 --max-executors 20""":
        ("slurm-default", {"resources": Resources(cpus=4, memory="16G", time="02:00:00")}),
    """orchestrator "Train ML models" --slurm --slurm-partition=gpu --slurm-gpus=1 --slurm-mem=32G --max-executors 8""":
        ("slurm-default", {"slurm": SlurmOptions(partition="gpu"),
                           "resources": Resources(cpus=1, memory="32G", gpus=1, time="01:00:00")}),
    """orchestrator "Build platform" --aws --aws-cluster-name=my-cluster --aws-s3-bucket=my-bucket
    --aws-region=eu-central-1 --max-executors 50""": ("parallelcluster-my-cluster", {"max_executors": 50}),
    """orchestrator "Train deep learning models" --aws --aws-cluster-name=gpu-cluster --aws-s3-bucket=ml-bucket
    --slurm-partition=gpu --slurm-gpus=1 --max-executors 20""":
        ("parallelcluster-gpu-cluster", {"slurm": SlurmOptions(partition="gpu")}),
    """orchestrator "Build a todo app" --docker --docker-use-bedrock --max-executors 3 --real""":
        ("docker", {"planner_backend": "", "docker": DockerOptions(), "resources": Resources()}),
    """orchestrator "Run hyperparameter sweep for ML model" --slurm --slurm-partition=research --slurm-gpus=1
    --max-executors 50""": ("slurm-default", {}),
    """orchestrator "Train ensemble models on ImageNet" --aws --aws-cluster-name=ml-training --aws-s3-bucket=ml-data
    --slurm-gpus=4 --max-executors 100""": ("parallelcluster-ml-training", {}),
    """orchestrator "ETL pipeline: extract, transform, load" --slurm --slurm-partition=data --slurm-mem=64G
    --max-executors 20""": ("slurm-default", {}),
}  # fmt: skip
"""The command lines of the specification, and what they ask for."""


@pytest.mark.parametrize("line", SEED)
def test_the_specifications_command_lines_mean_what_they_say(line: str) -> None:
    lane, expected = SEED[line]
    found = prepare(shlex.split(line)[1:])
    assert found is not None
    asked = found.request()
    assert asked.backend == lane
    assert {name: getattr(asked, name) for name in expected} == expected


def test_without_a_backend_nothing_is_said_about_one() -> None:
    asked = request()
    assert (asked.backend, asked.planner_backend, asked.gpu_partition) == ("local", "", "")
    assert (asked.resources, asked.slurm, asked.docker) == (Resources(), SlurmOptions(), DockerOptions())


def test_all_that_slurm_takes_is_asked_for() -> None:
    asked = request(
        "--slurm", "--slurm-site", "hpc1", "--slurm-account", "proj-1", "--slurm-qos", "long", "--slurm-constraint",
        "ib&(a|b)", "--slurm-gpu-partition", "gpu", "--slurm-gpus", "2", "--slurm-time", "1-12:00:00",
    )  # fmt: skip
    assert asked.backend == "slurm-hpc1"
    assert asked.slurm == SlurmOptions(account="proj-1", qos="long", constraint="ib&(a|b)")
    assert asked.gpu_partition == "gpu"
    assert asked.resources == Resources(cpus=1, memory="4G", gpus=2, time="1-12:00:00")


def test_the_partition_default_is_the_clusters_own() -> None:
    assert request("--slurm", "--slurm-partition", "default").slurm == SlurmOptions()
    assert request("--slurm").slurm == SlurmOptions()


def test_the_site_comes_from_the_flag_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTO_SLURM_SITE", "north")
    assert request("--slurm").backend == "slurm-north"
    assert request("--slurm", "--slurm-site", "south").backend == "slurm-south"
    monkeypatch.setenv("PTO_SLURM_SITE", "Not A Site")
    assert mistakes("--slurm") == [
        "PTO_SLURM_SITE: 'Not A Site' is no name of a site; use 1-48 of a-z, 0-9 and '-'",
    ]
    assert request().backend == "local"


def test_clusters_with_long_or_capital_names_have_lanes_of_their_own() -> None:
    long = "Cluster-" + "x" * 50
    lanes = {request("--aws", f"--aws-cluster-name={name}", "--aws-s3-bucket=bucket").backend
             for name in ("Ml-Training", long + "1", long + "2")}  # fmt: skip
    assert len(lanes) == 3
    assert "parallelcluster-ml-training" in lanes
    assert max(map(len, lanes)) == 64


def test_the_planner_may_run_in_docker_with_every_backend() -> None:
    for words in ((), ("--docker",), ("--slurm",), AWS):
        asked = request(*words, "--docker-planner-in-docker", "--docker-image", "pto:dev", "--docker-network", "none")
        assert asked.planner_backend == "docker"
        assert asked.docker == DockerOptions(image="pto:dev", network="none")


def test_flags_of_model_providers_are_valid_with_every_backend() -> None:
    provider = ("--real", "--docker-use-bedrock", "--docker-bedrock-region=eu-west-1", "--docker-aws-access-key-id=k",
                f"--docker-aws-secret-access-key={SECRET}")  # fmt: skip
    for words in ((), ("--docker",), ("--slurm",), AWS):
        found = prepared(*words, *provider)
        assert found.options.models.provider == "bedrock"
        assert SECRET not in f"{found} {found.request()}"


def test_dispatchers_of_this_machine_are_told_what_no_request_carries() -> None:
    assert prepared("--slurm", "--slurm-mode=pilot").options.backend.told == {"PTO_SLURM_MODE": "pilot"}
    assert prepared("--slurm", "--slurm-lookahead=3").options.backend.told == {"PTO_SLURM_LOOKAHEAD": "3"}
    assert prepared("--slurm").options.backend.told == {}
    assert prepared(*AWS).options.backend.told == {
        "PTO_AWS_CLUSTER": "c", "PTO_AWS_REGION": "eu-central-1", "PTO_AWS_BUCKET": "bucket",
    }  # fmt: skip


def test_at_a_broker_dispatchers_have_their_own_settings() -> None:
    there = ("--nats-url", "nats://x")
    assert mistakes(*there, "--slurm", "--slurm-mode", "pilot") == [
        "--slurm-mode: with --nats-url the dispatcher chooses; set PTO_SLURM_MODE in its environment",
    ]
    assert mistakes(*there, "--slurm", "--slurm-lookahead", "2") == [
        "--slurm-lookahead: with --nats-url the dispatcher chooses; set PTO_SLURM_LOOKAHEAD in its environment",
    ]
    found = prepared(*there, *AWS)
    assert found.request().backend == "parallelcluster-c"
    assert found.options.backend.told == {}
    assert found.options.backend.notices == (
        "--aws-s3-bucket: with --nats-url the cluster's dispatcher uses its own (PTO_AWS_BUCKET)",
    )
    assert prepared(*there, "--aws", "--aws-cluster-name", "c").request().backend == "parallelcluster-c"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--docker-image", "x"], "--docker-image: needs --docker or --docker-planner-in-docker"),
        (["--slurm", "--docker-network", "x"], "--docker-network: needs --docker or --docker-planner-in-docker"),
        (["--slurm-cpus", "2"], "--slurm-cpus: needs --slurm or --aws"),
        (["--docker", "--slurm-time", "1:00:00"], "--slurm-time: needs --slurm or --aws"),
        (["--slurm-mode", "pilot"], "--slurm-mode: needs --slurm or --aws"),
        (["--slurm", "--aws-region", "eu-west-1"], "--aws-region: needs --aws"),
        (["--docker", "--docker-image", ""], "--docker-image: is empty"),
        (["--docker", "--docker-image", "--frob"], "argument --docker-image: expected one argument"),
        (["--docker", "--docker-image=-x"], "--docker-image: '-x' names no image; write for example"),
        (["--docker", "--docker-image=a b"], "--docker-image: 'a b' names no image"),
        (["--docker", "--docker-network=a b"], "--docker-network: 'a b' names no network"),
        (["--slurm", "--slurm-partition", " "], "--slurm-partition: is empty"),
        (["--slurm", "--slurm-partition=-p"], "--slurm-partition: '-p' is nothing that SLURM takes here"),
        (["--slurm", "--slurm-account", "a b"], "--slurm-account: 'a b' is nothing that SLURM takes here"),
        (["--slurm", "--slurm-qos", "x;rm"], "--slurm-qos: 'x;rm' is nothing"),
        (["--slurm", "--slurm-constraint", "$(id)"], "--slurm-constraint: '$(id)' is nothing"),
        (["--slurm", "--slurm-gpu-partition", "g\n"], "--slurm-gpu-partition: 'g\\n' is nothing"),
        (["--slurm", "--slurm-time", "0"], "--slurm-time: '0' is not a possible time limit"),
        (["--slurm", "--slurm-time", "1h"], "--slurm-time: '1h' is not a time; write seconds, MM:SS, HH:MM:SS or"),
        (["--slurm", "--slurm-time", "00:61:00"], "--slurm-time: '00:61:00' is not a time; minutes"),
        (["--slurm", "--slurm-mem", "4Q"], "--slurm-mem: '4Q' is not a memory size; write for example 500M or 4G"),
        (["--slurm", "--slurm-mem", "0"], "--slurm-mem: '0' is not a possible memory size"),
        (["--slurm", "--slurm-cpus", "0"], "--slurm-cpus: must be a whole number from 1 to 100000, not '0'"),
        (["--slurm", "--slurm-cpus", "1.5"], "--slurm-cpus: must be a whole number from 1 to 100000, not '1.5'"),
        (["--slurm", "--slurm-gpus=-1"], "--slurm-gpus: must be a whole number from 0 to 100000, not '-1'"),
        (["--slurm", "--slurm-gpus", "\u0663"], "--slurm-gpus: must be"),
        (["--slurm", "--slurm-mode", "array"], "--slurm-mode: must be one of jobs, pilot, not 'array'"),
        (["--slurm-lookahead", "1"], "--slurm-lookahead: needs --slurm or --aws"),
        (["--slurm", "--slurm-lookahead=-1"], "--slurm-lookahead: must be a whole number from 0 to 1000, not '-1'"),
        (["--slurm", "--slurm-lookahead", "1001"], "--slurm-lookahead: must be a whole number from 0 to 1000"),
        (["--slurm", "--slurm-mode=pilot", "--slurm-lookahead=2"], "--slurm-lookahead: pilots need none; leave it or"),
        (["--slurm", "--slurm-site", "HPC"], "--slurm-site: 'HPC' is no name of a site; use 1-48 of a-z, 0-9 and '-'"),
        (["--slurm", "--slurm-site", "x" * 49], "--slurm-site: 'xxx"),
        ([*AWS, "--slurm-site", "x"], "--slurm-site: with --aws the cluster is the place; leave it out"),
        ([*AWS, "--aws-region", "Europe"], "--aws-region: 'Europe' is not the name of a region such as eu-central-1"),
        (["--aws", "--aws-s3-bucket=bucket"], "--aws: needs --aws-cluster-name"),
        (["--aws", "--aws-cluster-name=c"], "--aws: needs --aws-s3-bucket"),
        (["--aws", "--aws-cluster-name=1c", "--aws-s3-bucket=bucket"], "--aws-cluster-name: '1c' is no name of a cluster"),
        (["--aws", "--aws-cluster-name=c", "--aws-s3-bucket=s3://b"], "--aws-s3-bucket: 's3://b' is not the name of"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence(words: list[str], expected: str) -> None:
    (found,) = mistakes(*words)
    assert found.startswith(expected)


def test_two_backends_are_one_too_many() -> None:
    assert mistakes("--docker", "--slurm") == ["--docker and --slurm: choose one backend"]
    assert mistakes("--slurm", *AWS) == ["--slurm and --aws: choose one backend"]


def test_everything_wrong_about_a_backend_is_said_at_once() -> None:
    assert mistakes("--aws", "--slurm-cpus", "x", "--slurm-time", "1h", "--slurm-mem", "2X", "--docker-image", "y") == [
        "--docker-image: needs --docker or --docker-planner-in-docker",
        "--slurm-time: '1h' is not a time; write seconds, MM:SS, HH:MM:SS or D-HH:MM:SS",
        "--slurm-mem: '2X' is not a memory size; write for example 500M or 4G",
        "--slurm-cpus: must be a whole number from 1 to 100000, not 'x'",
        "--aws: needs --aws-cluster-name",
        "--aws: needs --aws-s3-bucket",
    ]
