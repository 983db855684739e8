"""What the end of a container means, as a table."""

import pytest

from orders import DEFAULTS
from pto_dispatcher_docker.daemon import DaemonRefused, NoImage, Seen
from pto_dispatcher_docker.judgement import Watch, judged, refusal
from pto_harness.failure import Failed
from pto_harness.process import Ended

ROOM = 64 * 2**20


def seen(code: int = 0, **fields: object) -> Seen:
    known = {"status": "exited", "started_ms": 1_000_000, "finished_ms": 1_060_000, **fields}
    return Seen(id="c", name="pto-c", exit_code=code, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "watch", "expected"),
    [
        (seen(0), Watch(), Ended(0, "exited")),
        (seen(3), Watch(), Ended(3, "exited")),
        (seen(137), Watch(), "task"),
        (seen(143), Watch("timeout"), Ended(143, "timeout")),
        (seen(143), Watch("cancelled"), Ended(143, "cancelled")),
        (seen(0), Watch("full"), "task"),
        (seen(137, oom_killed=True), Watch(), "task"),
        (seen(0, oom_killed=True), Watch(), "task"),
        (seen(143), Watch(was_killed=True), "infra"),
        (seen(1), Watch(was_killed=True), "infra"),
        # The dispatcher was away: what was ended from outside is nobody's fault, what ended by itself is its own.
        (seen(0), Watch(is_unwatched=True), Ended(0, "exited")),
        (seen(3), Watch(is_unwatched=True), Ended(3, "exited")),
        (seen(137), Watch(is_unwatched=True), "infra"),
        (seen(255), Watch(is_unwatched=True), "infra"),
        (seen(0, status="dead"), Watch(is_unwatched=True), "infra"),
        (seen(137, oom_killed=True), Watch(is_unwatched=True), "task"),
        (seen(137), Watch(is_unwatched=True, limit_s=60), Ended(137, "timeout")),
        # The daemon was away: what failed just then is nobody's fault either.
        (seen(0), Watch(lost_ms=1_060_000), Ended(0, "exited")),
        (seen(1), Watch(lost_ms=1_060_000), "infra"),
        (seen(1), Watch(lost_ms=1_075_000), "infra"),
        (seen(1), Watch(lost_ms=1_090_000), Ended(1, "exited")),
        (seen(143), Watch(lost_ms=1_090_000), "infra"),
    ],
)
def test_ends(found: Seen, watch: Watch, expected: Ended | str) -> None:
    verdict = judged(found, watch, "the command", DEFAULTS, ROOM)
    if isinstance(expected, str):
        assert isinstance(verdict, Failed)
        assert verdict.failure == expected
    else:
        assert verdict == expected


@pytest.mark.parametrize(
    ("refused", "failure", "said"),
    [
        (NoImage(404, "No such image: tools:1"), "config", "deploy/docker/build.sh"),
        (DaemonRefused(404, "network build-net not found"), "config", "docker network create"),
        (DaemonRefused(400, 'OCI runtime create failed: exec: "nope": executable file not found in $PATH: unknown'), "task", "nope"),
        (DaemonRefused(400, 'exec: "/workspace/x": permission denied: unknown'), "task", "executable"),
        (DaemonRefused(400, "Range of CPUs is from 0.01 to 2.00"), "config", "Range of CPUs"),
        (DaemonRefused(500, 'could not select device driver "" with capabilities: [[gpu]]'), "config", "GPU"),
        (DaemonRefused(500, "no space left on device"), "infra", "no space"),
    ],
)  # fmt: skip
def test_refusals_say_whose_matter_they_are(refused: DaemonRefused, failure: str, said: str) -> None:
    failed = refusal(refused, "the command", DEFAULTS)
    assert failed.failure == failure
    assert said in f"{failed} {failed.hint}"
