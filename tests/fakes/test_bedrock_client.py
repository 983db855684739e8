"""The Bedrock client of the anthropic package talks to the fake as to the real service."""

import json
from typing import Any

import anthropic
import botocore.eventstream
import httpx2
import pytest

from .messages_api import scenario_from, serving, serving_in_thread
from .questions import ACCESS_KEY, ASK, BEDROCK_MODEL, HELLO, WRITE_TOOL, asking_bedrock

CALL: dict[str, Any] = {
    "rules": [{"answer": {"text": "I write.", "calls": [{"tool": "write_file", "input": {"path": "ä.py"}}]}}]
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_message_with_a_tool_call(stream: bool) -> None:
    async with serving(scenario_from({**CALL, "keys": {"canary": ACCESS_KEY}})) as api, asking_bedrock(api) as client:
        if stream:
            async with client.messages.stream(model=BEDROCK_MODEL, tools=[WRITE_TOOL], **ASK) as reply:
                message = await reply.get_final_message()
        else:
            message = await client.messages.create(model=BEDROCK_MODEL, tools=[WRITE_TOOL], **ASK)
    call = message.content[1]
    assert call.type == "tool_use"
    assert (call.input, message.stop_reason, message.model) == ({"path": "ä.py"}, "tool_use", BEDROCK_MODEL)
    request = api.requests[0]
    verb = "invoke-with-response-stream" if stream else "invoke"
    assert request.path == f"/model/{BEDROCK_MODEL}/{verb}"
    assert (request.keys, request.stream, request.delivered) == (("canary",), stream, True)
    assert ACCESS_KEY not in json.dumps(request.headers)
    assert request.headers["authorization"].endswith("/eu-central-1/bedrock/aws4_request")


def test_sync_client_streams() -> None:
    with serving_in_thread(scenario_from(HELLO)) as api:
        client = anthropic.AnthropicBedrock(
            aws_access_key="A", aws_secret_key="s", aws_session_token="t", aws_region="eu-central-1", base_url=api.url
        )
        with client.messages.stream(model=BEDROCK_MODEL, **ASK) as stream:
            assert stream.get_final_text() == "Hello"
    assert api.requests[0].headers["x-amz-security-token"] == "<redacted>"


async def test_bearer_token_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bearer-canary")
    async with (
        serving(scenario_from({**HELLO, "keys": {"bearer": "bearer-canary"}})) as api,
        anthropic.AsyncAnthropicBedrock(aws_region="eu-central-1", base_url=api.url) as client,
    ):
        await client.messages.create(model=BEDROCK_MODEL, **ASK)
    assert api.requests[0].keys == ("bearer",)
    assert api.requests[0].headers["authorization"] == "Bearer <redacted>"


async def test_frames_carry_right_lengths_and_checksums_and_the_invocations_metrics() -> None:
    async with serving(scenario_from(HELLO)) as api, httpx2.AsyncClient(base_url=api.url) as client:
        body = {"anthropic_version": "bedrock-2023-05-31", **ASK}
        path = f"/model/{BEDROCK_MODEL.replace(':', '%3A')}/invoke-with-response-stream"
        got = await client.post(path, json=body, headers={"authorization": "Bearer x"})
    assert got.headers["content-type"] == "application/vnd.amazon.eventstream"
    buffer = botocore.eventstream.EventStreamBuffer()
    buffer.add_data(got.content)
    frames = list(buffer)  # raises ChecksumMismatch or InvalidPayloadLength
    assert {frame.headers[":event-type"] for frame in frames} == {"chunk"}
    assert {frame.headers[":message-type"] for frame in frames} == {"event"}
    assert all(set(json.loads(frame.payload)) == {"bytes", "p"} for frame in frames)
    assert api.requests[0].model == BEDROCK_MODEL
    last = anthropic.lib.bedrock._stream_decoder.AWSEventStreamDecoder()
    events = [json.loads(event.data) for event in last.iter_bytes(iter([got.content]))]
    assert events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] > 0


STATUSES: list[tuple[int, type[anthropic.APIStatusError], str]] = [
    (400, anthropic.BadRequestError, "ValidationException"),
    (403, anthropic.PermissionDeniedError, "AccessDeniedException"),
    (404, anthropic.NotFoundError, "ResourceNotFoundException"),
    (429, anthropic.RateLimitError, "ThrottlingException"),
    (500, anthropic.InternalServerError, "InternalServerException"),
    (503, anthropic.ServiceUnavailableError, "ServiceUnavailableException"),
]


