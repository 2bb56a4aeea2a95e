"""The lines of closed requests: the one kind that each request pays for, so it takes the short way.

Through structlog's processors a line costs 20 µs, in this way 3 (`timeit`). Made one by one between other work, lines
took a request 10 of 131 µs (`perf`, Python 3.13, no ledger, 64 connections); so they wait for each other, and many are
made together (`lines`). Called by `app.telemetry` only.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable

import msgspec

from app.core.money import COST_ALARM_PICODOLLARS, format_usd
from app.core.records import Admitted, Cost, Intent, Settlement
from app.telemetry.lines import Lines
from app.telemetry.loggers import Logger
from app.telemetry.rendering import Rendering, time_text


class _RequestLine(msgspec.Struct):
    """The line of a closed request, member by member: money as exact decimal text, unknown as null with its reason."""

    at: str
    level: str
    event: str
    request_id: str
    key: str
    key_id: str
    team: str | None
    model: str
    model_answered: str | None
    stream: bool
    status: int | None
    outcome: str
    state: str
    true_cost: str | None
    charged: str | None
    charged_derived: bool
    charge_mismatch: bool
    unknown_reason: str | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    response_id: str | None
    upstream_request_id: str | None
    sdk_retry: int
    ttfb_ms: int | None
    duration_ms: int


_MEMBERS = [name for name in _RequestLine.__struct_fields__ if name not in ("at", "level")]

# When a request was closed, in ns since 1970, and what its line is made of.
_Closed = tuple[int, Intent, Admitted, Settlement]


class _Requests:
    """Where nobody configured anything, structlog writes the lines."""

    def __init__(self) -> None:
        self._lines: Lines | None = None
        self._render: Callable[[list[_Closed]], bytes] = lambda _: b""
        self._enabled = True

    def lead_to(self, lines: Lines, rendering: Rendering, *, enabled: bool) -> None:
        self.flush()
        self._lines, self._enabled = lines, enabled
        self._render = lambda closed: rendering.lines(map(_line, closed))

    def write(self, closed: _Closed) -> None:
        if self._lines is None:
            line = _line(closed)
            Logger().info(**{name: getattr(line, name) for name in _MEMBERS})
        elif self._enabled:
            self._lines.write_soon(closed, self._render)

    def flush(self) -> None:
        if self._lines is not None:
            self._lines.flush()


_requests = _Requests()
atexit.register(_requests.flush)
lead_to = _requests.lead_to


def log_request(intent: Intent, admitted: Admitted, settlement: Settlement) -> None:
    """Tells of a closed request, and of a cost that is more than any should be."""
    _requests.write((time.time_ns(), intent, admitted, settlement))
    if _is_alarming(settlement.reading.true_cost) or _is_alarming(settlement.reading.charged):
        Logger().warning("cost_above_ceiling", request_id=intent.request_id, key=admitted.key_name, model=intent.model)


def _is_alarming(cost: Cost | None) -> bool:
    return cost is not None and cost.picodollars > COST_ALARM_PICODOLLARS


def _line(closed: _Closed) -> _RequestLine:
    at_ns, intent, admitted, settlement = closed
    reading, tokens = settlement.reading, settlement.reading.usage
    true, charged = reading.true_cost, reading.charged
    return _RequestLine(
        time_text(at_ns),
        "info",
        "request",
        intent.request_id,
        admitted.key_name,
        intent.key_id,
        admitted.team,
        intent.model,
        reading.model_answered,
        intent.stream,
        settlement.status,
        settlement.outcome,
        settlement.state,
        format_usd(true.picodollars) if true is not None else None,
        format_usd(charged.picodollars) if charged is not None else None,
        reading.charged_derived,
        reading.charge_mismatch,
        settlement.unknown_reason,
        tokens.input_tokens,
        tokens.cached_tokens,
        tokens.output_tokens,
        tokens.reasoning_tokens,
        tokens.total_tokens,
        reading.response_id,
        settlement.upstream_request_id,
        intent.sdk_retry,
        settlement.ttfb_ms,
        settlement.duration_ms,
    )
