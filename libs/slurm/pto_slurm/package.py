"""The executor as one file, and the script that starts it: what a dispatcher puts into the spool's ``bin``.

Imports pto_slurm_node; looks at the harness's files without importing it. Invariants: the same code gives the same
file, under a name that says so, so that jobs which wait for days start what they were submitted with; the script is the
same for all jobs.
"""

import hashlib
import io
import shlex
import zipfile
from importlib.util import find_spec
from pathlib import Path

import msgspec

from pto_slurm_node.spool import Spool, write_whole

PACKAGES = ("pto_harness", "pto_slurm_node")
ENTRY = "from pto_slurm_node.main import main\n\nmain()\n"
MADE = (1980, 1, 1, 0, 0, 0)
OLDEST = "3.8"
SCRIPT = f"""\
#!/bin/sh
# job.sh PYTHON EXECUTOR WHAT FOLDER: finds a Python that is new enough, and becomes the executor.
umask 077
PATH="${{PATH:+$PATH:}}/usr/local/bin:/usr/bin:/bin"
export PATH
cd "$4" 2>/dev/null || {{ echo "the folder $4 is not there on this node, or cannot be entered" >&2; exit 126; }}
[ -r "$2" ] || {{ echo "the executor $2 is not there on this node" >&2; exit 126; }}
for python in "$1" python3 python3.13 python3.12 python3.11 python3.10 python3.9 python{OLDEST}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
        exec "$python" -I "$2" "$3" "$4"
    fi
done
echo "no Python {OLDEST} or newer was found (tried first: $1)" >&2
exit 78
"""
EXECUTABLE = 0o700


class Installed(msgspec.Struct, frozen=True):
    """Where the two files lie on the shared file system."""

    script: str
    executor: str

    def arguments(self, what: str, folder: Path, python: str = "python3") -> tuple[str, ...]:
        """What the script is to be given: ``run`` and an attempt's folder, or ``pilot`` and a pool's."""
        return (python, self.executor, what, str(folder))

    def probe(self, python: str = "python3") -> str:
        """Shell text that prints what a node has, for a job by hand."""
        return shlex.join((python, "-I", self.executor, "probe"))


def executor() -> bytes:
    """The packed executor."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", ENTRY.encode())
        for package in PACKAGES:
            folder = _folder(package)
            for path in sorted(folder.glob("*.py")):
                _add(archive, f"{package}/{path.name}", path.read_bytes())
    return out.getvalue()


def install(spool: Spool) -> Installed:
    """Put both into the spool, if they are not there."""
    packed = executor()
    return Installed(
        script=str(_put(spool, "job", ".sh", SCRIPT.encode(), EXECUTABLE)),
        executor=str(_put(spool, "executor", ".pyz", packed, 0o600)),
    )


def _put(spool: Spool, name: str, ending: str, data: bytes, mode: int) -> Path:
    path = spool.bin / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}{ending}"
    if not path.exists() or path.read_bytes() != data:
        write_whole(path, data, mode)
    return path


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{package} is not installed as files, so that it cannot be packed")
    return Path(spec.origin).parent


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, MADE)
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)
