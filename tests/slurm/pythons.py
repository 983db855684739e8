"""The Pythons of this machine that compute nodes may have: the one that runs the tests, and all older and newer ones."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def node_pythons() -> dict[str, str]:
    """Version -> program, of 3.8 and above."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(":") if folder]
    folders += sorted(Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob("versions/3.*/bin"))
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for folder in folders:
        for path in sorted(folder.glob("python3.*")) if folder.is_dir() else ():
            match = re.fullmatch(r"python3\.(\d+)", path.name)
            if match and int(match[1]) >= 8 and f"3.{match[1]}" not in found and works(path):
                found[f"3.{match[1]}"] = str(path)
    return dict(sorted(found.items(), key=lambda item: int(item[0].partition(".")[2])))


def works(path: Path) -> bool:
    done = subprocess.run([path, "-c", "import ctypes, zipfile"], capture_output=True, check=False)
    return done.returncode == 0


def old_and_new() -> list[str]:
    """The oldest, our own and the newest: what lies between them tells nothing more."""
    versions = list(node_pythons())
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return sorted({versions[0], own, versions[-1]}, key=versions.index)
