"""The reference page of all settings, made of the table that services read: ``python -m pto_runtime.settings_page``.

Imports siblings only. Invariant: the same table gives the same page.
"""

import sys

from pto_runtime.variables import SETTINGS, Setting

HEAD = """# Settings of services

Made by `make settings` of the table in `pto_runtime.variables`; a test fails when it is stale. Every service reads its
settings from its environment, checks all of them, and starts only if all are good. The command line reads those about
the broker and the account. What `docker compose` can be told is in [.env.example](../../.env.example).

| Variable | Default | Meaning |
|---|---|---|
"""
TAIL = """
Read where they are used:

| Variable | Read by | Meaning |
|---|---|---|
| `PTO_SANDBOX_READ` | dispatchers | Further folders (`A:B`) that a [sandbox](sandbox.md) shows read-only. |
| `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | all | Where [traces](../howto/observe.md) go. |
| `ANTHROPIC_*`, `AWS_*` | planner, dispatchers | [Keys of models](../howto/real-agents.md); no run sees them. |
| `PTO_RUN`, `PTO_TASK`, `PTO_ATTEMPT`, `PTO_SLOT` | tasks | Given to each attempt: what it is part of. |
"""


def settings_page() -> str:
    """The text of docs/reference/settings.md."""
    return HEAD + "".join(_row(setting) for setting in SETTINGS.values()) + TAIL


def _row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else ""
    secret = " A secret: a file (`PTO_CREDS`) is better." if setting.is_secret else ""
    return f"| `{setting.name}` | {default} | {setting.meaning}{secret} |\n".replace("|  |", "| |")


if __name__ == "__main__":
    sys.stdout.write(settings_page())
