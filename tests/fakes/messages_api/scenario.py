"""What a scenario can say: rules that answer requests, and faults that come in between.

Pure data (msgspec only). Invariant: an unknown field or a wrong type is a mistake, never ignored; what each field means is
said here and nowhere else.
"""

from typing import Any, Literal

import msgspec

Endpoint = Literal["messages", "count_tokens", "models", "any"]
Api = Literal["anthropic", "bedrock"]
StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"
]
CHUNK_CHARS = 256
EVENTS_BEFORE_A_FAULT = 4
"""message_start, content_block_start, ping and one piece: a fault in a stream comes after something of the answer."""


class Regex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A regular expression, searched. Its named groups can be used in the answer: ``${name}``."""

    regex: str


TextTest = str | list[str] | Regex
"""Text contains this, or all of these, or the expression is found in it."""
NumberTest = int | tuple[int, int]
"""This number, or from the first to the last of two."""


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions on one request; all that are given must hold. None given: every request to the messages endpoint."""

    endpoint: Endpoint = "messages"
    api: Api | None = None
    model: TextTest | None = None
    system: TextTest | None = None
    """Text of the system prompt, and of system messages within the conversation."""
    first_user: TextTest | None = None
    """Text of the user's first message: the same in all turns of one task."""
    last_user: TextTest | None = None
    """Text of the user's last message, results of tools included."""
    anywhere: TextTest | None = None
    """Text of the system prompt and of all messages."""
    tools: list[str] = []
    """Names that are all on offer."""
    no_tools: bool = False
    stream: bool | None = None
    turn: NumberTest | None = None
    """How many assistant messages the conversation holds: 0 in the first request. A retry has the same turn."""
    call: NumberTest | None = None
    """How many requests met the other conditions of this rule, this one included: 1 for the first. A retry counts."""
    key: str | None = None
    """Name (in ``keys``) of the credential that came with the request."""


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tool: str
    input: dict[str, Any] = {}


class UsageNumbers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers that replace the counted ones (4 characters are a token)."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message of the model: thinking, then text, then JSON, then calls of tools; those that are given."""

    thinking: str | None = None
    text: str | None = None
    json: Any = msgspec.UNSET
    """A value asked for by schema: input of the tool the request insists on, or of ``StructuredOutput``, or else text."""
    calls: list[Call] = []
    stop_reason: StopReason | None = None
    """Without it: ``tool_use`` when tools are called, else ``end_turn``."""
    stop_sequence: str | None = None
    usage: UsageNumbers = UsageNumbers()
    first_byte_s: float = 0.0
    between_s: float = 0.0
    """Wait between two events of a stream."""
    chunk_chars: int = CHUNK_CHARS
    """Characters of text or JSON per event of a stream."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first rule that matches answers: with ``answer``, or with the one of ``turns`` for the turn (the last repeats)."""

    name: str = ""
    when: When = When()
    per: Literal["server", "conversation"] = "server"
    """What ``when.call`` counts in. A conversation: same model, system prompt and first message of the user."""
    answer: Answer | None = None
    turns: list[Answer] = []


TEXT_TESTS = ("model", "system", "first_user", "last_user", "anywhere")


class AnyFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault"):
    """What all faults have. A request meets the first in the list that matches it and is not used up."""

    when: When = When()
    per: Literal["server", "conversation"] = "server"
    """Whose requests use it up: everybody's together, or each conversation's of its own."""
    times: int | Literal["always"] | None = None
    """How many requests it hits; 1 if neither ``times`` nor ``for_s`` is given."""
    for_s: float | None = None
    """Instead: every request from the first one on, for so many seconds."""


class StatusFault(AnyFault, tag="status", frozen=True, kw_only=True):
    """An HTTP error in the words of the API that was asked."""

    status: int
    type: str | None = None
    message: str | None = None
    retry_after_s: float | None = None
    headers: dict[str, str] = {}


class CutFault(AnyFault, tag="cut", frozen=True, kw_only=True):
    """The connection ends: before anything is answered, or within the answer (after so many events of a stream)."""

    where: Literal["before", "within"] = "before"
    after_events: int = EVENTS_BEFORE_A_FAULT


class StreamErrorFault(AnyFault, tag="stream_error", frozen=True, kw_only=True):
    """The stream reports an error and ends. Without streaming: the HTTP error of that type."""

    type: str = "overloaded_error"
    message: str | None = None
    after_events: int = EVENTS_BEFORE_A_FAULT


class MalformedFault(AnyFault, tag="malformed", frozen=True, kw_only=True):
    """Status 200 and a body that is no message; in a stream, an event whose data is no event."""

    body: str | None = None
    after_events: int = EVENTS_BEFORE_A_FAULT


class SlowFault(AnyFault, tag="slow", frozen=True, kw_only=True):
    """The rule's answer, late: before its first byte, and between the events of a stream."""

    first_byte_s: float = 0.0
    between_s: float = 0.0


class RefusalFault(AnyFault, tag="refusal", frozen=True, kw_only=True):
    """The model refuses."""

    text: str = "I can't help with that."


class MaxTokensFault(AnyFault, tag="max_tokens", frozen=True, kw_only=True):
    """The rule's answer, cut off in its middle (or after so many characters) at the limit of output."""

    keep_chars: int | None = None


Fault = StatusFault | CutFault | StreamErrorFault | MalformedFault | SlowFault | RefusalFault | MaxTokensFault


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rules: list[Rule] = []
    faults: list[Fault] = []
    otherwise: Answer | None = None
    """What answers when no rule does. Without it such a request is an error that says so."""
    models: list[str] = []
    """Models that exist; asking for another is answered 404. Empty: any model exists."""
    keys: dict[str, str] = {}
    """Credentials by name (API keys, or AWS access key ids). With any given, a request without one of them is answered 401."""
    require_key: bool = True
    """Whether requests without any credential are refused; false for gateways that are asked unsigned."""
