"""Whether another result of a check shows the same failure.

Imports proto only. Invariant: what differs between two runs of the same check on the same files (folder, addresses,
durations) makes no difference.
"""

import re

from pto_proto.results import CheckResult

CANNOT_RUN = (126, 127)
"""The shell's exit codes for a command that is not executable or not there."""
_ERROR = re.compile(
    r"^(E |not ok|FAIL|ERROR)|\w(Error|Exception|Failure|Panic)\b"
    r"|\b(error|fatal|fail|failed|panicked|undefined|mismatch|assert|No such|not found|cannot|expected)\b"
)
_FRAME = re.compile(
    r"^([=_*~]{3,}|-{5,}|Traceback|FAILED \((failures|errors)=|\d+ (passed|failed)|Ran \d+|make(\[\d+\])?: \*\*\*"
    r"|npm (ERR!|error)|Tests?:|Test Suites:|test result:|error: test failed|FAIL(\s|$)|exit status)"
)
"""What test programs and build tools say around any failure, or count."""
_VOLATILE = re.compile(r"0x[0-9a-fA-F]+|\b\d+(\.\d+)?\s?(ms|s|sec|seconds)\b")


def is_same_failure(failure: CheckResult, other: CheckResult) -> bool:
    """Whether ``other`` failed too, with the same exit code, and says what ``failure`` says last about an error.

    The last word tells one failure from another where a suite has several, and a wrong value from a missing file.
    """
    if failure.passed or other.passed or failure.exit_code != other.exit_code:
        return False
    mine, theirs = telling_lines(failure), telling_lines(other)
    return mine[-1] in theirs if mine else not theirs


def telling_lines(result: CheckResult) -> list[str]:
    """The last lines that speak of an error; all of them if none does."""
    lines = [_VOLATILE.sub("#", line.strip()) for line in result.tail]
    lines = [line for line in lines if line and not _FRAME.match(line)]
    return [line for line in lines if _ERROR.search(line)] or lines
