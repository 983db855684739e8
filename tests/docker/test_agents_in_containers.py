"""Agents and planners in containers: the same project as without, and credentials where they are needed and nowhere else."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes.containers import DockerEngine
from fakes.messages_api import FakeMessagesApi, scenario_from, serving_in_thread
from tests.fakes.canaries import holders

from systems import DockerSite, wait_for

TODO_LIST = Path(__file__).resolve().parents[1] / "fakes/scenarios/todo_list.yaml"
REQUIREMENT = "Build a todo list with backend and frontend"
KEY = "sk-canary-7f3a0c1d"
ACCESS_KEY, SECRET_KEY, TOKEN = "AKIACANARY7F3A0C1D", "secret-canary-7f3a0c1d", "token-canary-7f3a0c1d"


@pytest.fixture
def api() -> Iterator[FakeMessagesApi]:
    data: dict[str, Any] = yaml.safe_load(TODO_LIST.read_text())
    with serving_in_thread(scenario_from(data)) as api:
        yield api


class Watch(threading.Thread):
    """Looks at what the engine shows of every container, and at all arguments and environments on this machine."""

    def __init__(self, site: DockerSite, secrets: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self._site = site
        self._secrets = [secret.encode() for secret in secrets]
        self.ended = threading.Event()
        self.seen: set[str] = set()
        self.leaks: set[str] = set()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            for container in self._site.containers():
                self.seen.add(container)
                for words in (["inspect", container], ["logs", container]):
                    done = subprocess.run(["docker", *words], capture_output=True, check=False)
                    self._look(f"docker {words[0]}", done.stdout + done.stderr)
            # Those of this test have the keys as any service does.
            services = {process.pid for process in self._site.processes.values()}
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) not in services:
                    try:
                        self._look("arguments", (entry / "cmdline").read_bytes())
                        self._look(f"environment of {(entry / 'comm').read_text()}", (entry / "environ").read_bytes())
                    except OSError:
                        continue

    def _look(self, what: str, data: bytes) -> None:
        if any(secret in data for secret in self._secrets):
            self.leaks.add(what)


def watched(site: DockerSite, secrets: tuple[str, ...], **fields: Any) -> dict[str, Any]:
    watch = Watch(site, secrets)
    watch.start()
    try:
        run = site.ask(REQUIREMENT, engine="api", planner_backend="docker", **fields)
        summary = site.end(run)
    finally:
        watch.ended.set()
        watch.join()
    assert len(watch.seen) >= 3, "the planner and agents were seen"
    assert not watch.leaks
    return summary


@pytest.mark.slow
def test_real_agents_and_their_planner_work_in_containers_and_keys_stay_there(
    make_site: Any, api: FakeMessagesApi
) -> None:
    site: DockerSite = make_site(
        PTO_DOCKER_NETWORK="host", ANTHROPIC_BASE_URL=api.url, ANTHROPIC_API_KEY=KEY, PTO_ENGINES="simulated,api"
    )
    site.start()
    summary = watched(site, (KEY,))
    assert summary["status"] == "succeeded", summary
    assert {attempt["sandbox"] for task in summary["tasks"] for attempt in task["attempts"]} <= {
        "container", "container+landlock", "container+bubblewrap",
    }  # fmt: skip
    assert summary["usage"]["output_tokens"] > 0
    assert api.answered
    assert all(request.keys == ("canary",) and not request.leaked for request in api.requests)
    wait_for("all containers to be deleted", lambda: not site.containers())
    assert not holders(KEY, below=(site.folder,))
    plan = json.loads((next(site.folder.glob("work/*/planner/execution_plan.json"))).read_text())
    assert {task["id"] for task in plan["tasks"]} == {task["id"] for task in summary["tasks"]}
    assert not holders(KEY, below=(Path("/dev/shm"),))


@pytest.mark.slow
def test_claude_code_works_in_the_full_image(make_site: Any, docker_engine: DockerEngine, api: FakeMessagesApi) -> None:
    site: DockerSite = make_site(
        PTO_DOCKER_NETWORK="host",
        PTO_DOCKER_IMAGE=docker_engine.full,
        ANTHROPIC_BASE_URL=api.url,
        ANTHROPIC_API_KEY=KEY,
    )
    site.start()
    summary = site.end(site.ask(REQUIREMENT, engine="claude-code", planner_backend="docker"))
    assert summary["status"] == "succeeded", summary
    assert all(request.keys == ("canary",) and not request.leaked for request in api.requests if request.keys)
    assert not holders(KEY, below=(site.folder,))


@pytest.mark.slow
def test_keys_of_bedrock_are_resolved_on_the_host(make_site: Any, api: FakeMessagesApi) -> None:
    site: DockerSite = make_site(
        PTO_DOCKER_NETWORK="host", ANTHROPIC_BEDROCK_BASE_URL=api.url, PTO_MODEL_PROVIDER="bedrock",
        AWS_REGION="eu-central-1", AWS_EC2_METADATA_DISABLED="true", AWS_PROFILE="canary", PTO_ENGINES="simulated,api",
    )  # fmt: skip
    (site.folder / ".aws").mkdir()
    keys = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "SessionToken": TOKEN, "Version": 1}
    (site.folder / "keys.json").write_text(json.dumps(keys))
    (site.folder / ".aws/config").write_text(
        f"[profile canary]\nregion = eu-central-1\ncredential_process = cat {site.folder}/keys.json\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        site.environment.pop(name, None)
    site.start()
    secrets = (ACCESS_KEY, SECRET_KEY, TOKEN)
    summary = watched(site, secrets)
    assert summary["status"] == "succeeded", summary
    assert all(request.keys == ("aws-canary",) for request in api.requests)
    assert holders(*secrets, below=(site.folder,)) == [site.folder / "keys.json"]


@pytest.mark.slow
def test_a_simulated_run_is_the_same_in_containers(site: DockerSite) -> None:
    run = site.ask("Build a todo list app", planner_backend="docker")
    summary = site.end(run)
    assert summary["status"] == "succeeded"
    local = site.orchestrator("Build a todo list app", "-m", "3", "-o", "out/local", "--nats-url", "")
    assert local
    here = json.loads((site.folder / "out/local/execution_summary.json").read_text())
    assert summary["tree_digest"] == here["tree_digest"]


@pytest.mark.slow
def test_variables_that_a_plan_passes_on_are_not_in_the_engines_records(make_site: Any) -> None:
    site: DockerSite = make_site(DEPLOY_TOKEN="it's a-canary-value", PTO_DOCKER_NETWORK="none")
    site.start()
    task = {
        "id": "t",
        "command": "echo token $DEPLOY_TOKEN; printenv DEPLOY_TOKEN | wc -c > size; while [ ! -e go ]; do sleep 0.1; done",
        "env": ["DEPLOY_TOKEN"], "outputs": ["size"], "checks": ["test -n \"$DEPLOY_TOKEN\""],
    }  # fmt: skip
    run = site.begin({"name": "pass", "tasks": [task]})
    (container,) = wait_for("its container", lambda: site.containers(running=True))
    assert "canary" not in site.docker("inspect", container)
    site.let_go(run, "t")
    summary = site.end(run)
    assert summary["status"] == "succeeded"
    assert not holders("a-canary-value", below=(site.folder,))
    (size,) = [path for path in (site.folder / "out" / run).rglob("size") if "executor" not in str(path)]
    assert size.read_text().strip() == str(len("it's a-canary-value") + 1)
