"""Services in processes of their own on a broker whose log was archived."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_remote_runs import Site

PLAN = """\
name: Kept
tasks:
- {id: a, command: 'echo a > a.txt'}
- {id: b, command: 'test -e %s', depends_on: a, retries: 0}
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path)
    running.environment["PTO_SNAPSHOT_DIR"] = str(tmp_path / "snapshots")
    (tmp_path / "plan.yaml").write_text(PLAN % (tmp_path / "go"))
    running.cli("bootstrap")
    yield running
    running.close()


def end_services(site: Site, how: signal.Signals) -> None:
    for process in site.processes:
        process.send_signal(how)
    for process in site.processes:
        process.wait(20)
    site.processes.clear()


@pytest.mark.slow
def test_services_go_on_behind_the_archive(site: Site) -> None:
    site.start_services()
    site.cli("run", "--plan", "plan.yaml", "-o", "one", code=1)
    (site.folder / "go").touch()
    end_services(site, signal.SIGKILL)
    site.start_services()
    site.cli("run", "--plan", "plan.yaml", "-o", "two")
    end_services(site, signal.SIGTERM)
    said = site.cli("archive", "-o", "kept", "--yes").stdout
    assert "left the log; the scheduler's epoch began there" in said
    shutil.rmtree(site.folder / "snapshots", ignore_errors=True)
    site.start_services()
    site.cli("run", "--plan", "plan.yaml", "-o", "three")
    rows = [json.loads(line) for line in site.cli("list", "--json").stdout.splitlines()]
    assert [row["state"] for row in rows] == ["partial", "succeeded", "succeeded"], "viewers see what was archived"
    site.cli("fetch", rows[0]["run"], "-o", "again")
    assert (site.folder / "again" / "execution_summary.json").exists()
    said = site.cli("audit").stdout
    assert "scheduler scheduler (leading) knows the same" in said
    said = site.cli("resume", rows[0]["run"], "-o", "four").stdout
    assert "reused" in said, "what an archived run has done need not be done again"
