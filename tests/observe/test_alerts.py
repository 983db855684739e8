"""Prometheus' own tool reads what we ship for it, and an alert fires when it should."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OBSERVE = ROOT / "deploy/observe"

UNIT_TEST = """
rule_files: [{rules}]
evaluation_interval: 10s
tests:
  - interval: 10s
    input_series:
      - series: 'pto_leading{{instance="a"}}'
        values: '1x3 0x20'
      - series: 'pto_tasks_ready{{lane="docker"}}'
        values: '5x30'
      - series: 'pto_tasks_ready{{lane="local"}}'
        values: '5x30'
      - series: 'pto_slots{{lane="local", dispatcher="d"}}'
        values: '16x30'
    alert_rule_test:
      - alertname: NoSchedulerLeads
        eval_time: 20s
        exp_alerts: []
      - alertname: NoSchedulerLeads
        eval_time: 2m
        exp_alerts: [{{exp_labels: {{severity: critical}}, exp_annotations: {{summary: "{summary}"}}}}]
      - alertname: TasksWaitWithoutPlaces
        eval_time: 3m
        exp_alerts:
          - exp_labels: {{severity: warning, lane: docker}}
            exp_annotations: {{summary: "Tasks wait in lane docker, where no dispatcher is up."}}
"""
SUMMARY = "No scheduler leads: nothing is accepted or handed out. Look at the schedulers' /readyz."


@pytest.fixture(scope="session")
def promtool() -> str:
    found = subprocess.run([ROOT / "deploy/testbed/promtool.sh"], capture_output=True, text=True, check=False)
    if found.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"{found.stderr.strip()} (deploy/testbed/promtool.sh)")
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.mark.slow
def test_alerts_and_configuration_are_valid_and_fire(promtool: str, tmp_path: Path) -> None:
    for words in (["check", "config", OBSERVE / "prometheus.yml"], ["check", "rules", OBSERVE / "alerts.yml"]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    test = tmp_path / "test.yml"
    test.write_text(UNIT_TEST.format(rules=OBSERVE / "alerts.yml", summary=SUMMARY))

    done = subprocess.run([promtool, "test", "rules", test], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
