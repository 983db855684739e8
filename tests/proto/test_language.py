"""Ids, subjects and the envelope."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pto_proto import events as ev
from pto_proto.envelope import Event, ProtocolError, UnknownVersion, decode_event, decode_request, encode_event, rfc3339
from pto_proto.ids import Lane, RunId, TaskId, external_name, is_run_id, is_task_id, span_id, trace_id
from pto_proto.subjects import (
    EPOCH_SUBJECT,
    KINDS,
    LOG_SUBJECTS,
    REQUEST_SUBJECTS,
    event_subject,
    lane_filter,
    parse_event_subject,
    run_filter,
)


@pytest.mark.parametrize(("text", "is_one"), [
    ("abc-12", True), ("a" * 40, True), ("abcde", False), ("a" * 41, False), ("-abcdef", False), ("Abcdef", False),
    ("abc.def", False), ("abcdef\n", False), ("äbcdef", False),
])  # fmt: skip
def test_run_ids_follow_their_grammar(text: str, is_one: bool) -> None:
    assert is_run_id(text) is is_one


@given(st.text(max_size=80))
def test_an_id_is_one_token_of_a_subject_and_a_safe_file_name(text: str) -> None:
    if is_run_id(text):
        assert not set(text) & set(".*> /\t\n")
    if is_task_id(text):
        assert not set(text) & set("*> /\t\n")
        assert text not in (".", "..")


@pytest.mark.parametrize("kind", KINDS.values())
def test_subjects_are_taken_apart_as_they_were_built(kind: type[ev.Entry]) -> None:
    for lane in (None, Lane("local"), Lane("slurm-hpc1")):
        for run in (None, RunId("run-one")):
            subject = event_subject(kind, lane, run)
            name, found_lane, found_run = parse_event_subject(subject)
            assert (KINDS[name], found_lane, found_run) == (kind, lane, run)
            assert subject.count(".") == 3


def test_filters_and_streams_speak_of_the_same_subjects() -> None:
    assert lane_filter(Lane("local")) == "pto.*.local.*"
    assert run_filter(RunId("run-one")) == "pto.*.*.run-one"
    assert EPOCH_SUBJECT == "pto.scheduler-epoch-started._._"
    assert not set(LOG_SUBJECTS) & set(REQUEST_SUBJECTS)
    assert "pto.req.*.*" not in LOG_SUBJECTS


@pytest.mark.parametrize(
    "subject", ["pto.task-ready.local", "pto.nothing.local.run-one", "x.task-ready.local.run-one", ""]
)
def test_other_subjects_are_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        parse_event_subject(subject)


def started(task: str) -> Event:
    entry = ev.TaskStarted(at=5, task=TaskId(task), attempt=1, instance="local-1")
    return Event(
        id="1.1", source="test", kind=ev.TaskStarted, lane=Lane("local"), run=RunId("run-one"), entries=(entry,)
    )


def test_an_event_survives_the_wire_and_encodes_the_same_each_time() -> None:
    data = encode_event(started("a"))
    assert decode_event(data) == started("a")
    assert encode_event(decode_event(data)) == data


def test_an_unknown_version_is_told_apart_from_a_broken_message() -> None:
    data = encode_event(started("a"))
    with pytest.raises(UnknownVersion, match=r"pto.TaskStarted.v9"):
        decode_event(data.replace(b"TaskStarted.v1", b"TaskStarted.v9"))
    for broken in (b"", b"{", b"[]", data.replace(b'"attempt":1', b'"attempt":"x"'), b"\xff\xfe", data[:-5]):
        with pytest.raises(ProtocolError) as raised:
            decode_event(broken)
        assert not isinstance(raised.value, UnknownVersion)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_decoding_fail_in_another_way(data: bytes) -> None:
    for decode in (decode_event, decode_request):
        with pytest.raises(ProtocolError):
            decode(data)


def test_fields_that_a_newer_writer_added_are_ignored() -> None:
    data = encode_event(started("a")).replace(b'"attempt":1', b'"attempt":1,"colour":"red"')
    assert decode_event(data) == started("a")


def test_names_derived_from_an_attempt_are_stable() -> None:
    run, task = RunId("run-one"), TaskId("a")
    assert external_name(run, task, 1) == external_name(run, task, 1, 0) != external_name(run, task, 2)
    assert (len(trace_id(run)), len(span_id(run, task, 1))) == (32, 16)
    assert rfc3339(1_767_225_600_123) == "2026-01-01T00:00:00.123Z"
