"""The fake as a program of its own."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tests.fakes.messages_api", *map(str, arguments)]


async def test_program_prints_its_address_serves_and_ends_when_told(tmp_path: Path) -> None:
    scenario = tmp_path / "hello.yaml"
    scenario.write_text("otherwise: {text: Hello}")
    program = await asyncio.create_subprocess_exec(
        *command("--scenario", scenario), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    try:
        url = (await asyncio.wait_for(program.stdout.readline(), 30)).decode().strip()
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        ask = urllib.request.Request(f"{url}/v1/messages", json.dumps(body).encode(), headers)
        got = await asyncio.to_thread(lambda: json.load(urllib.request.urlopen(ask)))
        assert got["content"] == [{"type": "text", "text": "Hello"}]
        assert url.startswith("http://127.0.0.1:")
        shown = await asyncio.to_thread(lambda: json.load(urllib.request.urlopen(f"{url}/_requests")))
        assert [request["rule"] for request in shown] == ["otherwise"]
    finally:
        program.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(program.communicate(), 30)
    assert (program.returncode, errors) == (0, b"")


@pytest.mark.parametrize(("text", "status"), [("rules: 3", 2), ("otherwise: {text: a}", 3)], ids=["scenario", "port"])
def test_program_says_what_is_wrong_in_one_line(tmp_path: Path, text: str, status: int) -> None:
    scenario = tmp_path / "some.yaml"
    scenario.write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = subprocess.run(
            command("--scenario", scenario, "--port", str(taken.getsockname()[1])),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == status
    assert len(ran.stderr.splitlines()) == 1
