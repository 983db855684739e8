"""The fake Messages API: routes of both APIs on one loopback address, playing one scenario.

May import aiohttp. Invariant, the order of each request: record it, refuse what is unauthorised or malformed, let a fault have
it, else answer by rule. So a request that is wrong in itself never uses up a fault.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from typing import Any

from aiohttp import web

from .complaint import complaint
from .delivery import Delivery, Pace
from .dialect import Anthropic, Bedrock, Dialect, Problem
from .message import cut_off, input_tokens, message_of, refused
from .models import model_info, model_page, profile_summaries
from .question import Question
from .record import RecordedRequest, Records, has_credential
from .scenario import CutFault, Endpoint, Fault, MaxTokensFault, RefusalFault, Scenario, SlowFault, StatusFault
from .script import Script

LOOPBACK = "127.0.0.1"
BACKLOG = 512
"""Connections that may wait: a burst of agents starts at once."""
MAX_REQUEST_BYTES = 64 * 2**20
STOP_TIMEOUT_S = 0.1
"""Streams that are slow by script are not waited for at the end."""


class FakeMessagesApi:
    """A running server. `url` is what clients get as base URL; `requests` is what they sent so far."""

    def __init__(self, scenario: Scenario, now: Callable[[], float] = time.monotonic) -> None:
        self._scenario = scenario
        self._script = Script(scenario, now)
        self._records = Records(scenario.keys)
        self._runner: web.AppRunner | None = None
        self.url = ""

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request, in the order of arrival."""
        return list(self._records.requests)

    @property
    def answered(self) -> list[RecordedRequest]:
        """Requests that a rule answered: the turns of the agents."""
        return [request for request in self._records.requests if request.rule is not None]

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, port, backlog=BACKLOG)
        await site.start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/messages", self._on_messages),
            web.post("/v1/messages/count_tokens", self._on_count_tokens),
            web.get("/v1/models", self._on_models),
            web.get("/v1/models/{model}", self._on_model),
            web.post("/model/{model}/invoke", self._on_invoke),
            web.post("/model/{model}/invoke-with-response-stream", self._on_invoke_stream),
            web.get("/inference-profiles", self._on_profiles),
            web.get("/_requests", self._on_requests),
            web.route("*", "/{rest:.*}", self._on_other),
        ]

    async def _on_messages(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, Anthropic(), "messages")

    async def _on_count_tokens(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, Anthropic(), "count_tokens")

    async def _on_models(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, Anthropic(), "models")

    async def _on_model(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, Anthropic(), "models", http.match_info["model"])

    async def _on_invoke(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, Bedrock(), "messages", http.match_info["model"])

    async def _on_invoke_stream(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, Bedrock(), "messages", http.match_info["model"], stream=True)

    async def _on_profiles(self, http: web.Request) -> web.StreamResponse:
        return await self._answer(http, Bedrock(), "models")

    async def _on_requests(self, _: web.Request) -> web.StreamResponse:
        """The record itself; asking for it is not recorded."""
        return web.json_response([asdict(request) for request in self._records.requests])

    async def _on_other(self, http: web.Request) -> web.StreamResponse:
        record = self._records.add(http.method, http.path_qs, http.headers, await _body(http))
        if http.method == "HEAD":  # clients try whether somebody is there
            return await Delivery(http, Anthropic(), record).value({})
        return await Delivery(http, Anthropic(), record).problem(Problem(404, f"no such endpoint: {http.path}"))

    async def _answer(
        self, http: web.Request, dialect: Dialect, endpoint: Endpoint, model: str = "", stream: bool = False
    ) -> web.StreamResponse:
        body = await _body(http)
        record = self._records.add(http.method, http.path_qs, http.headers, body)
        delivery = Delivery(http, dialect, record)
        try:
            if not isinstance(body, dict):
                raise Problem(400, "The request body is not valid JSON: an object is expected.")
            question = Question(
                endpoint=endpoint,
                api=dialect.api,
                model=model or str(body.get("model", "")),
                stream=stream or (dialect.api == "anthropic" and body.get("stream") is True),
                body=body,
                keys=record.keys,
            )
            record.model, record.stream, record.turn = question.model, question.stream, question.turn
            self._refuse(question, dialect, http)
            return await self._play(question, delivery)
        except Problem as problem:
            return await delivery.problem(problem)

    def _refuse(self, question: Question, dialect: Dialect, http: web.Request) -> None:
        """Raise `Problem` for what no scenario makes good: no credential, a malformed request, a model that does not exist."""
        scenario = self._scenario
        if scenario.require_key and not has_credential(http.headers):
            raise dialect.missing_key()
        if scenario.keys and not question.keys and (scenario.require_key or has_credential(http.headers)):
            raise dialect.wrong_key()
        if dialect.api == "anthropic" and "anthropic-version" not in http.headers:
            raise Problem(400, "anthropic-version: header is required")
        if question.endpoint != "models" and (wrong := complaint(question)):
            raise Problem(400, wrong)
        if question.model and scenario.models and question.model not in scenario.models:
            raise dialect.unknown_model(question.model)

    async def _play(self, question: Question, delivery: Delivery) -> web.StreamResponse:
        fault = self._script.fault(question)
        if fault is not None:
            delivery.record.fault = str(type(fault).__struct_config__.tag)
        if isinstance(fault, StatusFault):
            raise _problem_of(fault)
        if isinstance(fault, CutFault) and (fault.where == "before" or question.endpoint != "messages"):
            return delivery.cut()
        if question.endpoint != "messages":
            if isinstance(fault, SlowFault):
                await asyncio.sleep(fault.first_byte_s)
            return await delivery.value(self._fact(question, delivery))
        return await self._message(question, fault, delivery)

    async def _message(self, question: Question, fault: Fault | None, delivery: Delivery) -> web.StreamResponse:
        reply = self._script.reply(question)
        if reply is None:
            seen = f"model {question.model}, turn {question.turn}, last message {question.last_user[:200]!r}"
            raise Problem(400, f"no rule of the scenario matches this request ({seen}); add one, or otherwise")
        delivery.record.rule = reply.rule
        answer, message = reply.answer, message_of(reply.answer, question)
        if isinstance(fault, RefusalFault):
            message = refused(message, fault.text)
        elif isinstance(fault, MaxTokensFault):
            message = cut_off(message, fault.keep_chars)
        pace = Pace(answer.first_byte_s, answer.between_s, answer.chunk_chars)
        if isinstance(fault, SlowFault):
            pace = pace.slowed(fault)
        await asyncio.sleep(pace.first_byte_s)
        return await (delivery.stream(message, fault, pace) if question.stream else delivery.message(message, fault))

    def _fact(self, question: Question, delivery: Delivery) -> Any:
        if question.endpoint == "count_tokens":
            return {"input_tokens": input_tokens(question.body)}
        if question.api == "bedrock":
            return {"inferenceProfileSummaries": profile_summaries(self._scenario.models)}
        if question.model:
            return model_info(question.model)
        return model_page(self._scenario.models, delivery.http.query)


def _problem_of(fault: StatusFault) -> Problem:
    headers = dict(fault.headers)
    if fault.retry_after_s is not None:
        headers["retry-after"] = f"{fault.retry_after_s:g}"
    return Problem(
        fault.status, fault.message or f"scripted {fault.status}", fault.type, headers=tuple(headers.items())
    )


async def _body(http: web.Request) -> Any:
    raw = await http.read()
    if not raw:
        return {}
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")


@asynccontextmanager
async def serving(scenario: Scenario, port: int = 0) -> AsyncIterator[FakeMessagesApi]:
    """A server in this event loop."""
    api = FakeMessagesApi(scenario)
    await api.start(port)
    try:
        yield api
    finally:
        await api.stop()


@contextmanager
def serving_in_thread(scenario: Scenario) -> Iterator[FakeMessagesApi]:
    """A server in an event loop of its own, for callers that block theirs."""
    api = FakeMessagesApi(scenario)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake-messages-api")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(api.start(), loop).result()
        yield api
    finally:
        asyncio.run_coroutine_threadsafe(api.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
