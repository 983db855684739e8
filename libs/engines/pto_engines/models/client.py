"""The client of the anthropic package, for Anthropic and for Bedrock. The only module that imports that package.

It imports it when the first client is opened, because that costs a second and 60 MB. Invariant: whatever goes wrong
leaves as ``Failed`` with a ``Fault``; the package itself retries nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from pto_engines.models.credentials import check_credentials, fault_of_credentials
from pto_engines.models.fault import Fault
from pto_engines.models.limits import CONNECT_S, SILENCE_S
from pto_engines.models.question import Block, Message, Question, Reply
from pto_proto.results import Usage

if TYPE_CHECKING:
    import anthropic

    from pto_engines.models.settings import ModelSettings

MISSING = "the api engine and Bedrock need the extra 'anthropic': pip install 'parallel-task-orchestrator[anthropic]'"
ANTHROPIC = "https://api.anthropic.com"
BEDROCK = "https://bedrock-runtime.{region}.amazonaws.com"
"""Given in full: left out, the package would look into the environment, where an empty variable is an address."""
EPHEMERAL = {"type": "ephemeral"}
CONSTRAINTS = ("output_config", "strict")
"""What some models and gateways do not take: answers and tool calls that the API binds to a schema."""
IN_WORDS = "\n\nAnswer with JSON alone, without any other text, by this schema:\n"


class Failed(Exception):
    """A try failed; ``fault`` says how."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class ModelClient:
    """Asks one model. Used from one event loop."""

    def __init__(self, settings: ModelSettings) -> None:
        """Raise Failed when the settings cannot work, before anything is sent."""
        self._settings = settings
        self._is_plain = False
        """Whether it was refused to bind answers to schemas; then they are asked for in words."""
        fault = check_credentials(settings)
        if fault is not None:
            raise Failed(fault)
        try:
            self._client = _open(settings)
        except ValueError as error:  # the package's own check of what is given and what is in the environment
            raise Failed(Fault(kind="settings", message=str(error))) from error

    async def ask(self, question: Question) -> Reply:
        """One try at one question, streamed. Raises Failed."""
        try:
            return await self._ask(question)
        except Failed as failed:
            fault = failed.fault
            if self._is_plain or fault.status != 400 or not any(word in fault.message for word in CONSTRAINTS):
                raise
        self._is_plain = True
        return await self._ask(question)

    async def _ask(self, question: Question) -> Reply:
        parameters = _parameters(self._settings.model, _in_words(question) if self._is_plain else question)
        try:
            async with self._client.messages.stream(**parameters) as stream:
                message = await stream.get_final_message()
        except Exception as error:
            fault = fault_of(error)
            if fault is None:
                raise
            raise Failed(msgspec.structs.replace(fault, profile=self._settings.aws_profile)) from error
        return _reply(message)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()


def _open(settings: ModelSettings) -> anthropic.AsyncAnthropic | anthropic.AsyncAnthropicBedrock:
    try:
        import anthropic
        import httpx2
    except ImportError as error:
        raise Failed(Fault(kind="settings", message=MISSING)) from error
    timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
    limits = httpx2.Limits(max_connections=settings.at_once, max_keepalive_connections=settings.at_once)
    http = anthropic.DefaultAsyncHttpxClient(timeout=timeout, limits=limits)
    if settings.provider == "anthropic":
        return anthropic.AsyncAnthropic(
            api_key=settings.api_key,
            base_url=settings.base_url or ANTHROPIC,
            max_retries=0,
            timeout=timeout,
            http_client=http,
        )
    return anthropic.AsyncAnthropicBedrock(
        api_key=settings.api_key or None,
        aws_region=settings.region,
        aws_profile=settings.aws_profile or None,
        aws_access_key=settings.aws_access_key_id or None,
        aws_secret_key=settings.aws_secret_access_key or None,
        aws_session_token=settings.aws_session_token or None,
        base_url=settings.base_url or BEDROCK.format(region=settings.region),
        max_retries=0,
        timeout=timeout,
        http_client=http,
    )


