"""Plan files: everything that is wrong is said at once, with line and place."""

import json
import os
from pathlib import Path

import pytest

from pto_client.plan_file import PlanFileError, read_plan_file

GOOD = """\
name: Sweep
inputs: data/*.csv
tasks:
  - id: train
    command: [python3, train.py, "${matrix.rate}"]
    matrix: {rate: [0.1, 1e-3, 2026-01-31]}
    resources: {time: 1:30:00, memory: 1024}
    inputs: ["train.py"]
    outputs: model-${matrix.rate}.json
  - &best
    id: best
    command: cat model-*.json
    depends_on: train
  - <<: *best
    id: again
"""


def write(folder: Path, text: str, name: str = "plan.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(PlanFileError) as caught:
        read_plan_file(path)
    return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1")
    (tmp_path / "train.py").write_text("")
    return tmp_path


def test_a_good_plan_is_read_with_its_inputs(folder: Path) -> None:
    loaded = read_plan_file(write(folder, GOOD))
    assert [spec.id for spec in loaded.expanded.tasks] == [
        "train-0.1", "train-1e-3", "train-2026-01-31", "best", "again",
    ]  # fmt: skip
    assert loaded.plan.tasks[0].resources.time == "5400"
    assert loaded.plan.tasks[0].resources.memory == "1024"
    assert loaded.plan.tasks[0].outputs == ("model-${matrix.rate}.json",)
    assert loaded.expanded.tasks[3].depends_on == ("train-0.1", "train-1e-3", "train-2026-01-31")
    assert [path for path, _ in loaded.inputs] == ["data/a.csv", "train.py"]


def test_json_says_the_same(folder: Path) -> None:
    plan = {"name": "x", "tasks": [{"id": "a", "command": "true", "inputs": ["data"]}]}
    loaded = read_plan_file(write(folder, json.dumps(plan), "plan.json"))
    assert loaded.inputs == (("data/a.csv", folder / "data" / "a.csv"),)


def test_every_mistake_is_said_at_once_with_its_line(folder: Path) -> None:
    text = """\
name: Bad
tasks:
  - id: a
    comand: echo
    depends_on: nothing
  - id: 3
    command: [a, 1]
    resources: {cpus: x}
  - title: no id
    noop: yes
    outputs: {a: b}
    matrix: {x: 1}
  - id: a
    noop: true
    retries: 1.5
    inputs: [../x, none.csv]
  - just text
  - id: z
    noop: true
    noop: true
    env:
"""
    assert mistakes(write(folder, text)) == [
        ":4: tasks[0].comand: is not known here; did you mean 'command'?",
        ":5: tasks[0].depends_on[0]: there is no task 'nothing'",
        ":6: tasks[1].id: must be text, not a number; put it in quotes",
        ":7: tasks[1].command[1]: must be text, not a number; put it in quotes",
        ":8: tasks[1].resources.cpus: must be a whole number, not text",
        ":9: tasks[2]: lacks 'id'",
        ":11: tasks[2].outputs: must be a list, not a mapping",
        ":12: tasks[2].matrix.x: must be a list, not a number",
        ":13: tasks[3].id: 'a' is already the id of tasks[0]; give each task its own",
        ":15: tasks[3].retries: must be a whole number, not 1.5",
        ":16: tasks[3].inputs[0]: '../x' leaves its folder with '..'; name only what lies below",
        f":16: tasks[3].inputs[1]: 'none.csv' matches no file below {folder}",
        ":17: tasks[4]: must be a mapping, not text",
        ":20: tasks[5].noop: is said twice; keep one",
        ":21: tasks[5].env: is empty; give a value or leave it out",
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("p.yaml", "a: b: c\n", ":1: is not valid YAML: mapping values are not allowed in this context"),
        ("p.yaml", "tasks:\n  - id: 'x\n", ":3: is not valid YAML:"),
        ("p.yaml", "tasks: !!python/object:os.system [a]\n", ":1: is not valid YAML: could not determine"),
        ("p.yaml", "a\0b", ": is not valid YAML"),
        ("p.yaml", "--- 1\n--- 2\n", ":2: is not valid YAML: but found another document"),
        ("p.yaml", "", ": the file is empty; a plan needs a list of tasks"),
        ("p.yaml", "[1]", ":1: the plan must be a mapping, not a list"),
        ("p.yaml", "name: x", ":1: the plan lacks 'tasks'"),
        ("p.yaml", "tasks: []", ":1: tasks: is empty; a plan needs at least one task"),
        ("p.yaml", "tasks: {a: {noop: true}}", ":1: tasks: must be a list, not a mapping"),
        ("p.yaml", "&a tasks: [*a]", ":1: tasks[0]:"),
        ("p.json", '{"tasks": [\n{"id": "a" "noop": true}]}', ":2: is not valid JSON: Expecting ',' delimiter (column"),
        ("p.json", '{"tasks": [{"id": "a", "estimate_s": NaN, "noop": true}]}', ": is not valid JSON: NaN"),
        ("p", '{"tasks": [\n{"id": "a", "noop": true, "noop": true}]}', ":2: tasks[0].noop: is said twice"),
        ("p.json", "[" * 100_000, ": is not valid JSON"),
        ("p.yaml", "[" * 100_000, ":1: is nested more than 64 levels deep"),
        ("p.json", '{"tasks": [{"id": "\\ud800", "noop": true}]}', ": tasks[0].id:"),
        ("p.yaml", "tasks: [{id: a, noop: true, resources: {cpus: 9999999999999999999}}]", ":1: tasks[0].resources"),
        ("p.yaml", "tasks: [{id: a, noop: true, estimate_s: .nan}]", ":1: tasks[0].estimate_s: must be"),
    ],
)  # fmt: skip
def test_broken_files_get_one_sentence(folder: Path, name: str, text: str, expected: str) -> None:
    found = mistakes(write(folder, text, name))
    assert found[0].startswith(expected), found
    assert "\n" not in found[0]


