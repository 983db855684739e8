"""What is typed is checked whole: every mistake at once, one sentence each, exit 2."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pto_cli.flags import FLAGS
from pto_cli.main import run
from pto_cli.prepare import prepare
from pto_cli.problems import WrongUse

SECRET = "canary-secret-value"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("NATS_URL", raising=False)


def mistakes(*words: str) -> list[str]:
    with pytest.raises(WrongUse) as caught:
        prepare(list(words))
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "REQUIREMENTS: is empty"),
        ([""], "REQUIREMENTS: is empty"),
        (["  \n"], "REQUIREMENTS: is empty"),
        (["Build", "a", "todo", "list"], 'REQUIREMENTS: put the text in quotes: orchestrator "Build a todo list"'),
        (["x" * 70_000], "REQUIREMENTS: is longer than 65536 bytes"),
        (["a", "-m", "0"], "--max-executors: must be a whole number from 1 to 10000, not '0'"),
        (["a", "-m", "x"], "--max-executors: must be a whole number from 1 to 10000, not 'x'"),
        (["a", "-m", "1.5"], "--max-executors: must be"),
        (["a", "-m", ""], "--max-executors: must be"),
        (["a", "-m", "٣"], "--max-executors: must be"),
        (["a", "-m"], "argument -m/--max-executors: expected one argument"),
        (["a", "--max-retries", "-1"], "--max-retries: must be a whole number from 0 to 100, not '-1'"),
        (["a", "--max-retries=-1"], "--max-retries: must be"),
        (["a", "--max-executor", "3"], "--max-executor: there is no such flag; did you mean --max-executors?"),
        (["a", "--frobnicate"], "--frobnicate: there is no such flag"),
        (["a", "--on-failure", "panic"], "--on-failure: must be one of continue, stop, not 'panic'"),
        (["a", "--on-conflict", "x"], "--on-conflict: must be one of"),
        (["a", "--engine", "gpt"], "--engine: must be one of"),
        (["a", "--sandbox", "most"], "--sandbox: must be one of all, agents, none, not 'most'"),
        (["a", "--real", "--engine", "simulated"], "--real and --engine simulated: choose one"),
        (["a", "--model", ""], "--model: is empty; name a model"),
        (["a", "--model", "my model"], "--model: 'my model' is not the id of a model; ids have no blanks"),
        (["a", "--model", "m" * 300], "--model: 'mmm"),
        (["a", "--max-cost", "0"], "--max-cost: must be a sum in US dollars such as 5 or 0.50, at most 1000000, not '0'"),
        (["a", "--max-cost", "-1"], "--max-cost: must be"),
        (["a", "--max-cost", "nan"], "--max-cost: must be"),
        (["a", "--max-cost", "1e3"], "--max-cost: must be"),
        (["a", "--max-cost", "5$"], "--max-cost: must be"),
        (["a", "--max-cost", "1000000.5"], "--max-cost: must be"),
        (["a", "--max-cost", "\u0663"], "--max-cost: must be"),
        (["a", "--real", "--docker-bedrock-region", "eu-west-1"], "--docker-bedrock-region: needs --docker-use-bedrock"),
        (["a", "--docker-use-bedrock", "--docker-bedrock-region", " "], "--docker-bedrock-region: is empty"),
        (["a", "--docker-use-bedrock", "--docker-bedrock-region", "moon"], "--docker-bedrock-region: 'moon' is not the"),
        (["a", "--docker-use-bedrock", "--docker-bedrock-model", "a b"], "--docker-bedrock-model: 'a b' is not the id"),
        (["a", "--docker-use-bedrock", "--docker-aws-session-token", SECRET],
         "--docker-aws-session-token: needs the two keys that it belongs to"),
        (["a", "--docker-use-bedrock", "--docker-aws-secret-access-key", SECRET],
         "--docker-aws-access-key-id and --docker-aws-secret-access-key: give both, or neither"),
        (["a", "--docker-use-bedrock", "--model", "x", "--docker-bedrock-model", "y"],
         "--model and --docker-bedrock-model: name one model"),
        (["a", "--nats-url", "nats://x", "--docker-aws-session-token", SECRET],
         "--docker-aws-session-token: credentials never travel; set AWS_SESSION_TOKEN in the environment of pto-planner"),
        (["a", "--nats-url", "nats://x", "--docker-use-bedrock"],
         "--docker-use-bedrock: with --nats-url the services choose the provider; set PTO_MODEL_PROVIDER"),
        (["a", "-v", "-q"], "-v and -q: choose one"),
        (["a", "--dry-run", "--detach"], "--dry-run and --detach"),
        (["--plan", "none.yaml"], "none.yaml: there is no such file"),
        (["--plan", ""], "--plan: is empty"),
        (["--plan", "."], ".: is a folder; name the plan file in it"),
        (["-o", "", "a"], "--output-dir: is empty"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence(words: list[str], expected: str) -> None:
    (found,) = mistakes(*words)
    assert found.startswith(expected)
    assert SECRET not in found


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("tasks: []")
    (tmp_path / "file").write_text("")
    found = mistakes(
        "-m", "0", "--max-retries", "x", "--frob", "--docker", "--slurm", "--plan", "bad.yaml", "-o", "file"
    )
    assert found == [
        "--frob: there is no such flag; did you mean --force?",
        "--docker and --slurm: choose one backend",
        "--max-executors: must be a whole number from 1 to 10000, not '0'",
        "--max-retries: must be a whole number from 0 to 100, not 'x'",
        "bad.yaml:1: tasks: is empty; a plan needs at least one task",
        "--output-dir: file is a file; name a folder",
    ]


def test_a_plan_and_a_requirement_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("tasks: [{id: a, noop: true}]")
    assert mistakes("Build it", "--plan", "p.yaml") == [
        "'Build it' and --plan: give either REQUIREMENTS or a plan, not both",
    ]


def test_an_output_folder_with_content_needs_force(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    assert mistakes("a", "-o", "full") == [
        "--output-dir: full is not empty; name another folder, or move its content aside with --force",
    ]
    assert mistakes("a", "-o", "full/x") == ["--output-dir: full/x is a file; name a folder"]
    assert mistakes("a", "-o", "full/x/y") == ["--output-dir: full/x is a file; name a folder"]
    assert prepare(["a", "-o", "full", "--force"]) is not None
    assert "cannot be moved aside" in mistakes("a", "-o", ".", "--force")[0]


def test_model_and_limit_of_cost_are_asked_for_with_any_engine() -> None:
    prepared = prepare(["a", "--model", "anthropic.claude-x:0", "--max-cost", "0.50"])
    assert prepared is not None
    request = prepared.request()
    assert (request.model, request.max_cost_usd, request.engine) == ("anthropic.claude-x:0", 0.5, "simulated")


def test_good_options_have_the_documented_defaults() -> None:
    prepared = prepare(["Build a todo list"])
    assert prepared is not None
    options = prepared.options
    assert (options.max_executors, options.max_retries, options.on_failure) == (5, 3, "continue")
    assert (options.on_conflict, options.sandbox, options.models.engine) == ("fail", "agents", "simulated")
    assert prepared.name == "Build a todo list"


def test_flags_may_come_first_and_a_command_word_may_be_a_requirement() -> None:
    prepared = prepare(["-m", "3", "list"])
    assert prepared is not None
    assert prepared.options.requirement == "list"
    assert prepared.options.max_executors == 3


def test_the_seeds_flags_are_all_known() -> None:
    seed = """--output-dir --max-executors --real --docker --slurm --aws --docker-planner-in-docker --docker-use-bedrock
    --docker-bedrock-region --docker-bedrock-model --docker-image --docker-network --docker-aws-access-key-id
    --docker-aws-secret-access-key --docker-aws-session-token --slurm-partition --slurm-time --slurm-mem --slurm-cpus
    --slurm-gpus --slurm-gpu-partition --aws-cluster-name --aws-region --aws-s3-bucket --max-retries"""
    assert set(seed.split()) <= {flag.name for flag in FLAGS}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["pause", "no-such-run"], 2, "there is no run"),
        (["approve"], 2, "approve: "),
        (["explain", "no-such-run", "t"], 2, "there is no run"),
        (["audit"], 2, "audit: "),
        (["archive"], 2, "archive: "),
        (["lst"], 2, "there is no command 'lst'; did you mean 'list'?"),
        (["status"], 2, "status: the following arguments are required: RUN"),
        (["status", "BAD ID"], 2, "'BAD ID' is not a run id"),
        (["status", "no-such-run"], 2, "there is no run 'no-such-run' here"),
        (["watch", "movies", "app"], 2, "watch: 'app' is not understood; to build something"),
        (["list", "--frob"], 2, "list: '--frob' is not understood"),
        (["cancel", "no-such-run"], 2, "there is no run"),
        (["resume", "no-such-run"], 2, "there is no run"),
        (["fetch", "no-such-run", "-o", "x"], 2, "there is no run"),
        (["bootstrap"], 2, "bootstrap: needs --nats-url"),
        (["list", "--nats-url", "nats://127.0.0.1:9"], 3, ""),
        ([""], 2, "REQUIREMENTS: is empty"),
    ],
)
def test_commands_end_with_one_sentence_and_a_code(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(words) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"orchestrator: {said}")
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick_and_complete() -> None:
    words = [str(Path(sys.executable).parent / "orchestrator"), "--help"]
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)  # whatever else runs
    assert min(times) < 0.25
    assert all(flag.name in said for flag in FLAGS)
