"""The harness itself, at sizes that say nothing about speed: every workload runs, and its records are whole."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.bench.__main__ import measured
from tests.bench.catalogue import DEFAULT, NAMES, NoSuchWorkload, selected
from tests.bench.documents import BEGIN, END, with_figures
from tests.bench.figures import figures
from tests.bench.machine import family, memory, used_s
from tests.bench.meter import Meter, Record
from tests.bench.options import Options
from tests.bench.peers.running import available, peer_records
from tests.bench.shapes import bag, chain, layered, longest_paths, lower_bound, makespan, straggler
from tests.bench.tables import tables

TINY = Options(scale=0.01, repeats=1)
FIELDS = {
    "workload", "peer", "variant", "durable", "workers", "scale", "n", "seconds", "rate", "ms_per_task", "cpu_s",
    "cpu_us_per_task", "procs", "rss_mb", "pss_mb", "calib_s", "other_cores", "rep", "version",
}  # fmt: skip
QUICK = ("W1", "W2", "W3", "W4", "W5a", "W5b", "W5cold", "W6", "W7broker", "rebuild")


async def records_of(*names: str) -> list[Record]:
    """Ours, checked for what all have in common; the machine's record is left out."""
    machine, *records = [record async for record in measured(names, (), Path("nowhere"), TINY)]
    assert machine["cores"] == len(os.sched_getaffinity(0))
    for record in records:
        assert record.keys() >= FIELDS, FIELDS - record.keys()
        assert record["seconds"] > 0
        assert record["rate"] == pytest.approx(record["n"] / record["seconds"], rel=0.02, abs=0.06)
        assert record["pss_mb"] <= record["rss_mb"]
    return records


def by_workload(records: Sequence[Record]) -> dict[str, Record]:
    return {record["workload"]: record for record in records}


async def test_the_workloads_run_and_say_what_they_found() -> None:
    records = await records_of(*QUICK)
    found = by_workload(records)
    assert set(found) == {"W1", "W2", "W3", "W4", "W5a", "W5b", "W5cold", "W6", "W7", "rebuild"}
    sizes = {name: found[name]["n"] for name in ("W1", "W2", "W3", "W4", "W5a", "W5b", "W5cold", "W7")}
    assert sizes == {"W1": 1000, "W2": 5, "W3": 40, "W4": 10, "W5a": 6, "W5b": 24, "W5cold": 6, "W7": 20}
    budgets = {name: found[name]["workers"] for name in ("W1", "W2", "W3", "W4", "W5a", "W7")}
    assert budgets == {"W1": 1000, "W2": 1, "W3": 100, "W4": 16, "W5a": 3, "W7": 2}
    for name in ("W5a", "W5b", "W5cold"):
        assert found[name]["over_lower"] >= 1, "nothing beats the bound"
    for name in ("W1", "W2", "W3", "W4"):
        record = found[name]
        assert 0 < record["submitted_s"] < record["seconds"] <= record["run_finished_s"]
    assert found["W6"]["procs"] >= 2, "the command and its broker"
    assert 0 < found["W6"]["broker_pss_mb"] < found["W6"]["pss_mb"]
    assert found["W7"]["lost"] == 0
    assert found["W7"]["repeated"] <= found["W7"]["workers"]
    assert found["W7"]["first_new_s"] <= found["W7"]["done_after_restart_s"]
    assert {record["variant"] for record in records if record["workload"] == "rebuild"} == {
        "fold from zero", "load the snapshot",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("docker_engine", "slurm_cluster")
async def test_the_other_victims_and_the_workloads_about_scale_run() -> None:
    records = await records_of(*(name for name in NAMES if name not in QUICK))
    assert all(record["lost"] == 0 for record in records if record["workload"] == "W7")
    variants = {(record["workload"], record["variant"]) for record in records}
    assert {variant for name, variant in variants if name == "W7"} == {
        "kill -9 scheduler", "kill -9 dispatcher", "kill -9 everything",
    }  # fmt: skip
    assert {record["n"] for record in records if record["workload"] == "S1"} == {60, 100, 1000}
    assert ("S2", "10 runs of 10") in variants
    assert {("S3", "0 runs before"), ("S3", "100 runs before")} <= variants
    assert {("S4", "1 per lane"), ("S4", "2 per lane")} <= variants
    assert {("S5", "start from zero"), ("S5", "start with its snapshot")} <= variants
    assert {name for name, _ in variants} >= {"A1", "D1", "H1"}
    assert any(table.title == "Scale" for table in tables(records))


def test_the_floors_run_as_peers_do() -> None:
    """All that needs no environment of its own, in processes as the others."""
    assert {"threads", "make", "xargs"} <= set(available(Path("nowhere")))
    for name, workloads in (("threads", {"W2", "W5a", "W5cold"}), ("make", {"W3"})):
        records = list(peer_records(name, sorted(workloads), Path("nowhere"), TINY))
        assert {record["workload"] for record in records} == workloads, records
        assert all("error" not in record and record["seconds"] > 0 and record["cold_s"] > 0 for record in records)


def test_a_peer_is_asked_only_for_what_it_can_do() -> None:
    records = list(peer_records("xargs", ["W2", "W5a", "W5b", "W5cold"], Path("nowhere"), TINY))
    assert [record["workload"] for record in records] == ["W5a", "W5cold"]


def test_a_peer_that_breaks_is_a_record_with_what_it_said(tmp_path: Path) -> None:
    python = tmp_path / "dask/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho no such thing\nexit 3\n")
    python.chmod(0o755)
    (tmp_path / "dask/.ready").touch()
    assert "dask" in available(tmp_path)
    (record,) = peer_records("dask", ["W1", "W2"], tmp_path, TINY)
    assert record == {"workload": "W1,W2", "peer": "dask", "error": "it ended with 3", "said": "no such thing\n"}


