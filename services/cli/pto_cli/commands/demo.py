"""``orchestrator demo``: five short runs, each told in a sentence, with a table at the end.

Imports siblings. Invariant: each scene is a command that anybody can type; nothing is shown that a run did not do.
"""

import json
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pto_cli.arguments import command_parser, parse
from pto_cli.output_dir import check_output_dir, open_output_dir
from pto_cli.problems import EXIT_INTERRUPTED, EXIT_NOT_SUCCEEDED, EXIT_OK, WrongUse
from pto_cli.progress import write_lines
from pto_cli.render import duration, table

TWICE = """\
name: Fails twice
tasks:
  - id: shaky
    title: Fails on the first two attempts
    command: |
      set -e
      echo "this is attempt $PTO_ATTEMPT"
      test "$PTO_ATTEMPT" -ge 3
      echo "it worked at attempt $PTO_ATTEMPT" > result.txt
    outputs: result.txt
  - id: after
    title: Waits until it has worked
    command: cat result.txt
    depends_on: shaky
"""

OWN = """\
name: Count words
inputs: texts/*.txt
tasks:
  - id: count
    title: Count the words of ${matrix.text}
    command: mkdir -p counts && wc -w < texts/${matrix.text}.txt > counts/${matrix.text} && sleep 1
    matrix: {text: [one, two, three, four, five, six]}
    outputs: counts/${matrix.text}
  - id: total
    title: Add them up
    command: cat counts/* | awk '{ n += $1 } END { print n " words" }' | tee total.txt
    depends_on: count
    outputs: total.txt
    checks: grep -q "^21 words" total.txt
"""
TEXTS = ("one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Scene:
    """One run of the demo."""

    name: str
    story: str
    words: tuple[str, ...]


SCENES = (
    Scene("calculator", "A small thing: few tasks, two executors.", ("Create a calculator function", "-m", "2")),
    Scene("todo", "More tasks than executors: three executors work through them, dependencies first.",
          ("Build todo list with backend and frontend", "-m", "3")),
    Scene("platform", "A big thing: up to ten tasks at once.", ("Build microservices platform", "-m", "10")),
    Scene("retries", "A task that fails twice: it is tried again after a pause that doubles, and the rest waits.",
          ("run", "--plan", "{folder}/twice.yaml", "-m", "2")),
    Scene("own-plan", "A plan of one's own: six real commands of a second each, three at a time, then their sum.",
          ("run", "--plan", "{folder}/own.yaml", "-m", "3")),
)  # fmt: skip


def main(words: list[str]) -> int:
    """The command."""
    parser = command_parser("demo", "Show five short runs.")
    parser.add_argument("-o", "--output-dir", metavar="DIR", default=None, help="where the outputs of the runs go")
    typed = parse(parser, words)
    if typed is None:
        return EXIT_OK
    if typed.output_dir is not None:
        problems = check_output_dir(Path(typed.output_dir), force=False)
        if problems:
            raise WrongUse(*problems)
    base = open_output_dir(Path(typed.output_dir) if typed.output_dir else None, "demo").path
    with tempfile.TemporaryDirectory(prefix="pto-demo-") as name:
        folder = Path(name)
        _write_plans(folder)
        rows, worst = [], EXIT_OK
        for number, scene in enumerate(SCENES, 1):
            code, row = _play(number, scene, folder, base)
            if code == EXIT_INTERRUPTED:
                return code
            worst = worst if code == EXIT_OK else EXIT_NOT_SUCCEEDED
            rows.append(row)
    head = ("run", "result", "tasks", "retries", "at once", "time", "one by one", "faster", "files")
    write_lines(["", *table(head, rows), "", f"outputs in {base}"])
    return worst


def _write_plans(folder: Path) -> None:
    (folder / "twice.yaml").write_text(TWICE)
    (folder / "own.yaml").write_text(OWN)
    (folder / "texts").mkdir()
    for length, name in enumerate(TEXTS, 1):
        (folder / "texts" / f"{name}.txt").write_text("word " * length + "\n")


def _play(number: int, scene: Scene, folder: Path, base: Path) -> tuple[int, tuple[str, ...]]:
    from pto_cli.main import run

    words = [word.replace("{folder}", str(folder)) for word in (*scene.words, "-o", str(base / scene.name))]
    write_lines(["", f"{number}. {scene.story}", f"   $ orchestrator {shlex.join(words)}", ""])
    began = time.monotonic()
    code = run([*words, "--nats-url", ""])
    sys.stdout.flush()
    return code, _row(scene, base / scene.name, code, time.monotonic() - began)


def _row(scene: Scene, folder: Path, code: int, took_s: float) -> tuple[str, ...]:
    try:
        summary: dict[str, Any] = json.loads((folder / "execution_summary.json").read_text())
    except (OSError, ValueError):
        return scene.name, f"exit code {code}", "", "", "", duration(took_s), "", "", ""
    faster = summary["speed_up"]
    return (
        scene.name,
        summary["status"] + (" (SIMULATED)" if summary["simulated"] else ""),
        str(len(summary["tasks"])),
        str(summary["retries"]),
        f"{summary['max_parallel']} of {summary['max_executors']}",
        duration(summary["wall_s"]),
        duration(summary["serial_s"]),
        f"{faster:.1f}x" if faster else "",
        str(summary["files"]),
    )
