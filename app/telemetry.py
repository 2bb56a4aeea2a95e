"""Logs: one JSON object a line on stdout, one line per closed request; no secret, no prompt.

structlog writes them; the standard library's loggers (uvicorn's) pass through the same door.
A redaction at the end is a second net: nothing should reach it, and what does is masked.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import msgspec
import structlog

from app.core.money import format_usd
from app.core.records import Admitted, Cost, Intent, Settlement

REDACTED = "«redacted»"

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_TEAM_KEY = re.compile(r"irg_[0-9a-hjkmnp-tv-z]{20,}")

Event = structlog.typing.EventDict


def configure(level: str, *, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Sets logging up for a process. `secrets` never appear in a line, whoever logs them."""
    out = stream or sys.stdout
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    render: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        Redaction(secrets),
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    door = logging.StreamHandler(out)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    door.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_named, remove, *render])
    )
    root = logging.getLogger()
    root.handlers[:] = [door]
    root.setLevel(max(_LEVELS[level], logging.INFO))
    for noisy in ("uvicorn.access", "httpx", "httpcore", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A logger whose lines carry `source: name`; takes effect of `configure` whenever that was called."""
    return structlog.get_logger(source=name)


_requests = structlog.get_logger()


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


class Redaction:
    """Masks configured secrets and anything that looks like a team key, in every text of a line."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= 8}, key=len, reverse=True)
        self._secrets = tuple(known)

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = self._clean(value)
        return event

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return _TEAM_KEY.sub(REDACTED, text) if "irg_" in text else text


def _money(cost: Cost | None) -> str | None:
    return format_usd(cost.picodollars) if cost is not None else None


def _named(_logger: Any, _method: str, event: Event) -> Event:
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event["source"] = record.name
    return event


def _to_json(event: Event, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