def test_names_mean_all_that_begin_so() -> None:
    assert selected(["W5"]) == ["W5a", "W5b", "W5cold"]
    assert selected(["w7", "W1"]) == ["W1", "W7scheduler", "W7dispatcher", "W7broker", "W7everything"]
    assert selected(["all"]) == list(NAMES)
    assert not any(name.startswith("S") for name in DEFAULT)
    with pytest.raises(NoSuchWorkload, match="W9"):
        selected(["W9"])


def test_the_shapes_are_what_they_are_called() -> None:
    assert bag(2) == [[], []]
    assert chain(3) == [[], [0], [1]]
    layers = layered(10)
    assert len(layers) == 200
    assert all(len(above) == (3 if at >= 10 else 0) for at, above in enumerate(layers))
    assert all(other // 10 == at // 10 - 1 for at, above in enumerate(layers) for other in above)


def test_the_straggler_dag_can_be_done_at_its_bound_but_not_in_any_order() -> None:
    dependencies, durations = straggler()
    assert lower_bound(dependencies, durations, 3) == 9.0
    paths = longest_paths(dependencies, durations)
    assert makespan(dependencies, durations, 3, lambda at: -paths[at]) == 9.0
    assert makespan(dependencies, durations, 3, lambda at: 0.0) == 10.25


def test_a_meter_counts_what_the_process_burns() -> None:
    meter = Meter()
    meter.start()
    while used_s(family(os.getpid())) - meter.used_before_s < 0.1:
        sum(range(1000))
    meter.stop()
    record = meter.record(10)
    assert record["n"] == 10
    assert 0.1 <= record["cpu_s"] <= record["seconds"] * (os.cpu_count() or 1) + 0.05
    assert memory([os.getpid()]).procs == 1


def disturbed(seconds: float, others: float) -> Record:
    return {
        "workload": "W1", "peer": "x", "variant": "", "n": 1, "workers": 1, "scale": 1.0, "seconds": seconds,
        "other_cores": others, "durable": "no",
    }  # fmt: skip


def test_disturbed_repeats_are_left_out_while_there_are_better_ones() -> None:
    (figure,) = figures([disturbed(1.0, 0.1), disturbed(9.0, 0.9), disturbed(2.0, 0.2), disturbed(3.0, 0.0)])
    assert (figure.median("seconds"), figure.is_disturbed) == (2.0, False)
    (figure,) = figures([disturbed(9.0, 0.9), disturbed(5.0, 0.7), disturbed(7.0, 0.8)])
    assert (figure.median("seconds"), figure.is_disturbed) == (6.0, True)


def test_the_page_takes_figures_between_its_marks_only() -> None:
    ours = {
        **disturbed(1.0, 0.0), "peer": "orchestrator", "rate": 50.0, "ms_per_task": 20.0, "cpu_us_per_task": 5.0,
        "calib_s": 0.07,
    }  # fmt: skip
    theirs = {**ours, "peer": "other", "rate": 25.0}
    page = with_figures(f"before\n{BEGIN}\nearlier\n{END}\nafter\n", [ours, theirs])
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "earlier" not in page
    assert "| other | 2.00 |" in page, "twice as fast"
    assert with_figures(page, [ours, theirs]) == page
    with pytest.raises(ValueError, match="marks"):
        with_figures("no marks", [ours])
