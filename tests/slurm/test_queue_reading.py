"""Lines that real commands printed (22.05), read into rows."""

import pytest

from pto_slurm.queue import (
    SACCT_FIELDS_OLD,
    SINFO_FORMAT,
    SQUEUE_FIELDS,
    SQUEUE_FORMAT,
    JobRow,
    exit_of,
    gpus_of,
    read_sacct,
    read_sinfo,
    read_squeue,
    seconds_of,
)

SQUEUE = """\
4|CANCELLED|None|0|1795653002|1795653002|1795653005|1:00|0:03|15|n1|wrap|a | b;x
1|FAILED|NonZeroExitCode|0|1795652988|1795652989|1795652993|7-00:00:00|0:04|768|n1|pto-abc-def|pto:run-1/0/t/1
3|FAILED|JobLaunchFailure|1|1795653002|1795653002|1795653002|7-00:00:00|0:00|9|n1|wrap|(null)
5|FAILED|JobLaunchFailure|0|1795653002|1795653002|1795653002|7-00:00:00|0:00|4021|n1|wrap|(null)
2|PENDING|PartitionDown|0|1795652988|N/A|N/A|UNLIMITED|0:00|0||wrap|(null)
6|PENDING|ReqNodeNotAvail, UnavailableNodes:n[1-4]|0|1795652988|N/A|N/A|1:00|0:00|0||wrap|(null)
7|SUSPENDED|None|0|1795653002|1795653002|1796257742|7-00:00:00|1-00:01:05|0|n1|wrap|(null)
"""


def test_squeue():
    reading = read_squeue(SQUEUE)
    assert reading.unreadable == ()
    by_job = {row.job: row for row in reading.jobs}
    assert by_job["1"] == JobRow(
        job="1", name="pto-abc-def", comment="pto:run-1/0/t/1", state="FAILED", reason="NonZeroExitCode",
        submitted=1795652988, started=1795652989, ended=1795652993, limit_s=604_800, used_s=4, exit_code=3, nodes="n1",
    )  # fmt: skip
    assert by_job["4"].comment == "a | b;x"
    assert (by_job["3"].exit_code, by_job["3"].signal, by_job["3"].restarts) == (0, 9, 1)
    assert by_job["5"].signal == 53
    assert (by_job["2"].reason, by_job["2"].started, by_job["2"].limit_s) == ("PartitionDown", 0, 0)
    assert by_job["6"].reason.startswith("ReqNodeNotAvail")
    assert by_job["7"].used_s == 86_465, "not the time in which it was suspended"


def test_a_line_that_cannot_be_read_takes_no_other_with_it():
    reading = read_squeue("slurm_load_jobs error\n" + SQUEUE + "\n8|RUN\n")
    assert len(reading.jobs) == 7
    assert reading.unreadable == ("slurm_load_jobs error", "8|RUN")


def test_the_format_names_every_field_and_the_comment_comes_last():
    assert SQUEUE_FORMAT.count(":|,") == len(SQUEUE_FIELDS) - 1
    assert SQUEUE_FORMAT.endswith("Comment:")
    assert SINFO_FORMAT.count("|") == 8


def test_sacct_with_who_cancelled_it_and_repeated_records():
    text = (
        "9|PREEMPTED|None|0|1795652988|1795652989|1795652993|60|4|0:0|n1|pto-a|pto:run-1/0/t/1\n"
        "9|CANCELLED by 1000|None|1|1795652988|1795652999|1795653009|60|8|0:15|n2|pto-a|pto:run-1/0/t/1\n"
        "9|CANCELLED+|None|1|1795652988|1795652999|1795653009|60|8|0:15|n2|pto-a|pto:run-1/0/t/1\n"
    )
    (row,) = read_sacct(text).jobs
    assert (row.state, row.restarts, row.signal, row.limit_s, row.nodes) == ("CANCELLED", 1, 15, 3600, "n2")
    assert read_sacct(text.splitlines()[1]).jobs[0].by == "1000"


def test_sacct_of_old_versions_has_fewer_fields():
    (row,) = read_sacct("9|OUT_OF_MEMORY|1|2|3|60|1|0:125|n1|pto-a|c\n", SACCT_FIELDS_OLD).jobs
    assert (row.state, row.signal, row.comment) == ("OUT_OF_MEMORY", 125, "c")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3:0", (3, 0)), ("0:9", (0, 9)), ("768", (3, 0)), ("9", (0, 9)), ("15", (0, 15)), ("4021", (0, 53)),
        ("0", (0, 0)), ("36608", (143, 0)), ("", (None, 0)), ("N/A", (None, 0)), ("1:x", (None, 0)),
    ],
)  # fmt: skip
def test_exit_codes_in_every_form(text, expected):
    assert exit_of(text) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7-00:00:00", 604_800), ("1-12", 129_600), ("1-12:30", 131_400), ("02:00:00", 7200), ("1:00", 60), ("30", 1800),
        ("UNLIMITED", 0), ("infinite", 0), ("INVALID", 0), ("", 0),
    ],
)  # fmt: skip
def test_limits_in_every_form(text, seconds):
    assert seconds_of(text) == seconds


def test_sinfo():
    text = (
        "compute*|up|7-00:00:00|4|4000|1|mixed|(null)|(null)\n"
        "compute*|up|7-00:00:00|16|131072|2|idle~|intel,ib|gpu:a100:2(S:0-1),gpu:v100:2,fs:lustre:1\n"
        "down|down|infinite|4+|4000+|1|drained*|(null)|(null)\n"
        "slurm_load_partitions: error\n"
    )
    small, big, down = read_sinfo(text)
    assert (small.partition, small.is_default, small.is_up, small.gpus, small.features) == (
        "compute",
        True,
        True,
        0,
        (),
    )
    assert (big.cpus, big.memory_mb, big.nodes, big.gpus, big.features) == (16, 131072, 2, 4, ("intel", "ib"))
    assert big.state == "idle"
    assert (down.is_up, down.limit_s, down.cpus, down.memory_mb, down.state) == (False, 0, 4, 4000, "drained")


@pytest.mark.parametrize(
    ("gres", "count"),
    [("gpu:2", 2), ("gpu:tesla:2(S:0-1)", 2), ("gpu:a:1(S:0,1),gpu:b:3", 4), ("(null)", 0), ("fs:1", 0), ("gpu", 0)],
)
def test_gpus(gres, count):
    assert gpus_of(gres) == count
