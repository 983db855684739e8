"""A ``nats-server`` with JetStream on loopback for a peer, Standard library only."""

import socket
import subprocess
import time
from pathlib import Path

HOST = "127.0.0.1"
START_S = 10.0
LOOK_S = 0.01


def start_server(port: int, store: Path, program: Path) -> "subprocess.Popen[bytes]":
    """Returns when it takes connections."""
    command = [str(program), "-a", HOST, "-p", str(port), "-js", "-sd", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                process.kill()
                raise
            time.sleep(LOOK_S)
        else:
            return process
