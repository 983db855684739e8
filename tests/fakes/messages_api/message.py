"""Makes the model's message from a scripted answer, and the events that it is streamed as.

May import the scenario and the question. Invariant: the same question and answer give the same message, ids included; the
events put together again are the message.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from .question import Question, digest
from .scenario import Answer

CHARS_PER_TOKEN = 4
STRUCTURED_OUTPUT = "StructuredOutput"
"""The tool by which the Claude Code command line asks for output by schema."""
Message = dict[str, Any]
Event = dict[str, Any]


def message_of(answer: Answer, question: Question) -> Message:
    blocks = [dict(block) for block in _blocks(answer, question)]
    for index, block in enumerate(blocks):
        if block["type"] == "tool_use":
            block["id"] = "toolu_" + digest(question.identity, str(index))[:24]
    stop = answer.stop_reason or ("stop_sequence" if answer.stop_sequence is not None else None)
    return {
        "id": "msg_" + digest(question.identity, json.dumps(blocks, sort_keys=True))[:24],
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": blocks,
        "stop_reason": stop or ("tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"),
        "stop_sequence": answer.stop_sequence,
        "usage": usage_of(answer, question, blocks),
    }


def _blocks(answer: Answer, question: Question) -> Iterator[dict[str, Any]]:
    if answer.thinking is not None:
        yield {"type": "thinking", "thinking": answer.thinking, "signature": digest(answer.thinking)}
    if answer.text is not None:
        yield {"type": "text", "text": answer.text}
    if answer.json is not msgspec.UNSET:
        tool = question.wanted_tool or (STRUCTURED_OUTPUT if STRUCTURED_OUTPUT in question.tools else None)
        if tool:
            yield {"type": "tool_use", "id": "", "name": tool, "input": answer.json}
        else:
            yield {"type": "text", "text": json.dumps(answer.json, ensure_ascii=False)}
    for call in answer.calls:
        yield {"type": "tool_use", "id": "", "name": call.tool, "input": call.input}


def tokens(value: Any) -> int:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return len(text) // CHARS_PER_TOKEN + 1


def input_tokens(body: dict[str, Any]) -> int:
    return tokens({name: body[name] for name in ("system", "messages", "tools") if name in body})


def usage_of(answer: Answer, question: Question, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Counted, then replaced by what the answer says. With a cache breakpoint anywhere in the request the first turn writes
    all but the last message to the cache and later turns read it."""
    body = question.body
    total = input_tokens(body)
    prefix = {"system": body.get("system"), "tools": body.get("tools"), "messages": question.messages[:-1]}
    cached = min(tokens(prefix), total - 1) if "cache_control" in json.dumps(body) else 0
    said = answer.usage
    written = cached if question.turn == 0 else 0
    read = cached - written
    written = written if said.cache_creation_input_tokens is None else said.cache_creation_input_tokens
    return {
        "input_tokens": total - cached if said.input_tokens is None else said.input_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read if said.cache_read_input_tokens is None else said.cache_read_input_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens(blocks) if said.output_tokens is None else said.output_tokens,
        "service_tier": "standard",
    }


def refused(message: Message, text: str) -> Message:
    return {**message, "content": [{"type": "text", "text": text}], "stop_reason": "refusal"}


def cut_off(message: Message, keep_chars: int | None) -> Message:
    """What is left of a message at the limit of output: its first half, or so many characters of text and JSON.

    Input of a tool that is cut off is a prefix of its JSON while it is streamed, and empty in a whole message.
    """
    whole = sum(len(_text(block)) for block in message["content"])
    left = whole // 2 if keep_chars is None else min(keep_chars, whole)
    blocks: list[dict[str, Any]] = []
    for block in message["content"]:
        if left <= 0 and blocks:
            break
        text = _text(block)
        blocks.append(block if len(text) <= left else _shortened(block, text[:left]))
        left -= len(text)
    return {**message, "content": blocks, "stop_reason": "max_tokens", "stop_sequence": None}


def _text(block: dict[str, Any]) -> str:
    if block["type"] == "tool_use":
        return json.dumps(block["input"], ensure_ascii=False)
    return str(block[block["type"]])


def _shortened(block: dict[str, Any], text: str) -> dict[str, Any]:
    if block["type"] == "tool_use":
        return {**block, "input": {}, "partial_json": text}
    return {**block, block["type"]: text}


def whole(message: Message) -> Message:
    """The message as an answer without streaming has it."""
    content = [{name: value for name, value in block.items() if name != "partial_json"} for block in message["content"]]
    return {**message, "content": content}


def events_of(message: Message, chunk_chars: int) -> Iterator[Event]:
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": {**start, "usage": {**usage, "output_tokens": 1}}}
    for index, block in enumerate(message["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _empty(block)}
        if index == 0:
            yield {"type": "ping"}
        for delta in _deltas(block, chunk_chars):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    yield {"type": "message_delta", "delta": stop, "usage": {name: usage[name] for name in names}}
    yield {"type": "message_stop"}


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "tool_use":
        return {"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}
    if block["type"] == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _deltas(block: dict[str, Any], chunk_chars: int) -> Iterator[dict[str, Any]]:
    kind, name = {
        "text": ("text_delta", "text"),
        "thinking": ("thinking_delta", "thinking"),
        "tool_use": ("input_json_delta", "partial_json"),
    }[block["type"]]
    text = block["partial_json"] if "partial_json" in block else _text(block)
    if kind == "input_json_delta":
        yield {"type": kind, name: ""}  # the API opens every tool call with an empty piece
    for start in range(0, len(text), chunk_chars):
        yield {"type": kind, name: text[start : start + chunk_chars]}
    if block["type"] == "thinking":
        yield {"type": "signature_delta", "signature": block["signature"]}
