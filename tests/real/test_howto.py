"""docs/howto/real-agents.md works as written, with the address pointed at the fake."""

import re
import subprocess
from pathlib import Path

from playing import KEY, ORCHESTRATOR, ROOT, Api

PAGE = ROOT / "docs/howto/real-agents.md"
PLACEHOLDER = "sk-ant-..."


def test_the_page_works_as_written(api: Api, environment: dict[str, str], tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = "\n".join(["set -e", *(line.strip() for block in blocks for line in block.splitlines())])
    assert script.count("orchestrator") == 3
    assert PLACEHOLDER in script
    environment.pop("ANTHROPIC_API_KEY")
    environment["PATH"] = f"{Path(ORCHESTRATOR).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script.replace(PLACEHOLDER, KEY)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "probe: claude-sonnet-5-5 answers" in done.stdout
    assert "Ran 7 tests" in done.stderr
    assert api.requests
