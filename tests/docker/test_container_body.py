"""What containers are made of: the whole body by a golden file, and the rules behind its parts."""

import json
import subprocess
from pathlib import Path

import pytest

from orders import DEFAULTS, order
from pto_dispatcher_docker.body import (
    Mount,
    Part,
    allowance,
    argv_of,
    container_environment,
    labels_of,
    name_of,
    render_body,
    render_variables,
)
from pto_proto.plans import DockerOptions, Resources

GOLDEN = Path(__file__).with_name("container_body.json")


def body(**changed: object) -> dict[str, object]:
    one = order()
    part = Part(
        name=name_of(one),
        labels=labels_of(one, "d-1.0123456789ab"),
        argv=argv_of("make; echo 'done' > \"it\"", has_variables=False),
        environment=container_environment(one),
        mounts=(Mount("/somewhere/with a space,and=more", "/workspace"),),
    )
    return render_body(part, DEFAULTS if not changed else allowance(DEFAULTS, **changed), (10001, 10001))  # type: ignore[arg-type]


def test_the_whole_body_is_as_agreed() -> None:
    assert body() == json.loads(GOLDEN.read_text())


def test_the_tasks_word_comes_before_the_runs_and_the_dispatchers() -> None:
    run = DockerOptions(image="other:2", network="none")
    mine = allowance(DEFAULTS, run, Resources(memory="512M", cpus=3, gpus=1))
    assert (mine.image, mine.network, mine.memory_bytes, mine.cpus, mine.gpus) == (
        "other:2",
        "none",
        512 * 2**20,
        3.0,
        1,
    )
    assert allowance(DEFAULTS, DockerOptions(), Resources()) == DEFAULTS


def test_gpus_are_asked_for_only_when_a_task_has_them() -> None:
    assert "DeviceRequests" not in body()["HostConfig"]  # type: ignore[operator]
    found = body(options=DockerOptions(), resources=Resources(gpus=2))["HostConfig"]["DeviceRequests"]  # type: ignore[index]
    assert found == [{"Driver": "", "Count": 2, "Capabilities": [["gpu"]]}]


def test_attempts_rounds_and_parts_have_names_of_their_own() -> None:
    names = [
        name_of(order()), name_of(order(attempt=2)), name_of(order(round_=1)), name_of(order(task="test")),
        name_of(order(), "check-1"),
    ]  # fmt: skip
    assert len(set(names)) == len(names)
    assert name_of(order()) == name_of(order())


@pytest.mark.parametrize("value", ["plain", "it's", "a\nb", "$(id) `id` \\ \" ''", " "])
def test_variables_reach_the_command_as_they_are(value: str, tmp_path: Path) -> None:
    file = tmp_path / "variables.sh"
    file.write_text(render_variables({"TOKEN": value, "OTHER": "x"}))
    argv = argv_of(["printf", "%s|%s", "a b", "$TOKEN"], has_variables=True)
    assert value not in " ".join(argv) or len(value.strip()) < 2
    script = argv[2].replace("/run/pto/private/variables.sh", str(file))
    said = subprocess.run([*argv[:2], script, *argv[3:]], capture_output=True, text=True, check=True).stdout
    assert said == "a b|$TOKEN", "arguments are nobody's to expand"
    shown = subprocess.run([*argv[:2], script, "sh", "printenv", "TOKEN"], capture_output=True, text=True, check=True)
    assert shown.stdout == value + "\n"
