"""The anthropic package talks to the fake as to the real API."""

import asyncio
import json
from typing import Any

import anthropic
import httpx2
import pydantic
import pytest

from .messages_api import scenario_from, serving, serving_in_thread
from .questions import ASK, HELLO, KEY, MODEL, WRITE_TOOL, asking

TOOL_TURNS: dict[str, Any] = {
    "rules": [
        {
            "name": "write",
            "when": {"tools": ["write_file"], "first_user": {"regex": "Build a (?P<what>\\w+)"}},
            "turns": [
                {
                    "text": "I begin.",
                    "calls": [{"tool": "write_file", "input": {"path": "${what}.js", "content": "`${x}`"}}],
                },
                {"text": "Done."},
            ],
        }
    ]
}


async def test_message_has_text_ids_usage_and_headers() -> None:
    async with serving(scenario_from(HELLO)) as api, asking(api) as client:
        raw = await client.messages.with_raw_response.create(model=MODEL, **ASK)
        message = await raw.parse()
    assert [block.text for block in message.content if block.type == "text"] == ["Hello"]
    assert (message.model, message.stop_reason) == (MODEL, "end_turn")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert raw.headers["request-id"] == api.requests[0].request_id
    assert int(raw.headers["anthropic-ratelimit-requests-remaining"]) > 0


def test_sync_client_streams_from_a_server_in_a_thread() -> None:
    with (
        serving_in_thread(scenario_from({"rules": [{"answer": {"text": "word " * 400, "thinking": "hm"}}]})) as api,
        anthropic.Anthropic(api_key=KEY, base_url=api.url) as client,
        client.messages.stream(model=MODEL, **ASK) as stream,
    ):
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].type == "thinking"
    assert message.content[0].signature
    assert "".join(block.text for block in message.content if block.type == "text") == "word " * 400
    assert kinds.count("content_block_delta") > 5


async def test_stream_has_every_kind_of_event_in_order() -> None:
    answer = {"thinking": "hm", "text": "Hi", "calls": [{"tool": "write_file", "input": {"path": "a"}}]}
    async with (
        serving(scenario_from({"rules": [{"answer": answer}]})) as api,
        httpx2.AsyncClient(base_url=api.url, headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"}) as client,
    ):
        got = await client.post("/v1/messages", json={"model": MODEL, "stream": True, "tools": [WRITE_TOOL], **ASK})
    events = [json.loads(line.removeprefix("data: ")) for line in got.text.splitlines() if line.startswith("data: ")]
    assert got.headers["content-type"].startswith("text/event-stream")
    assert [line.removeprefix("event: ") for line in got.text.splitlines() if line.startswith("event: ")] == [
        event["type"] for event in events
    ]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    thinking = [block[0], "ping", block[1], block[1], block[2]]
    assert [event["type"] for event in events] == [
        *["message_start", *thinking, *block, block[0], block[1], block[1], block[2], "message_delta", "message_stop"]
    ]
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert deltas == ["thinking_delta", "signature_delta", "text_delta", "input_json_delta", "input_json_delta"]


async def test_tool_calls_go_back_and_forth_and_captures_are_filled_in() -> None:
    async with serving(scenario_from(TOOL_TURNS)) as api, asking(api) as client:
        messages = list(ASK["messages"])
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=messages, tools=[WRITE_TOOL]) as stream:
            first = await stream.get_final_message()
        call = first.content[1]
        assert call.type == "tool_use"
        assert (first.stop_reason, call.input) == ("tool_use", {"path": "calculator.js", "content": "`${x}`"})
        messages.append({"role": "assistant", "content": first.content})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "written"}
        messages.append({"role": "user", "content": [result]})
        last = await client.messages.create(model=MODEL, max_tokens=100, messages=messages, tools=[WRITE_TOOL])
    assert last.content[0].type == "text"
    assert last.content[0].text == "Done."
    assert [(request.turn, request.rule) for request in api.requests] == [(0, "write"), (1, "write")]


