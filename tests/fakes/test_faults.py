"""Each fault, and what the anthropic package makes of it: the error classes that callers have to tell apart."""

import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest

from .messages_api import FakeMessagesApi, scenario_from, serving
from .messages_api.question import Question
from .messages_api.script import Script
from .questions import ASK, AT_ONCE, HELLO, KEY, MODEL, WRITE_TOOL, asking

LONG: dict[str, Any] = {"rules": [{"answer": {"text": "word " * 400}}]}


def with_faults(*faults: dict[str, Any], base: dict[str, Any] = HELLO) -> Any:
    return serving(scenario_from({**base, "faults": list(faults)}))


async def streamed(client: anthropic.AsyncAnthropic, **more: Any) -> anthropic.types.Message:
    async with client.messages.stream(model=MODEL, **{**ASK, **more}) as stream:
        return await stream.get_final_message()


STATUSES: list[tuple[int, type[anthropic.APIStatusError], str]] = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (402, anthropic.PaymentRequiredError, "billing_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (413, anthropic.ContentTooLargeError, "request_too_large"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (529, anthropic.OverloadedError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "error", "type_"), STATUSES, ids=[str(status) for status, _, _ in STATUSES])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_status_raises_its_error(
    status: int, error: type[anthropic.APIStatusError], type_: str, stream: bool
) -> None:
    async with with_faults({"fault": "status", "status": status}) as api, asking(api) as client:
        with pytest.raises(error) as caught:
            await (streamed(client) if stream else client.messages.create(model=MODEL, **ASK))
    assert type(caught.value) is error
    assert caught.value.type == type_
    assert caught.value.request_id == api.requests[0].request_id
    assert (api.requests[0].fault, api.requests[0].status, api.requests[0].rule) == ("status", status, None)


async def test_two_overloads_then_the_answer() -> None:
    fault = {"fault": "status", "status": 529, "times": 2, "headers": AT_ONCE}
    async with with_faults(fault) as api, asking(api, retries=2) as client:
        message = await client.messages.create(model=MODEL, **ASK)
    assert message.content[0].type == "text"
    assert [request.status for request in api.requests] == [529, 529, 200]
    assert [request.headers["x-stainless-retry-count"] for request in api.requests] == ["0", "1", "2"]


async def test_retry_after_is_honoured_by_the_client() -> None:
    async with (
        with_faults({"fault": "status", "status": 429, "retry_after_s": 1}) as api,
        asking(api, retries=1) as client,
    ):
        await client.messages.create(model=MODEL, **ASK)
    limited, answered = api.requests
    assert answered.at_s - limited.at_s >= 1


async def test_faults_come_in_their_order_and_answers_in_between_by_condition() -> None:
    faults: list[dict[str, Any]] = [
        {"fault": "status", "status": 401, "when": {"model": "opus"}},
        {"fault": "status", "status": 529},
        {"fault": "cut"},
        {"fault": "status", "status": 429},
    ]
    async with with_faults(*faults) as api, asking(api) as client:
        for error in (anthropic.OverloadedError, anthropic.APIConnectionError, anthropic.RateLimitError):
            with pytest.raises(error):
                await client.messages.create(model=MODEL, **ASK)
        await client.messages.create(model=MODEL, **ASK)
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(model="claude-opus-5-5", **ASK)
    assert [request.status for request in api.requests] == [529, 0, 429, 200, 401]


async def test_fault_per_conversation_hits_each_of_them() -> None:
    fault = {"fault": "status", "status": 529, "per": "conversation", "headers": AT_ONCE}
    async with with_faults(fault) as api, asking(api, retries=1) as client:
        for name in ("a", "b"):
            await client.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": name}])
    assert [request.status for request in api.requests] == [529, 200, 529, 200]


def test_wall_of_faults_lasts_from_the_first_request_for_its_time() -> None:
    seconds = 1000.0
    scenario = scenario_from({**HELLO, "faults": [{"fault": "status", "status": 529, "for_s": 60}]})
    script = Script(scenario, lambda: seconds)
    question = Question("messages", "anthropic", MODEL, False, ASK)
    hit = []
    for step in (0, 30, 29.9, 0.2, 500):
        seconds += step
        hit.append(script.fault(question) is not None)
    assert hit == [True, True, True, False, False]


async def test_connection_cut_before_the_answer() -> None:
    async with with_faults({"fault": "cut"}) as api, asking(api) as client:
        with pytest.raises(anthropic.APIConnectionError):
            await client.messages.create(model=MODEL, **ASK)
    assert (api.requests[0].status, api.requests[0].delivered) == (0, False)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_connection_cut_within_the_answer(stream: bool) -> None:
    """The package leaves the error of its HTTP client as it is once a stream has begun."""
    async with with_faults({"fault": "cut", "where": "within"}, base=LONG) as api, asking(api) as client:
        with pytest.raises((httpx2.RemoteProtocolError, anthropic.APIConnectionError)) as caught:
            await (streamed(client) if stream else client.messages.create(model=MODEL, **ASK))
        assert isinstance(caught.value, httpx2.RemoteProtocolError) == stream
        assert "word" in str((await streamed(client)).content)
    assert (api.requests[0].status, api.requests[0].delivered) == (200, False)


async def test_error_event_in_a_stream_is_an_error_with_status_200() -> None:
    async with with_faults({"fault": "stream_error"}, base=LONG) as api, asking(api) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await streamed(client)
    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")