def _parameters(model: str, question: Question) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": model,
        "max_tokens": question.max_tokens,
        "system": [{"type": "text", "text": question.system, "cache_control": EPHEMERAL}],
        "messages": _cached(question.messages),
    }
    if question.tools:
        found["tools"] = question.tools
    if question.schema is not None:
        found["output_config"] = {"format": {"type": "json_schema", "schema": question.schema}}
    return found


def _in_words(question: Question) -> Question:
    """The same question for a model that is not bound by the API."""
    tools = [{name: value for name, value in tool.items() if name != "strict"} for tool in question.tools]
    wanted = "" if question.schema is None else IN_WORDS + json.dumps(question.schema)
    return msgspec.structs.replace(question, tools=tools, schema=None, system=question.system + wanted)


def _cached(messages: list[Message]) -> list[Message]:
    """The messages with a mark at the end, up to which the API keeps them for the next turn."""
    *earlier, last = messages
    *blocks, end = last["content"]
    return [*earlier, {**last, "content": [*blocks, {**end, "cache_control": EPHEMERAL}]}]


def _reply(message: Any) -> Reply:
    """Raise Failed for what only looks like an answer."""
    if message.stop_reason is None and message.content is not None:
        raise Failed(Fault(kind="cut", message="the stream ended before the answer did"))
    if message.content is None or message.usage is None:
        raise Failed(Fault(kind="malformed", message="neither content nor usage is in it"))
    usage = message.usage
    return Reply(
        blocks=[block for block in map(_block, message.content) if block is not None],
        stop_reason=str(message.stop_reason),
        usage=Usage(
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cache_read_tokens=usage.cache_read_input_tokens or 0,
            cache_write_tokens=usage.cache_creation_input_tokens or 0,
        ),
        model=str(message.model),
    )


def _block(block: Any) -> Block | None:
    if block.type == "text":
        return {"type": "text", "text": block.text} if block.text else None
    if block.type == "tool_use":
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input}
    if block.type == "thinking":
        return {"type": "thinking", "thinking": block.thinking, "signature": block.signature}
    if block.type == "redacted_thinking":
        return {"type": "redacted_thinking", "data": block.data}
    return None


def fault_of(error: Exception) -> Fault | None:
    """The error in plain data; None for one that is nobody's but ours."""
    import anthropic
    import httpx2

    if isinstance(error, Failed):
        return error.fault
    if isinstance(error, anthropic.APIStatusError):
        return Fault(
            kind="answer",
            status=error.status_code,
            type=str(error.type or _amazon_type(error.response.headers)),
            message=str(error.api_message or _amazon_message(error.body) or error.message),
            retry_after_s=_retry_after_s(error.response.headers),
        )
    if isinstance(error, anthropic.APITimeoutError | httpx2.ReadTimeout | httpx2.WriteTimeout):
        return Fault(kind="silent")
    if isinstance(error, anthropic.APIConnectionError):
        # Who cannot even connect is cut off from the network; who is cut after that was talking to the API.
        reached = isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError)
        return Fault(kind="cut" if reached else "unreachable", message=str(error.__cause__ or error))
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        return Fault(kind="unreachable", message=str(error))
    if isinstance(error, httpx2.HTTPError):
        return Fault(kind="cut", message=str(error))
    if isinstance(error, ValueError | anthropic.APIResponseValidationError):
        return Fault(kind="malformed", message=str(error))
    return fault_of_credentials(error)


def _amazon_type(headers: Any) -> str:
    return str(headers.get("x-amzn-errortype", "")).split(":")[0]


def _amazon_message(body: object) -> str:
    return str(body.get("message") or body.get("Message") or "") if isinstance(body, dict) else ""


def _retry_after_s(headers: Any) -> float | None:
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
    return None
