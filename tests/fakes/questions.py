"""What the tests of the fake ask: small scenarios, the clients that play them, one question."""

from typing import Any

import anthropic

from .messages_api import FakeMessagesApi

MODEL = "claude-sonnet-5-5"
BEDROCK_MODEL = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"
KEY = "sk-canary-7f3a"
ACCESS_KEY = "AKIACANARY7F3A"
ASK: dict[str, Any] = {"max_tokens": 1000, "messages": [{"role": "user", "content": "Build a calculator"}]}
HELLO: dict[str, Any] = {"rules": [{"answer": {"text": "Hello"}}]}
WRITE_TOOL: dict[str, Any] = {
    "name": "write_file",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}},
}
AT_ONCE = {"retry-after-ms": "5"}
"""Headers by which a client does not wait between its attempts."""


def asking(api: FakeMessagesApi, retries: int = 0) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key=KEY, base_url=api.url, max_retries=retries)


def asking_bedrock(api: FakeMessagesApi, retries: int = 0) -> anthropic.AsyncAnthropicBedrock:
    return anthropic.AsyncAnthropicBedrock(
        aws_access_key=ACCESS_KEY,
        aws_secret_key="secret",
        aws_region="eu-central-1",
        base_url=api.url,
        max_retries=retries,
    )