async def test_error_event_without_streaming_is_the_status_of_its_type() -> None:
    async with with_faults({"fault": "stream_error", "type": "rate_limit_error"}) as api, asking(api) as client:
        with pytest.raises(anthropic.RateLimitError):
            await client.messages.create(model=MODEL, **ASK)


async def test_body_that_is_no_message_is_not_refused_by_the_client() -> None:
    async with with_faults({"fault": "malformed"}) as api, asking(api) as client:
        message = await client.messages.create(model=MODEL, **ASK)
    assert (message.content, message.usage) == (None, None)


async def test_body_that_is_no_json_is_an_error_of_the_client() -> None:
    async with with_faults({"fault": "malformed", "body": '{"id": "msg_'}) as api, asking(api) as client:
        with pytest.raises((anthropic.APIResponseValidationError, ValueError)):
            await client.messages.create(model=MODEL, **ASK)


async def test_event_that_is_no_json_is_an_error_of_the_client() -> None:
    async with with_faults({"fault": "malformed"}, base=LONG) as api, asking(api) as client:
        with pytest.raises(ValueError, match=r"Unterminated|Expecting|JSON"):
            await streamed(client)


async def test_slow_answer_runs_into_the_clients_timeout() -> None:
    async with with_faults({"fault": "slow", "first_byte_s": 30}) as api, asking(api) as client:
        with pytest.raises(anthropic.APITimeoutError):
            await client.with_options(timeout=0.2).messages.create(model=MODEL, **ASK)
        await client.messages.create(model=MODEL, **ASK)
    assert [request.delivered for request in api.requests] == [False, True]


async def test_slow_stream_waits_between_its_events() -> None:
    async with with_faults({"fault": "slow", "between_s": 0.05}) as api, asking(api) as client:
        began = time.monotonic()
        await streamed(client)
        assert time.monotonic() - began >= 7 * 0.05


async def test_caller_who_leaves_a_stream_is_recorded_as_not_served() -> None:
    base = {"rules": [{"answer": {"text": "word " * 20_000, "between_s": 0.01}}]}
    async with serving(scenario_from(base)) as api, asking(api) as client:
        async with client.messages.stream(model=MODEL, **ASK) as stream:
            await anext(aiter(stream))
        await client.messages.count_tokens(model=MODEL, messages=ASK["messages"])
    assert [request.delivered for request in api.requests] == [False, True]


async def test_refusal_is_a_stop_reason() -> None:
    async with with_faults({"fault": "refusal", "text": "No."}) as api, asking(api) as client:
        message = await streamed(client)
    assert message.stop_reason == "refusal"
    assert message.content[0].type == "text"
    assert message.content[0].text == "No."


Cut = Callable[[anthropic.types.Message], bool]
PLAN = {"answer": {"json": {"tasks": ["a", "b", "c"]}}}
WRITE = {"answer": {"text": "I write.", "calls": [{"tool": "write_file", "input": {"content": "x" * 100}}]}}
CUT_OFF: list[tuple[str, dict[str, Any], dict[str, Any], Cut]] = [
    (
        "truncated JSON",
        PLAN,
        {"keep_chars": 10},
        lambda message: getattr(message.content[0], "text", "") == '{"tasks": ',
    ),
    (
        "half of the text",
        {"answer": {"text": "abcdef"}},
        {},
        lambda message: getattr(message.content[0], "text", "") == "abc",
    ),
    (
        "call cut off",
        WRITE,
        {"keep_chars": 30},
        lambda message: [block.type for block in message.content] == ["text", "tool_use"],
    ),
]


@pytest.mark.parametrize(("rule", "fault", "is_cut"), [case[1:] for case in CUT_OFF], ids=[case[0] for case in CUT_OFF])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_limit_of_output_cuts_the_answer(
    rule: dict[str, Any], fault: dict[str, Any], is_cut: Cut, stream: bool
) -> None:
    base = {"rules": [rule]}
    async with with_faults({"fault": "max_tokens", **fault}, base=base) as api, asking(api) as client:
        if stream:
            message = await streamed(client, tools=[WRITE_TOOL])
        else:
            message = await client.messages.create(model=MODEL, tools=[WRITE_TOOL], **ASK)
    assert message.stop_reason == "max_tokens"
    assert is_cut(message)
    assert api.requests[0].fault == "max_tokens"


@pytest.mark.parametrize("endpoint", ["models", "count_tokens"])
async def test_faults_reach_other_endpoints_when_they_say_so(endpoint: str) -> None:
    fault = {"fault": "status", "status": 401, "when": {"endpoint": endpoint}}
    async with with_faults(fault) as api, asking(api) as client:
        await client.messages.create(model=MODEL, **ASK)
        counting = client.messages.count_tokens(model=MODEL, messages=ASK["messages"])
        with pytest.raises(anthropic.AuthenticationError):
            await (counting if endpoint == "count_tokens" else client.models.retrieve(MODEL))
        counting.close()


async def test_key_that_expired_is_refused_while_the_next_one_works() -> None:
    keys = {"old": KEY, "new": "sk-next-key"}
    fault = {"fault": "status", "status": 401, "times": "always", "when": {"key": "old"}}
    async with serving(scenario_from({**HELLO, "keys": keys, "faults": [fault]})) as api:
        with pytest.raises(anthropic.AuthenticationError):
            await ask_with(api, KEY)
        await ask_with(api, "sk-next-key")
    assert [request.keys for request in api.requests] == [("old",), ("new",)]


async def ask_with(api: FakeMessagesApi, key: str) -> None:
    async with anthropic.AsyncAnthropic(api_key=key, base_url=api.url) as client:
        await client.messages.create(model=MODEL, **ASK)
