"""Logs: one JSON object a line on stdout, one line per closed request; no secret, no prompt.

structlog writes them; the standard library's loggers (uvicorn's) pass through the same door.
A redaction of the finished line is a second net: nothing should reach it, and what does is masked.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO, TextIO
from urllib.parse import quote

import msgspec
import structlog

from app.core.clock import format_time, now
from app.core.money import COST_ALARM_PICODOLLARS, format_usd
from app.core.records import Admitted, Cost, Intent, Settlement

REDACTED = "«redacted»".encode()

# A shorter text would be masked where it is no secret.
MASKED_CHARACTERS_MIN = 8

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_TEAM_KEY = re.compile(rb"irg_[0-9a-hjkmnp-tv-z]{20,}")

Event = structlog.typing.EventDict


class _Lines:
    """Where rendered lines go: one write and one flush each. A line that cannot be written is lost, no more.

    A full disk or a closed pipe must neither end a relay nor keep a cost from being settled.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bytes: BinaryIO | None = getattr(out, "buffer", None)  # UTF-8 whatever the locale says

    def write(self, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._bytes is not None:
                self._bytes.write(line)
                self._bytes.flush()
            else:
                self._out.write(line.decode())
                self._out.flush()

    debug = info = warning = error = critical = msg = write


class _Door(logging.Handler):
    """The standard library's records become lines of the same kind."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(source=record.name)
        level = logging.getLevelName(record.levelno).lower()
        try:
            event = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit their text
            event = str(record.msg)
        getattr(log, level if level in _LEVELS else "error")(event, exc_info=record.exc_info)


def configure(level: str, *, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Sets logging up for a process. `secrets` never appear in a line, whoever logs them."""
    structlog.configure(
        processors=[_stamp, structlog.processors.format_exc_info, Rendering(secrets)],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    lines = _Lines(stream or sys.stdout)
    global _requests  # noqa: PLW0603 - bound once here, or every request's line would be bound anew
    _requests = structlog.get_logger().bind()
    root = logging.getLogger()
    root.handlers[:] = [_Door()]
    root.setLevel(max(_LEVELS[level], logging.INFO))
    for noisy in ("uvicorn.access", "httpx", "httpcore", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A logger whose lines carry `source: name`; takes effect of `configure` whenever that was called."""
    return structlog.get_logger(source=name)


_requests: Any = structlog.get_logger()


def log_request(intent: Intent, admitted: Admitted, settlement: Settlement) -> None:
    """The line of a closed request: money as exact decimal text, unknown as null with its reason."""
    reading, tokens = settlement.reading, settlement.reading.usage
    _requests.info(
        "request",
        request_id=intent.request_id,
        key=admitted.key_name,
        key_id=intent.key_id,
        team=admitted.team,
        model=intent.model,
        model_answered=reading.model_answered,
        stream=intent.stream,
        status=settlement.status,
        outcome=settlement.outcome.value,
        state=settlement.state.value,
        true_cost=_money(reading.true_cost),
        charged=_money(reading.charged),
        charged_derived=reading.charged_derived,
        charge_mismatch=reading.charge_mismatch,
        unknown_reason=settlement.unknown_reason,
        input_tokens=tokens.input_tokens,
        cached_tokens=tokens.cached_tokens,
        output_tokens=tokens.output_tokens,
        reasoning_tokens=tokens.reasoning_tokens,
        total_tokens=tokens.total_tokens,
        response_id=reading.response_id,
        upstream_request_id=settlement.upstream_request_id,
        sdk_retry=intent.sdk_retry,
        ttfb_ms=settlement.ttfb_ms,
        duration_ms=settlement.duration_ms,
    )
    costs = [cost for cost in (reading.true_cost, reading.charged) if cost is not None]
    if any(cost.picodollars > COST_ALARM_PICODOLLARS for cost in costs):
        _requests.warning("cost_above_ceiling", request_id=intent.request_id, key=admitted.key_name, model=intent.model)


class Rendering:
    """An event as one line of JSON, and in it configured secrets and anything like a team key masked."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= MASKED_CHARACTERS_MIN}
        forms = {form for secret in known for form in (secret, quote(secret, safe=""), _in_json(secret))}
        self._secrets = tuple(form.encode() for form in sorted(forms, key=len, reverse=True))

    def __call__(self, _logger: Any, _method: str, event: Event) -> tuple[tuple[bytes], dict[str, Any]]:
        line = _to_json(event)
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, REDACTED)
        if b"irg_" in line:
            line = _TEAM_KEY.sub(REDACTED, line)
        return (line + b"\n",), {}


def _to_json(event: Event) -> bytes:
    """One line, whatever an event holds: half a surrogate pair or a number of forty digits must not lose it."""
    try:
        return msgspec.json.encode(event, enc_hook=str)
    except (msgspec.MsgspecError, ValueError, OverflowError, TypeError):
        return json.dumps(event, default=str).encode()


def _in_json(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]


def _stamp(_logger: Any, method: str, event: Event) -> Event:
    return {"at": format_time(now()), "level": method, "event": event.pop("event", None), **event}


def _money(cost: Cost | None) -> str | None:
    return format_usd(cost.picodollars) if cost is not None else None
