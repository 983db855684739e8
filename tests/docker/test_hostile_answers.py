"""What an agent's container may leave in its folder, and what is made of it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pto_attempts.job import Answer
from pto_dispatcher_docker.agent import Places, read_container_answer
from pto_dispatcher_docker.answer import Scope, Untrusted, read_result, read_small, take_outputs
from pto_dispatcher_docker.limits import RATIONALE_CHARS, TEXT_CHARS
from pto_dispatcher_docker.planning import read_draft
from pto_harness.failure import Failed
from pto_harness.manifest import write_bundle
from pto_harness.process import Ended
from pto_ports.engine import EngineError

SECRET = "sk-canary-0123456789"
SCOPE = Scope(outputs=("src/*.py",), writes=(), given=frozenset({"README.md"}), secrets=(SECRET,))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder as an honest harness leaves it."""
    workspace, folder = tmp_path / "workspace", tmp_path / "answer/made"
    (workspace / "src").mkdir(parents=True)
    (workspace / "src/a.py").write_text("a = 1\n")
    (workspace / "src/run.py").write_text("run\n")
    (workspace / "src/run.py").chmod(0o755)
    write_bundle(workspace, ["src/a.py", "src/run.py"], folder)
    return folder


def test_an_honest_bundle_is_taken_over_whole(made: Path, tmp_path: Path) -> None:
    taken = take_outputs(made.parent, "made", tmp_path / "out", SCOPE)
    assert taken["files"] == 2
    for name in ("bundle", "manifest"):
        copy = Path(taken[name])
        assert copy.parent == tmp_path / "out"
        assert copy.read_bytes() == (made / copy.name).read_bytes()


def _manifest(made: Path, change: Callable[[dict], None]) -> None:
    path = made / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _swap(path: Path, other: Callable[[Path], None]) -> None:
    path.unlink()
    other(path)


def _linked_folder(made: Path) -> None:
    made.rename(made.with_name("elsewhere"))
    made.symlink_to(made.with_name("elsewhere"))


LIES: dict[str, Callable[[Path], object]] = {
    "a link to a file of the host": lambda made: _swap(
        made / "bundle.tar", lambda path: path.symlink_to("/etc/passwd")
    ),
    "a pipe": lambda made: _swap(made / "manifest.json", os.mkfifo),
    "a folder in the place of a file": lambda made: _swap(made / "bundle.tar", Path.mkdir),
    "another bundle": lambda made: (made / "bundle.tar").write_bytes(b"\0" * 10240),
    "an endless list": lambda made: os.truncate(made / "manifest.json", 2**40),
    "no list": lambda made: (made / "manifest.json").unlink(),
    "no JSON": lambda made: (made / "manifest.json").write_text("[" * 100_000),
    "a path that leaves": lambda made: _manifest(made, lambda data: data["files"][0].update(path="../../x.py")),
    "an absolute path": lambda made: _manifest(made, lambda data: data["files"][0].update(path="/etc/x.py")),
    "a path outside of its scope": lambda made: _manifest(made, lambda data: data["files"][0].update(path="docs/a.md")),
    "a path twice": lambda made: _manifest(made, lambda data: data["files"].append(data["files"][0])),
    "a set-user-id program": lambda made: _manifest(made, lambda data: data["files"][0].update(mode=0o4755)),
    "another size": lambda made: _manifest(made, lambda data: data["files"][0].update(size=1)),
    "another digest": lambda made: _manifest(made, lambda data: data["files"][0].update(sha256="0" * 64)),
    "a file that is not there": lambda made: _manifest(made, lambda data: data["files"][0].update(path="src/b.py")),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_seen(lie: str, made: Path, tmp_path: Path) -> None:
    LIES[lie](made)
    with pytest.raises(Untrusted):
        take_outputs(made.parent, "made", tmp_path / "out", SCOPE)


def test_a_folder_that_became_a_link_is_not_followed(made: Path, tmp_path: Path) -> None:
    _linked_folder(made)
    with pytest.raises(Untrusted):
        take_outputs(made.parent, "made", tmp_path / "out", SCOPE)


@pytest.mark.parametrize("at", [0, 2**20 - 7])
def test_a_credential_in_an_output_is_found(at: int, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "src").mkdir(parents=True)
    (workspace / "src/a.py").write_bytes(b"x" * at + SECRET.encode() + b"y" * 100)
    write_bundle(workspace, ["src/a.py"], tmp_path / "answer/made")
    with pytest.raises(Untrusted, match="credential"):
        take_outputs(tmp_path / "answer", "made", tmp_path / "out", SCOPE)


def test_what_is_missing_is_missing_whatever_the_result_says(made: Path, tmp_path: Path) -> None:
    scope = Scope(outputs=("src/*.py", "docs/*.md"), writes=("src/**",), given=frozenset())
    with pytest.raises(Untrusted, match="docs"):
        take_outputs(made.parent, "made", tmp_path / "out", scope)


def test_texts_of_a_result_lose_their_secrets() -> None:
    said = f"the key is {SECRET}"
    found = read_result(
        {"outcome": "failed", "failure": "task", "reason": said, "hint": said, "tail": [said] * 100}, [SECRET]
    )
    assert SECRET not in f"{found}"
    assert len(found.tail) <= 20


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"outcome": "won"},
        {"outcome": "failed"},
        {"outcome": "failed", "failure": "mine"},
        {"outcome": "failed", "failure": "x" * 10**6},
        {"outcome": "failed", "failure": "cancelled"},
        {"outcome": "cancelled", "failure": "task"},
        {"outcome": "succeeded", "exit_code": 2**64},
        {"outcome": "succeeded", "sandbox": "s" * 10**6},
        {"outcome": 1},
    ],
)
def test_a_result_that_is_none_is_refused(result: dict) -> None:
    with pytest.raises(Untrusted) as caught:
        read_result(result, [])
    assert len(str(caught.value)) < 1000, "what is said of it goes into an event"


