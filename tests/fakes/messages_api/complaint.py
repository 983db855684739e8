"""What the API would refuse in a request: a loop that passes here does not fail at the real one for its form.

May import the question. Invariant: one sentence, naming the place; None for a request that is well formed.
"""

import re
from collections.abc import Iterator
from typing import Any

from .question import Question

ROLES = {"user", "assistant", "system"}
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
UNSUPPORTED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
)
"""What schemas for constrained output may not say."""


def complaint(question: Question) -> str | None:
    return next(_complaints(question), None)


def _complaints(question: Question) -> Iterator[str]:
    body = question.body
    if question.api == "bedrock":
        if "anthropic_version" not in body:
            yield "anthropic_version: Field required"
        yield from (f"{name}: Extra inputs are not permitted" for name in ("model", "stream") if name in body)
    elif not question.model:
        yield "model: Field required"
    if question.endpoint == "messages" and not (isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 0):
        yield "max_tokens: Field required, an integer greater than 0"
    yield from _about_messages(body.get("messages"))
    yield from _about_tools(body, question)
    output = body.get("output_config")
    wanted = output.get("format") if isinstance(output, dict) else None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        yield from _about_schema(wanted.get("schema"), "output_config.format.schema")


def _about_messages(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list) or not messages:
        yield "messages: at least one message is required"
        return
    open_calls: list[str] = []
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            yield f"{place}.role: Input should be 'user' or 'assistant'"
            return
        content = message.get("content")
        if not isinstance(content, str | list) or (not content and index < len(messages) - 1):
            yield f"{place}: messages must have non-empty content"
            return
        if index == 0 and message["role"] == "assistant":
            yield f"{place}: first message must use the 'user' role"
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        for number, block in enumerate(blocks):
            if not isinstance(block, dict) or "type" not in block:
                yield f"{place}.content.{number}.type: Field required"
                return
            if block["type"] == "text" and not block.get("text"):
                yield f"{place}.content.{number}: text content blocks must be non-empty"
        if message["role"] == "system":
            continue  # may stand between a call and its result
        yield from _about_pairs(place, index, blocks, open_calls)
        open_calls = [str(block.get("id")) for block in blocks if block["type"] == "tool_use"]
    if open_calls:
        yield _unanswered(len(messages) - 1, open_calls)


def _about_pairs(place: str, index: int, blocks: list[dict[str, Any]], open_calls: list[str]) -> Iterator[str]:
    results = [str(block.get("tool_use_id")) for block in blocks if block["type"] == "tool_result"]
    if missing := [call for call in open_calls if call not in results]:
        yield _unanswered(index - 1, missing)
    for result in results:
        if result not in open_calls:
            yield (
                f"{place}: unexpected `tool_use_id` found in `tool_result` blocks: {result}. Each `tool_result` block must "
                "have a corresponding `tool_use` block in the previous message."
            )
    if len(set(results)) < len(results):
        yield f"{place}: each tool_use must have a single result"


def _unanswered(index: int, calls: list[str]) -> str:
    return (
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(calls)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _about_tools(body: dict[str, Any], question: Question) -> Iterator[str]:
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        yield "tools: Input should be a valid list"
        return
    names = [str(tool.get("name", "")) for tool in tools]
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    for index, tool in enumerate(tools):
        if not TOOL_NAME.fullmatch(names[index]):
            yield f"tools.{index}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if tool.get("type", "custom") != "custom":
            continue  # a tool of the API's own brings its schema
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            yield f"tools.{index}.input_schema.type: Input should be 'object'"
        elif tool.get("strict"):
            yield from _about_schema(schema, f"tools.{index}.input_schema")
    if question.wanted_tool and question.wanted_tool not in names:
        yield f"tool_choice: Tool '{question.wanted_tool}' not found in provided tools"


def _about_schema(schema: Any, place: str) -> Iterator[str]:
    if not isinstance(schema, dict):
        yield f"{place}: Input should be a valid dictionary"
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield f"{place}: For 'object' type, 'additionalProperties' must be explicitly set to false"
    for word in UNSUPPORTED:
        if word in schema:
            yield f"{place}: For '{schema.get('type')}' type, property '{word}' is not supported"
    for group in ("properties", "$defs"):
        if isinstance(members := schema.get(group), dict):
            for name, member in members.items():
                yield from _about_schema(member, f"{place}.{group}.{name}")
    if "items" in schema:
        yield from _about_schema(schema["items"], f"{place}.items")
    for group in ("anyOf", "allOf"):
        for index, member in enumerate(schema.get(group) or []):
            yield from _about_schema(member, f"{place}.{group}.{index}")
