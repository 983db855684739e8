"""A request as rules see it, whichever API it came by.

Standard library only. Invariant: everything here follows from the request alone; nothing is counted.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .scenario import Api, Endpoint


@dataclass(frozen=True)
class Question:
    endpoint: Endpoint
    api: Api
    model: str
    stream: bool
    body: dict[str, Any]
    keys: tuple[str, ...] = ()
    """Names of the known credentials that came with it."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages = self.body.get("messages")
        return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []

    @cached_property
    def turn(self) -> int:
        return sum(message.get("role") == "assistant" for message in self.messages)

    @cached_property
    def system(self) -> str:
        """The system prompt and what is said as system within the conversation."""
        return "\n".join([text_of(self.body.get("system")), *self._said("system")])

    @cached_property
    def first_user(self) -> str:
        return next(iter(self._said("user")), "")

    @cached_property
    def last_user(self) -> str:
        return (self._said("user") or [""])[-1]

    @cached_property
    def anywhere(self) -> str:
        return "\n".join([text_of(self.body.get("system")), *(text_of(said.get("content")) for said in self.messages)])

    def _said(self, role: str) -> list[str]:
        return [text_of(message.get("content")) for message in self.messages if message.get("role") == role]

    @cached_property
    def tools(self) -> tuple[str, ...]:
        tools = self.body.get("tools")
        return tuple(str(tool.get("name", "")) for tool in tools) if isinstance(tools, list) else ()

    @property
    def wanted_tool(self) -> str | None:
        """The tool that the request insists on."""
        choice = self.body.get("tool_choice")
        return choice.get("name") if isinstance(choice, dict) and choice.get("type") == "tool" else None

    @cached_property
    def conversation(self) -> str:
        return digest(self.model, text_of(self.body.get("system")), self.first_user)

    @cached_property
    def identity(self) -> str:
        """The same for a retry, another for every turn and every conversation."""
        return digest(self.model, json.dumps([self.body.get("system"), self.body.get("messages")], sort_keys=True))


def text_of(content: Any) -> str:
    """All text of a system prompt or message: of its text blocks and of the results of tools."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, (text_of(block) for block in content)))
    if isinstance(content, dict):
        return text_of(content.get("text") if content.get("type") == "text" else content.get("content"))
    return ""


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
