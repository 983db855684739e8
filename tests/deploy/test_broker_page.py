"""deploy/nats/README.md as written, in one shell, on ports of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.fakes.ports import free_port

from .servers import ROOT

BIN = Path(sys.executable).parent


def test_the_page_works_as_written(tmp_path: Path) -> None:
    text = (ROOT / "deploy/nats/README.md").read_text().split("```sh")[1].split("```")[0]
    text = (
        text.replace("4222", str(free_port())).replace("8222", str(free_port())).replace("deploy/", f"{ROOT}/deploy/")
    )
    text = text.replace("server.conf) &", "server.conf 2> nats.log) &\nsleep 0.7")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PTO_", "NATS_"))}
    done = subprocess.run(
        ["bash", "-c", f"set -e\nmkdir nats\ntrap 'pkill -P $! 2>/dev/null; kill $! 2>/dev/null' EXIT\n{text}"],
        cwd=tmp_path, env={**kept, "PATH": f"{BIN}:{kept['PATH']}"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is set up" in done.stdout
