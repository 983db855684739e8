"""Reads the program's lines, and judges how a run ended. Pure.

Imports ports and siblings. Invariants: without a result line a run has failed, whatever its exit code; ``success``
counts only together with ``is_error: false``, ``completed`` and exit code 0.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from pto_engines.models.fault import Fault, Kind, Sorted, sort_fault
from pto_engines.models.prices import PriceTable
from pto_ports.engine import Ended, EngineError, Spent
from pto_proto.results import Usage

MAX_LINE_BYTES = 64 * 2**20
"""A line holds whole files; longer than this is none of the program's."""
MAX_SAID_CHARS = 600
TAIL_BYTES = 2000

OWN_WORDS: tuple[tuple[str, Kind], ...] = (
    ("API Error: Connection", "cut"),
    ("API Error: Unable to connect", "unreachable"),
    ("API Error: Can't reach the API server", "unreachable"),
    ("API Error: Request timed out", "silent"),
    ("API Error: API returned an empty or malformed response", "malformed"),
)
"""How the program's own errors without a status begin. Only its beginning counts: later words may be a model's."""
AWAY = ("ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ENETUNREACH", "EHOSTUNREACH")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. ``error`` is None for one that says it is done."""

    spent: Spent
    text: str = ""
    structured: Any = None
    denied: tuple[str, ...] = ()
    """Tools that it wanted to use and was not allowed to."""
    error: EngineError | None = None
    fault: Sorted | None = None
    """What the API had to do with it."""


class Transcript:
    """Takes the program's output as it comes; ``note`` gets a line for each thing it does."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._rest = bytearray()
        self._errors = bytearray()
        self._result: dict[str, Any] | None = None
        self._retry: dict[str, Any] = {}

    def feed(self, stream: str, data: bytes) -> None:
        """Take what came."""
        if stream != "stdout":
            self._errors += data
            del self._errors[:-TAIL_BYTES]
            return
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray() if len(rest) > MAX_LINE_BYTES else bytearray(rest)
        for line in lines:
            self._take(bytes(line))

    def outcome(self, ended: Ended, prices: PriceTable, model: str) -> Outcome:
        """How the run ended."""
        if self._rest:
            self._take(bytes(self._rest))
            self._rest.clear()
        result = self._result or {}
        spent = _spent(result, prices, model)
        if ended.why != "exited":
            failure, reason = ("cancelled", "cancelled") if ended.why == "cancelled" else ("timeout", TIME)
            return Outcome(spent=spent, error=EngineError(reason, failure=failure))  # type: ignore[arg-type]
        if self._result is None:
            return Outcome(spent=spent, error=self._silent(ended))
        if _is_done(result, ended):
            return Outcome(
                spent=spent,
                text=str(result.get("result") or ""),
                structured=result.get("structured_output"),
                denied=tuple(str(denial.get("tool_name", "")) for denial in result.get("permission_denials") or ()),
            )
        fault = self._fault(result)
        return Outcome(
            spent=spent, text=str(result.get("result") or ""), error=_error(result, fault, ended), fault=fault
        )

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        if event.get("type") == "result":
            self._result = event
        elif event.get("subtype") == "api_retry":
            self._retry = event
            self._note(f"the model did not answer (status {event.get('error_status')}); the program tries again")
        elif event.get("type") == "assistant":
            for did in _deeds(event):
                self._note(did)

    def _silent(self, ended: Ended) -> EngineError:
        said = " ".join(self._errors.decode(errors="replace").split())
        reason = f"Claude Code ended without a result (exit code {ended.exit_code})" + (f": {said}" if said else "")
        if ended.exit_code == 0 or ended.exit_code > 128:
            return EngineError(reason, failure="infra")
        return EngineError(
            reason, failure="config", hint="Does this version of Claude Code fit? See `claude --version`."
        )

    def _fault(self, result: Mapping[str, Any]) -> Sorted | None:
        """What the API said at last; None if it was not the API."""
        if result.get("terminal_reason") != "api_error":
            return None
        status = result.get("api_error_status")
        message = str(result.get("result") or "")
        if isinstance(status, int):
            delay = self._retry.get("retry_delay_ms")
            wait = delay / 1000 if isinstance(delay, int | float) else None
            return sort_fault(Fault(kind="answer", status=status, message=message, retry_after_s=wait))
        for start, kind in OWN_WORDS:
            if message.startswith(start):
                is_away = any(word in message for word in AWAY)
                return sort_fault(Fault(kind="unreachable" if is_away else kind, message=message))
        return None


TIME = "Claude Code was not done at the time limit"


def _is_done(result: Mapping[str, Any], ended: Ended) -> bool:
    return (
        result.get("subtype") == "success"
        and result.get("is_error") is False
        and result.get("terminal_reason") == "completed"
        and ended.exit_code == 0
    )


def _error(result: Mapping[str, Any], fault: Sorted | None, ended: Ended) -> EngineError:
    if fault is not None:
        wait = fault.retry_after_s or 0.0
        return EngineError(fault.reason, failure=fault.failure, hint=fault.hint, retry_after_s=wait)
    said = " ".join(str(result.get("result") or result.get("errors") or "").split())[:MAX_SAID_CHARS]
    subtype = str(result.get("subtype"))
    if subtype == "error_max_turns":
        return EngineError("Claude Code was not done at its limit of turns", hint="Split the task.")
    if subtype == "error_max_budget_usd":
        return EngineError("the attempt's limit of cost is reached", failure="budget")
    if said.startswith(("Not logged in", "Invalid API key")):
        hint = "Set ANTHROPIC_API_KEY, or the AWS credentials for Bedrock."
        return EngineError(f"Claude Code has no credentials: {said}", failure="config", hint=hint)
    what = f"{result.get('terminal_reason')}, exit code {ended.exit_code}"
    return EngineError(f"Claude Code gave up ({what})" + (f": {said}" if said else ""))


def _spent(result: Mapping[str, Any], prices: PriceTable, model: str) -> Spent:
    """Summed over all models it used: when a limit of cost ends it, its own sum is zero."""
    by_model = result.get("modelUsage")
    turns = result.get("num_turns")
    total = Spent(turns=turns if isinstance(turns, int) else 0, cost_usd=0.0 if by_model else None)
    for name, numbers in by_model.items() if isinstance(by_model, dict) else ():
        used = Usage(
            input_tokens=int(numbers.get("inputTokens", 0)),
            output_tokens=int(numbers.get("outputTokens", 0)),
            cache_read_tokens=int(numbers.get("cacheReadInputTokens", 0)),
            cache_write_tokens=int(numbers.get("cacheCreationInputTokens", 0)),
        )
        total += prices.spent(str(name) or model, used, turns=0)
    return total


def _deeds(event: Mapping[str, Any]) -> Iterator[str]:
    """What an assistant's message does, in lines without contents."""
    content = event.get("message", {}).get("content")
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "tool_use":
            given = block.get("input") or {}
            yield f"agent uses {block.get('name')} {given.get('file_path') or given.get('pattern') or ''}".rstrip()
        elif block.get("type") == "text" and str(block.get("text", "")).strip():
            yield f"agent: {' '.join(str(block['text']).split())[:MAX_SAID_CHARS]}"