async def test_retried_request_gets_the_same_message() -> None:
    async with serving(scenario_from(TOOL_TURNS)) as api, asking(api) as client:
        first, again = [await client.messages.create(model=MODEL, tools=[WRITE_TOOL], **ASK) for _ in range(2)]
    assert first == again


@pytest.mark.parametrize("way", ["format", "forced tool"])
async def test_json_comes_the_way_it_was_asked_for(way: str) -> None:
    plan = {"complexity": 35, "tasks": [{"id": "api"}]}
    async with serving(scenario_from({"rules": [{"answer": {"json": plan}}]})) as api, asking(api) as client:
        if way == "format":
            schema = {"type": "object", "properties": {}, "additionalProperties": False}
            wanted: Any = {"format": {"type": "json_schema", "schema": schema}}
            message = await client.messages.create(model=MODEL, output_config=wanted, **ASK)
            assert message.content[0].type == "text"
            got = json.loads(message.content[0].text)
        else:
            choice: Any = {"type": "tool", "name": "write_file"}
            message = await client.messages.create(model=MODEL, tools=[WRITE_TOOL], tool_choice=choice, **ASK)
            assert message.content[0].type == "tool_use"
            got = message.content[0].input
    assert got == plan


class Task(pydantic.BaseModel):
    id: str = pydantic.Field(pattern=r"^[a-z-]+$", max_length=40)
    needs: list[str] = pydantic.Field(default=[], max_length=16)


class Plan(pydantic.BaseModel):
    complexity: int = pydantic.Field(ge=0, le=100)
    tasks: list[Task] = pydantic.Field(min_length=1)


async def test_schema_that_the_package_makes_is_accepted() -> None:
    plan = {"complexity": 35, "tasks": [{"id": "api"}]}
    async with (
        serving(scenario_from({"rules": [{"answer": {"json": plan}}]})) as api,
        asking(api) as client,
        client.messages.stream(model=MODEL, output_format=Plan, **ASK) as stream,
    ):
        message = await stream.get_final_message()
    assert message.parsed_output == Plan(complexity=35, tasks=[Task(id="api")])


async def test_tokens_are_counted_for_the_same_content() -> None:
    async with serving(scenario_from(HELLO)) as api, asking(api) as client:
        counted = await client.messages.count_tokens(model=MODEL, messages=ASK["messages"])
        message = await client.messages.create(model=MODEL, **ASK)
    assert counted.input_tokens == message.usage.input_tokens