def test_a_credential_in_the_name_of_an_output_is_found(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "src").mkdir(parents=True)
    (workspace / f"src/{SECRET}.py").touch()
    write_bundle(workspace, [f"src/{SECRET}.py"], tmp_path / "answer/made")
    with pytest.raises(Untrusted) as caught:
        take_outputs(tmp_path / "answer", "made", tmp_path / "out", SCOPE)
    assert SECRET not in str(caught.value)


SPENT = {"usage": {"input_tokens": 7}, "cost_usd": 0.5}
PLAN: dict[str, Any] = {"plan": {"name": "p", "tasks": []}, "complexity": 3, "rationale": "why"}


def answered(tmp_path: Path, answer: dict[str, Any]) -> Answer:
    places = Places.of({"workspace": tmp_path / "work", "out": tmp_path / "out"})
    places.answer.mkdir()
    (places.answer / "answer.json").write_text(json.dumps(answer))
    return read_container_answer(places, Ended(0, "exited"))


@pytest.mark.parametrize("spent", [{"cost_usd": -5000.0}, {"usage": {"output_tokens": -1}}, {"cost_usd": 1e300}])
@pytest.mark.parametrize("at", ["answer", "failure", "draft"])
def test_nothing_is_given_back_on_a_bill(at: str, spent: dict[str, Any], tmp_path: Path) -> None:
    answer = {
        "answer": {"spent": spent},
        "failure": {"failure": {"reason": "r", "failure": "task", "spent": spent}},
        "draft": {"draft": PLAN | spent},
    }[at]
    with pytest.raises(Untrusted, match="costs"):
        read_draft(answered(tmp_path, answer), [], is_cancelled=False)


def test_an_honest_bill_is_taken_over(tmp_path: Path) -> None:
    answer = answered(tmp_path, {"spent": SPENT, "draft": PLAN | SPENT})
    assert answer.spent.cost_usd == read_draft(answer, [SECRET], is_cancelled=False).cost_usd == 0.5


@pytest.mark.parametrize(
    "lie",
    [
        {"rationale": f"because of {SECRET}"},
        {"plan": {"name": SECRET, "tasks": []}},
        {"model": "m" * 10**6},
        {"prompt_digest": "d" * 10**6},
        {"complexity": 10**30},
        {"repairs": -1},
    ],
)
def test_a_draft_that_no_planner_makes_is_refused(lie: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Untrusted):
        read_draft(answered(tmp_path, {"draft": PLAN | lie}), [SECRET], is_cancelled=False)


def test_an_endless_rationale_is_cut(tmp_path: Path) -> None:
    draft = read_draft(answered(tmp_path, {"draft": PLAN | {"rationale": "x" * 10**6}}), [], is_cancelled=False)
    assert len(draft.rationale) == RATIONALE_CHARS


def test_a_planners_failure_is_cut_and_blanked_and_has_a_known_class(tmp_path: Path) -> None:
    failure = {"reason": f"{SECRET} {'x' * 10**6}", "failure": "capacity", "retry_after_s": 9.0}
    with pytest.raises(EngineError) as caught:
        read_draft(answered(tmp_path, {"failure": failure}), [SECRET], is_cancelled=False)
    assert (caught.value.failure, caught.value.retry_after_s) == ("capacity", 9.0)
    assert SECRET not in str(caught.value)
    assert len(str(caught.value)) <= TEXT_CHARS


@pytest.mark.parametrize(("failure", "expected"), [("mine", Untrusted), ("cancelled", Failed)])
def test_a_planner_cannot_say_of_itself_that_it_was_cancelled(failure: str, expected: type, tmp_path: Path) -> None:
    answer = answered(tmp_path, {"failure": {"reason": "r", "failure": failure}})
    with pytest.raises(expected):
        read_draft(answer, [], is_cancelled=False)


def test_an_answer_is_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_bytes(b"x" * 11)
    with pytest.raises(Untrusted):
        read_small(tmp_path, "answer.json", 10)
    assert read_small(tmp_path, "answer.json", 11) == b"x" * 11
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path, "other.json")
