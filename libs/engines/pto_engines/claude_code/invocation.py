"""How the program is called: arguments, settings file, environment. Pure, but for the credentials it is given.

Imports siblings. Invariants: no secret and no text of the task is an argument; the environment holds what is listed
here and nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pto_engines.models.credentials import AwsKeys
from pto_engines.models.settings import ModelSettings

PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""Of the host's environment: where programs and certificates are, and how to get out. None of them is a secret of
ours.
"""
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""It asks nobody but the model: no telemetry, no updates, no look-up of roles (credentials are given)."""
MAX_RETRIES = "4"
"""Of the program's own: it would also retry refused credentials ten times."""
TOOLS = "Write,Edit,Read,Glob,Grep"
"""No shell: its shell would see the credentials, and nothing confines it. The checks are run by the harness."""
FAMILIES = ("OPUS", "SONNET", "HAIKU")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the program."""

    system: str
    max_turns: int
    max_cost_usd: float | None = None
    tools: str = TOOLS
    schema: str = ""
    """JSON schema of a structured answer."""


def arguments(program: Path, call: Call, settings_file: Path) -> list[str]:
    """The argument vector. What is asked comes by standard input."""
    found = [
        str(program),
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--restricted",
        "--tools",
        call.tools,
        "--permission-mode",
        "dontAsk",
        "--settings",
        str(settings_file),
        "--setting-sources",
        "",
        "--strict-mcp-config",
        "--no-session-persistence",
        "--max-turns",
        str(call.max_turns),
        "--append-system-prompt",
        call.system,
    ]
    if call.max_cost_usd is not None:
        found += ["--max-budget-usd", f"{call.max_cost_usd:.6f}"]
    if call.schema:
        found += ["--json-schema", call.schema]
    return found


def permissions(writes: Sequence[str]) -> str:
    """The settings file: what may be read and written, by the program's own rules below its working directory."""
    scopes = [f"./{_rule(glob)}" for glob in writes] or ["./**"]
    rules = {"allow": ["Read(./**)", *(f"Edit({scope})" for scope in scopes)], "deny": ["Read(//proc/**)"]}
    return json.dumps({"permissions": rules}, ensure_ascii=False)


def _rule(glob: str) -> str:
    """A glob of ours in the program's words, which are those of ignore files: ``docs/`` means all below it here."""
    text = glob.removeprefix("./")
    return f"{text}**" if text.endswith("/") else text


def environment(
    settings: ModelSettings, host: Mapping[str, str], home: Path, keys: AwsKeys | None = None
) -> dict[str, str]:
    """The program's whole environment. ``keys`` are for Bedrock without a bearer token."""
    found = {name: host[name] for name in PASSED_ON if name in host}
    found |= {"HOME": str(home), "CLAUDE_CONFIG_DIR": str(home), "CLAUDE_CODE_MAX_RETRIES": MAX_RETRIES, **QUIET}
    found["ANTHROPIC_MODEL"] = settings.model
    # Without these, helpers of the program would work with models that nobody agreed to pay for.
    found |= {f"ANTHROPIC_DEFAULT_{family}_MODEL": settings.model for family in FAMILIES}
    if settings.provider == "anthropic":
        found["ANTHROPIC_API_KEY"] = settings.api_key
        return found | ({"ANTHROPIC_BASE_URL": settings.base_url} if settings.base_url else {})
    found |= {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": settings.region}
    if settings.base_url:
        found["ANTHROPIC_BEDROCK_BASE_URL"] = settings.base_url
    if settings.api_key:
        return found | {"AWS_BEARER_TOKEN_BEDROCK": settings.api_key}
    return found | (keys.variables() if keys else {})