async def test_cached_prefix_is_written_in_the_first_turn_and_read_later() -> None:
    system: Any = [{"type": "text", "text": "rules " * 500, "cache_control": {"type": "ephemeral"}}]
    later = [*ASK["messages"], {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Go on"}]
    async with serving(scenario_from(HELLO)) as api, asking(api) as client:
        first = (await client.messages.create(model=MODEL, system=system, **ASK)).usage
        second = (await client.messages.create(model=MODEL, system=system, max_tokens=9, messages=later)).usage
        counted = (await client.messages.count_tokens(model=MODEL, system=system, messages=later)).input_tokens
    assert first.cache_creation_input_tokens is not None
    assert first.cache_creation_input_tokens > 700
    assert first.cache_read_input_tokens == 0
    assert second.cache_creation_input_tokens == 0
    assert second.cache_read_input_tokens is not None
    assert second.cache_read_input_tokens >= first.cache_creation_input_tokens
    assert second.input_tokens + second.cache_read_input_tokens == counted


async def test_scripted_usage_replaces_the_counted_numbers() -> None:
    usage = {"input_tokens": 7, "output_tokens": 9, "cache_read_input_tokens": 11, "cache_creation_input_tokens": 13}
    async with (
        serving(scenario_from({"rules": [{"answer": {"text": "x", "usage": usage}}]})) as api,
        asking(api) as client,
    ):
        async with client.messages.stream(model=MODEL, **ASK) as stream:
            streamed = await stream.get_final_message()
        whole = await client.messages.create(model=MODEL, **ASK)
    for message in (streamed, whole):
        assert usage.items() <= message.usage.model_dump().items()


async def test_models_are_listed_page_by_page_and_got() -> None:
    models = [f"claude-{number}" for number in range(25)]
    async with serving(scenario_from({**HELLO, "models": models})) as api, asking(api) as client:
        assert [model.id async for model in client.models.list()] == models
        assert (await client.models.retrieve("claude-3")).id == "claude-3"
        for question in (client.models.retrieve("claude-x"), client.messages.create(model="claude-x", **ASK)):
            with pytest.raises(anthropic.NotFoundError, match="model: claude-x"):
                await question


async def test_wrong_or_missing_credentials_are_refused_and_never_recorded() -> None:
    async with serving(scenario_from({**HELLO, "keys": {"canary": KEY}})) as api:
        async with asking(api) as client:
            await client.messages.create(model=MODEL, **ASK)
            await client.messages.create(
                model=MODEL, max_tokens=9, messages=[{"role": "user", "content": f"key {KEY}"}]
            )
        async with anthropic.AsyncAnthropic(api_key="another-key", base_url=api.url) as client:
            with pytest.raises(anthropic.AuthenticationError):
                await client.messages.create(model=MODEL, **ASK)
        async with httpx2.AsyncClient(base_url=api.url) as bare:
            assert (await bare.post("/v1/messages", json={"model": MODEL, **ASK})).status_code == 401
            shown = (await bare.get("/_requests")).text
    assert [request.keys for request in api.requests] == [("canary",), ("canary",), (), ()]
    assert [request.leaked for request in api.requests] == [(), ("canary",), (), ()]
    assert KEY not in shown
    assert "another-key" not in shown
    assert json.loads(shown)[1]["body"]["messages"][0]["content"] == "key <canary>"


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "at least one message"),
    ({"max_tokens": None}, "max_tokens"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "first message"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "non-empty"),
    (
        {
            "messages": [
                *ASK["messages"],
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "x", "input": {}}]},
            ]
        },
        "without `tool_result` blocks immediately after: t1",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t9", "content": "x"}]}]},
        "unexpected `tool_use_id`",
    ),
    ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "pattern"),
    ({"tools": [WRITE_TOOL, WRITE_TOOL]}, "unique"),
    ({"tools": [{"name": "a", "input_schema": {"type": "string"}}]}, "object"),
    ({"tools": [WRITE_TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "not found"),
    ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "additionalProperties"),
    ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "maximum": 3}}}}, "'maximum'"),
]


@pytest.mark.parametrize(("change", "said"), MALFORMED, ids=[said for _, said in MALFORMED])
async def test_what_the_api_would_refuse_is_refused_and_uses_up_no_fault(change: dict[str, Any], said: str) -> None:
    async with (
        serving(scenario_from({**HELLO, "faults": [{"fault": "status", "status": 529}]})) as api,
        httpx2.AsyncClient(base_url=api.url, headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"}) as client,
    ):
        refused = await client.post("/v1/messages", json={"model": MODEL, **ASK, **change})
        assert (await client.post("/v1/messages", json={"model": MODEL, **ASK})).status_code == 529
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]


async def test_request_that_no_rule_matches_is_an_error_that_shows_it() -> None:
    scenario = scenario_from({"rules": [{"when": {"model": "opus"}, "answer": {"text": "x"}}]})
    async with serving(scenario) as api, asking(api) as client:
        with pytest.raises(anthropic.BadRequestError, match=r"no rule of the scenario matches.*Build a calculator"):
            await client.messages.create(model=MODEL, **ASK)
    assert api.answered == []


async def test_fifty_streams_at_once_each_get_their_own_answer() -> None:
    rule = {
        "when": {"first_user": {"regex": "task (?P<n>\\d+)"}},
        "answer": {"text": "n=${n} " * 200, "between_s": 0.01},
    }
    async with serving(scenario_from({"rules": [rule]})) as api, asking(api) as client:

        async def ask(number: int) -> str:
            question: Any = [{"role": "user", "content": f"task {number}"}]
            async with client.messages.stream(model=MODEL, max_tokens=99, messages=question) as stream:
                return await stream.get_final_text()

        answers = await asyncio.gather(*(ask(number) for number in range(50)))
    assert answers == [f"n={number} " * 200 for number in range(50)]
    assert all(request.delivered for request in api.requests)
