"""Logs: one JSON object a line on stdout, one line per closed request; no secret, no prompt.

structlog writes them (`loggers`), but for those of requests (`requests`); the standard library's loggers (uvicorn's)
pass through the same door.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable
from types import ModuleType
from typing import Any, TextIO

from app.telemetry.lines import Lines
from app.telemetry.loggers import Logger, choose, loaded
from app.telemetry.rendering import Event, Rendering, time_text
from app.telemetry.requests import lead_to, log_request

__all__ = ["configure", "get_logger", "log_request"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Door(logging.Handler):
    """The standard library's records become lines of the same kind."""

    def emit(self, record: logging.LogRecord) -> None:
        log = Logger(source=record.name)
        level = logging.getLevelName(record.levelno).lower()
        try:
            event = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit their text
            event = str(record.msg)
        getattr(log, level if level in _LEVELS else "error")(event, exc_info=record.exc_info)


def configure(
    level: str, *, secrets: Iterable[str] = (), stream: TextIO | None = None, mostly_silent: bool = False
) -> None:
    """Sets logging up for a process. `secrets` never appear in a line, whoever logs them.

    `mostly_silent`: structlog is not loaded before there is something to say.
    """
    rendering, lines = Rendering(secrets), Lines(stream or sys.stdout)

    def choice(structlog: ModuleType) -> dict[str, Any]:
        return {
            "processors": [_stamp, structlog.processors.format_exc_info, rendering],
            "wrapper_class": structlog.make_filtering_bound_logger(_LEVELS[level]),
            "logger_factory": lambda *_: lines,
            "cache_logger_on_first_use": False,
        }

    choose(choice)
    if not mostly_silent:
        loaded()
    lead_to(lines, rendering, enabled=_LEVELS[level] <= logging.INFO)
    root = logging.getLogger()
    root.handlers[:] = [_Door()]
    root.setLevel(max(_LEVELS[level], logging.INFO))
    for noisy in ("uvicorn.access", "httpx", "httpcore", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A logger whose lines carry `source: name`; takes effect of `configure` whenever that was called."""
    return Logger(source=name)


def _stamp(_logger: Any, method: str, event: Event) -> Event:
    return {"at": time_text(time.time_ns()), "level": method, "event": event.pop("event", None), **event}