def test_what_is_no_text_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    assert mistakes(tmp_path / "x.yaml") == [": is not UTF-8 text"]
    assert mistakes(tmp_path / "none.yaml") == [": there is no such file"]
    assert mistakes(tmp_path) == [": is a folder; name the plan file in it"]


def test_inputs_stay_below_the_plans_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_text("s")
    (folder / "link").symlink_to(secret)
    (folder / "links").symlink_to(secret.parent)
    os.mkfifo(folder / "pipe")
    text = "tasks: [{id: a, noop: true, inputs: [link, 'links/*', links/secret, pipe]}]"
    assert mistakes(write(folder, text)) == [
        ":1: tasks[0].inputs[0]: 'link' is a link that leads out of the plan's folder",
        f":1: tasks[0].inputs[1]: 'links/*' matches no file below {folder}",
        ":1: tasks[0].inputs[2]: 'links/secret' is a link that leads out of the plan's folder",
        f":1: tasks[0].inputs[3]: 'pipe' matches no file below {folder}",
    ]


def test_a_matrix_in_inputs_is_written_out_and_said_at_its_place(folder: Path) -> None:
    text = "tasks:\n- {id: x, noop: true}\n- id: a\n  noop: true\n  matrix: {x: [a, b]}\n"
    text += "  inputs: 'data/${matrix.x}.csv'\n"
    assert mistakes(write(folder, text)) == [
        f":6: tasks[1].inputs[0]: 'data/b.csv' matches no file below {folder}",
    ]


def test_a_hundred_thousand_tasks_are_read_from_json(folder: Path) -> None:
    plan = {"tasks": [{"id": f"t{n}", "noop": True} for n in range(100_000)]}
    path = write(folder, json.dumps(plan), "big.json")
    assert len(read_plan_file(path).expanded.tasks) == 100_000
