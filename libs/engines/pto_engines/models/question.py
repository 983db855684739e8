"""One question to a model and its answer, as plain data in the words of the Messages API.

Imports msgspec, ports and proto. Invariant: nothing here belongs to a client library, so a conversation can be kept,
shown and sent again.
"""

from typing import Any

import msgspec

from pto_proto.results import Usage

Block = dict[str, Any]
Message = dict[str, Any]
"""``{"role": ..., "content": [blocks]}``."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. The system text and the conversation so far are marked for the API's cache."""

    system: str
    messages: list[Message]
    max_tokens: int
    tools: list[dict[str, Any]] = []
    schema: dict[str, Any] | None = None
    """JSON schema that the answer's text must have."""


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that the model wants to use."""

    id: str
    name: str
    input: Any


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the model answered."""

    blocks: list[Block]
    """To be sent back as the assistant's message."""
    stop_reason: str
    usage: Usage
    model: str
    """The model that answered, by its own word."""

    @property
    def text(self) -> str:
        """All text of the answer."""
        return "".join(block["text"] for block in self.blocks if block["type"] == "text")

    @property
    def calls(self) -> list[ToolCall]:
        """The tools that it wants to use, in order."""
        return [
            ToolCall(block["id"], block["name"], block["input"]) for block in self.blocks if block["type"] == "tool_use"
        ]
