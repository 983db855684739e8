"""A Docker daemon for one test, to be killed: in a network namespace of its own, so that it cannot touch the shared one's.

Invariant: it, its containerd and its containers are gone when it is closed.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

START_S = 60.0


class PrivateDaemon:
    """Its sockets, data and processes are below one folder. Needs root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = str(folder / "d.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "pid").unlink(missing_ok=True)
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [
                "unshare", "--net", "dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
                "--host", f"unix://{self.socket}", "--pidfile", self.folder / "pid", "--bridge", "none",
                "--iptables=false", "--ip6tables=false",
            ],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + START_S
        while subprocess.run(["docker", "-H", f"unix://{self.socket}", "version"], capture_output=True).returncode:
            assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def load(self, image: str, name: str) -> None:
        """Take an image over from the shared engine."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            said = self.docker("load", "--quiet", stdin=saving.stdout)
        self.docker("tag", said.rpartition(" ")[2].removeprefix("sha256:"), name)

    def docker(self, *words: str, stdin: object = None) -> str:
        done = subprocess.run(
            ["docker", "-H", f"unix://{self.socket}", *words], stdin=stdin, capture_output=True, text=True, check=False
        )  # type: ignore[call-overload]
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return str(done.stdout).strip()

    def end(self, number: int) -> None:
        """End the daemon with this signal, and see it and its containerd gone: another start would wait for that one."""
        assert self._process is not None
        self._process.send_signal(number)  # ``unshare`` has become the daemon
        self._process.wait(60)
        file = self.folder / "exec/containerd/containerd.pid"
        pid = int(file.read_text()) if file.exists() else 0
        until = time.monotonic() + START_S
        while pid and Path(f"/proc/{pid}/exe").exists():
            assert time.monotonic() < until, "containerd goes on"
            time.sleep(0.1)
        file.unlink(missing_ok=True)

    def close(self) -> None:
        """End everything whose command line names the folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(60)
        mark = os.fsencode(self.folder) + b"/"
        for entry in Path("/proc").iterdir():
            try:
                is_ours = entry.name.isdigit() and mark in (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if is_ours:
                os.kill(int(entry.name), signal.SIGKILL)
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if (at := line.split()[1]).startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", at], check=False, capture_output=True)
        shutil.rmtree(self.folder / "data", ignore_errors=True)