@pytest.mark.parametrize(("status", "error", "name"), STATUSES, ids=[name for _, _, name in STATUSES])
async def test_status_raises_its_error(status: int, error: type[anthropic.APIStatusError], name: str) -> None:
    scenario = scenario_from({**HELLO, "faults": [{"fault": "status", "status": status, "when": {"api": "bedrock"}}]})
    async with serving(scenario) as api, asking_bedrock(api) as client:
        with pytest.raises(error) as caught:
            await client.messages.create(model=BEDROCK_MODEL, **ASK)
    assert type(caught.value) is error
    assert caught.value.response.headers["x-amzn-errortype"] == name
    assert caught.value.body == {"message": f"scripted {status}"}


async def test_expired_token_is_said_in_the_services_words() -> None:
    fault = {
        "fault": "status",
        "status": 403,
        "type": "ExpiredTokenException",
        "message": "The security token is expired",
    }
    async with serving(scenario_from({**HELLO, "faults": [fault]})) as api, asking_bedrock(api) as client:
        with pytest.raises(anthropic.PermissionDeniedError, match="token is expired") as caught:
            await client.messages.create(model=BEDROCK_MODEL, **ASK)
    assert caught.value.response.headers["x-amzn-errortype"] == "ExpiredTokenException"


async def test_exception_frame_in_a_stream() -> None:
    base = {
        "rules": [{"answer": {"text": "word " * 400}}],
        "faults": [{"fault": "stream_error", "type": "rate_limit_error"}],
    }
    async with serving(scenario_from(base)) as api, asking_bedrock(api) as client:
        with pytest.raises(anthropic.APIStatusError, match="scripted rate_limit_error") as caught:
            async with client.messages.stream(model=BEDROCK_MODEL, **ASK) as stream:
                await stream.get_final_message()
    assert caught.value.status_code == 200
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "throttlingException"


async def test_connection_cut_in_a_stream_then_the_answer() -> None:
    base = {"rules": [{"answer": {"text": "word " * 400}}], "faults": [{"fault": "cut", "where": "within"}]}
    async with serving(scenario_from(base)) as api, asking_bedrock(api) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            async with client.messages.stream(model=BEDROCK_MODEL, **ASK) as stream:
                await stream.get_final_message()
        async with client.messages.stream(model=BEDROCK_MODEL, **ASK) as stream:
            assert await stream.get_final_text() == "word " * 400


async def test_unsigned_requests_pass_only_where_the_scenario_is_a_gateways() -> None:
    body = {"anthropic_version": "bedrock-2023-05-31", **ASK}
    for required, status in ((True, 403), (False, 200)):
        scenario = scenario_from({**HELLO, "require_key": required})
        async with serving(scenario) as api, httpx2.AsyncClient(base_url=api.url) as client:
            assert (await client.post("/model/m/invoke", json=body)).status_code == status


async def test_unknown_access_key_and_unknown_model_are_refused() -> None:
    scenario = {**HELLO, "keys": {"other": "AKIAOTHER"}}
    async with serving(scenario_from(scenario)) as api, asking_bedrock(api) as client:
        with pytest.raises(anthropic.PermissionDeniedError, match="security token"):
            await client.messages.create(model=BEDROCK_MODEL, **ASK)
    async with serving(scenario_from({**HELLO, "models": ["other"]})) as api, asking_bedrock(api) as client:
        with pytest.raises(anthropic.BadRequestError, match="model identifier is invalid"):
            await client.messages.create(model=BEDROCK_MODEL, **ASK)


async def test_model_given_as_an_arn_is_one_path_segment() -> None:
    arn = "arn:aws:bedrock:eu-central-1:1:inference-profile/global.claude"
    scenario = scenario_from({"rules": [{"when": {"model": arn}, "answer": {"text": "Hello"}}]})
    async with serving(scenario) as api, asking_bedrock(api) as client:
        await client.messages.create(model=arn, **ASK)
    assert api.requests[0].model == arn


async def test_profiles_are_listed() -> None:
    scenario = scenario_from({**HELLO, "models": [BEDROCK_MODEL], "require_key": False})
    async with serving(scenario) as api, httpx2.AsyncClient(base_url=api.url) as client:
        listed = (await client.get("/inference-profiles", params={"type": "SYSTEM_DEFINED"})).json()
    assert [profile["inferenceProfileId"] for profile in listed["inferenceProfileSummaries"]] == [BEDROCK_MODEL]
