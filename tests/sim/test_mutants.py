"""Every deliberate bug is noticed within a small range of seeds, by the promise that it breaks.

The number beside each is about twice that of the first seed that noticed it.
"""

import subprocess

import pytest

from .mutants import MUTANTS
from .test_simulation import sim

QUICK = {
    "anybody-changes-a-run": 10,
    "bad-nodes-are-not-avoided": 40,
    "capacity-is-not-looked-at": 10,
    "containers-are-lost-as-soon-as-local-tasks": 10,
    "containers-are-made-of-the-default-image": 20,
    "dependents-are-released-too-early": 10,
    "edited-plan-is-not-read": 20,
    "limit-of-cost-is-not-looked-at": 10,
    "evidence-is-forgotten": 10,
    "no-fence": 20,
    "one-executor-too-many": 10,
    "one-retry-more-than-allowed": 10,
    "plans-are-made-in-the-planners-lane-only": 20,
    "plan-runs-before-a-person-answers": 20,
    "rest-ends-too-early": 10,
    "reopened-task-keeps-its-key": 10,
    "retry-does-not-wait": 20,
    "scopes-are-not-looked-at": 20,
    "standby-acts-without-an-epoch": 10,
    "third-round": 10,
    "tick-is-not-read-back": 10,
    "unsettled-write-counts-as-written": 20,
    "values-of-the-run-are-forgotten": 10,
    "values-of-the-run-reach-every-lane": 10,
    "values-of-the-run-replace-those-of-the-plan": 20,
    "what-runs-again-does-not-wait-for-all-above-it": 30,
    "what-saw-a-change-never-runs-again": 30,
    "what-saw-no-change-runs-again": 30,
    "what-the-next-attempt-needs-is-forgotten": 40,
    "what-was-needed-is-forgotten-by-the-next-failure": 40,
    "what-was-needed-outlives-a-success": 40,
}
SLOW_SEEDS = 1_400
"""For those that take a rarer world."""
RARE = {"sleeper-starts-what-it-has-in-hand": "1400:1600"}
"""Where those are noticed that take a very rare one."""


def noticed(name: str, seeds: str) -> subprocess.CompletedProcess[str]:
    return sim("--mutant", name, "--seeds", seeds, "--most", "1")


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_bug_is_noticed_at_once(name: str) -> None:
    done = noticed(name, f"0:{QUICK[name]}")
    assert done.returncode == 1, done.stderr
    assert "promise" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*MUTANTS} - {*QUICK}))
def test_a_bug_is_noticed(name: str) -> None:
    done = noticed(name, RARE.get(name, f"0:{SLOW_SEEDS}"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "promise" in done.stdout or "stands still" in done.stdout
