"""Logs of the services: JSON lines for machines or plain lines for people, on standard error or in a file.

Imports structlog, without rich, which structlog would read for tracebacks in colour; these logs have none, and it costs
more than structlog itself. Invariant: a log line carries ids, never file contents, environment values or secrets.
"""

import logging
import sys
from typing import Any, Literal, TextIO

_modules: dict[str, Any] = sys.modules
_has_rich = "rich" in _modules
_modules.setdefault("rich", None)
import structlog  # noqa: E402 - while rich cannot be found

if not _has_rich:
    del _modules["rich"]

bind_contextvars = structlog.contextvars.bind_contextvars
"""Fields that all log lines of this process carry from now on."""
get_logger = structlog.get_logger
"""A logger; imported from here, so that structlog is read in one place."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(
    log_format: Literal["json", "plain"] | str, level: str = "info", *, stream: TextIO | None = None
) -> None:
    """Set up structlog for this process; what libraries log from ``warning`` on takes the same way."""
    out = stream or sys.stderr
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


class _Forward(logging.Handler):
    """Hands the lines of libraries that use ``logging`` to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None
        )
