"""A moto server in a process of its own: S3, CloudFormation and EC2 on loopback, empty, with any credentials."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

RUNNING = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@contextmanager
def moto_process() -> Iterator[str]:
    """Its address; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if match := RUNNING.search(line):
                break
        else:
            raise RuntimeError("moto did not start:\n" + "".join(said))
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)  # it logs each request
        yield match.group(1)
    finally:
        process.kill()
        process.wait()
    drain.wait()
