"""Jobs that come before their order, on the node: they wait for it, and do nothing else."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.plans import gate

from pto_harness import Cancel
from pto_slurm_node import executor
from pto_slurm_node.executor import NOT_YET, Node, run_attempt
from pto_slurm_node.spool import EARLY, INTERRUPTED, ORDER, Spool, events_in, put_event, read_json, write_json

NAME = "pto-" + "e" * 24
NODE = Node({"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"})


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    spool.prepare_run("run-1")
    spool.attempt("run-1", NAME).mkdir()
    return spool


def order_of(spool: Spool, command: str) -> dict[str, Any]:
    work = spool.run("run-1") / "work"
    task = {"workspace": f"{work}/w", "out": f"{work}/out", "log": f"{work}/log", "command": command, "env": {}}
    return {"task": {**task, "marker": f"PTO_ATTEMPT_ID={NAME}"}}


def test_a_job_before_its_order_does_it_when_it_comes(spool: Spool) -> None:
    folder = spool.attempt("run-1", NAME)
    write_json(folder / EARLY, {"wait_s": 60})
    order = order_of(spool, "echo done")
    seen: list[list[Path]] = []

    def give() -> None:
        seen.append(list(folder.iterdir()))
        write_json(folder / ORDER, order)

    timer = threading.Timer(0.5, give)
    timer.start()
    assert run_attempt(folder, spool.results, NODE, Cancel()) == 0
    timer.join()
    assert seen == [[folder / EARLY]], "no claim, and no work, before its order"
    assert [event.kind for event in events_in(spool.results)] == ["started", "result"]
    assert read_json(spool.results / f"{NAME}.7.0.result.json")["outcome"] == "succeeded"


@pytest.mark.parametrize("why", ["time", "signal", "withdrawn"])
def test_a_job_whose_order_does_not_come_has_done_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    folder, cancel = spool.attempt("run-1", NAME), Cancel()
    write_json(folder / EARLY, {"wait_s": 0.5 if why == "time" else 60})
    deeds = {"signal": lambda: cancel.request("signal SIGTERM"), "withdrawn": (folder / EARLY).unlink}
    looks: list[Path] = []

    def look(path: Path) -> Any:
        """It happens after the first look: else it would never have been announced."""
        looks.append(path)
        announced = read_json(path)
        deeds.get(why, lambda: None)()
        return announced

    monkeypatch.setattr(executor, "read_json", look)
    assert run_attempt(folder, spool.results, NODE, cancel) == NOT_YET
    assert looks == [folder / EARLY], "it was waited for"
    assert [event.kind for event in events_in(spool.results)] == ["blocked"]
    assert not [path for path in folder.iterdir() if path.name != EARLY]


def test_a_job_without_an_announcement_waits_for_nothing(spool: Spool) -> None:
    assert run_attempt(spool.attempt("run-1", NAME), spool.results, NODE, Cancel()) == 0
    assert "is not there" in read_json(spool.results / f"{NAME}.7.0.result.json")["reason"]


def test_what_is_told_to_end_says_so_before_its_result(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM tells all processes: the task may be gone while another thread still writes that it was told."""
    folder, cancel, said = spool.attempt("run-1", NAME), Cancel(), list[str]()
    runs, go = folder / "runs", folder / "go"
    command = f"touch {runs}; {gate(go)}; exit 143"
    write_json(folder / ORDER, order_of(spool, command))

    def put_slowly(*event: Any) -> None:
        if event[2] == INTERRUPTED:
            go.touch()
            time.sleep(1)
        put_event(*event)
        said.append(event[2])

    def tell() -> None:
        until = time.monotonic() + 30
        while not runs.exists() and time.monotonic() < until:
            time.sleep(0.05)
        cancel.request("signal SIGTERM")

    monkeypatch.setattr(executor, "put_event", put_slowly)
    teller = threading.Thread(target=tell)
    teller.start()
    assert run_attempt(folder, spool.results, NODE, cancel) == 0
    assert said == ["started", "interrupted", "result"]
    teller.join()
