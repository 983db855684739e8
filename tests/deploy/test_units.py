"""The systemd units are ones that systemd understands, and start programs that there are."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .servers import ROOT

BIN = Path(sys.executable).parent
UNITS = sorted((ROOT / "deploy").rglob("*.service"))
SERVICES = ("scheduler", "planner", "consolidator", "dispatcher-local", "dispatcher-docker")


@pytest.fixture(scope="module")
def analyze() -> str:
    """``systemd-analyze``."""
    found = shutil.which("systemd-analyze")
    if found is None and os.environ.get("CI") == "true":
        install = ["apt-get", "install", "-y", "--no-install-recommends", "systemd"]
        if subprocess.run(install, check=False, capture_output=True).returncode:
            subprocess.run(["apt-get", "update"], check=True, capture_output=True)
            subprocess.run(install, check=True, capture_output=True)
        found = shutil.which("systemd-analyze")
        assert found is not None, "systemd is installed and has no systemd-analyze"
    if found is None:
        pytest.skip("systemd-analyze is not here: apt-get install systemd")
    return found


def installed(folder: Path, unit: Path, name: str) -> Path:
    """The unit with its drop-ins, and the programs of this environment in the place of installed ones."""
    text = re.sub(r"(/opt/pto|%h/pto/\.venv)/bin/", f"{BIN}/", unit.read_text())
    text = re.sub(r"^(User|Group|SupplementaryGroups)=.*\n", "", text, flags=re.MULTILINE)  # made by the installation
    (folder / name).write_text(text)
    for dropped in unit.parent.glob(f"{name}.d/*.conf"):
        place = folder / f"{name}.d"
        place.mkdir()
        kept = re.sub(r"^SupplementaryGroups=.*\n", "", dropped.read_text(), flags=re.MULTILINE)
        (place / dropped.name).write_text(kept)
    return folder / name


def instances() -> list[tuple[Path, str]]:
    plain = [(unit, unit.name) for unit in UNITS if "@" not in unit.name]
    return plain + [
        (unit, unit.name.replace("@", f"@{name}")) for unit in UNITS if "@" in unit.name for name in SERVICES
    ]


@pytest.mark.parametrize(("unit", "name"), instances(), ids=[name for _, name in instances()])
def test_systemd_understands_the_unit(analyze: str, tmp_path: Path, unit: Path, name: str) -> None:
    path = installed(tmp_path, unit, name)
    done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if name in line or str(tmp_path) in line]
    assert not ours, "\n".join(ours)
    assert done.returncode == 0, done.stderr


def test_a_unit_that_is_wrong_is_noticed(analyze: str, tmp_path: Path) -> None:
    path = installed(tmp_path, ROOT / "deploy/systemd/pto-nats.service", "pto-nats.service")
    path.write_text(path.read_text().replace("Restart=always", "Restart=sometimes").replace(str(BIN), "/nowhere"))
    done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, check=False)
    assert "sometimes" in done.stderr
    assert done.returncode != 0


def test_every_service_on_a_host_is_confined() -> None:
    for unit in (ROOT / "deploy/systemd").glob("*.service"):
        for line in (
            "NoNewPrivileges=yes",
            "CapabilityBoundingSet=",
            "ProtectSystem=strict",
            "Restart=always",
            "UMask=0077",
        ):
            assert line in unit.read_text().splitlines(), f"{unit.name}: {line}"
