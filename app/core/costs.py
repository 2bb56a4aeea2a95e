"""Reads costs, token counts and identity out of one decoded document of an answer.

Lives here: which JSON paths count (upstream.md: `usage.cost` is the true cost, the top-level `cost`
what was charged; in streams under `response`), and what two costs mean together (decisions 15 and
16). Must not live here: framing, encodings, chunks. Called by the tap, for a terminal event and for
a whole body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from app.core.money import BadCost, charged_from, parse_cost
from app.core.pick import Bytes, Malformed, Members, Shape, pick
from app.core.records import Cost, Reading, TokenUsage

TOKEN_TEXT_MAX = 200
NAME_TEXT_MAX = 512  # a longer id or model name is not one

_USAGE: Shape = {
    b"cost": None,
    b"input_tokens": None,
    b"output_tokens": None,
    b"total_tokens": None,
    b"input_tokens_details": {b"cached_tokens": None},
    b"output_tokens_details": {b"reasoning_tokens": None},
    b"prompt_tokens": None,
    b"completion_tokens": None,
    b"prompt_tokens_details": {b"cached_tokens": None},
    b"completion_tokens_details": {b"reasoning_tokens": None},
}
_RESPONSE: Shape = {
    b"id": None,
    b"model": None,
    b"status": None,
    b"error": None,
    b"usage": _USAGE,
    b"cost": None,
}
_BODY: Shape = {**_RESPONSE, b"output": None, b"choices": None, b"data": None}
_EVENT: Shape = {b"type": None, b"error": None, b"response": _RESPONSE, b"usage": _USAGE, b"cost": None}

_FALSY = frozenset({b"", b"null", b"false", b"0", b'""', b"{}", b"[]"})
_COUNT = re.compile(rb"0|[1-9][0-9]{0,17}")  # 18 digits fit every database's integer


@dataclass(frozen=True, slots=True)
class EventReading:
    """What one event of a stream says."""

    type: str | None
    failed: bool  # it tells of an error
    reading: Reading


@dataclass(frozen=True, slots=True)
class _Told:
    """One place where a cost may stand: the cost, or the reason why there is none, with the token if it had one."""

    cost: Cost | None = None
    reason: str | None = None
    token: str | None = None

    @property
    def unusable(self) -> bool:
        """Something stands there that is no cost (absent and null are not that)."""
        return self.reason not in (None, "no_cost", "cost_null")


_NOT_TOLD = _Told(reason="no_cost")
_DUPLICATE = _Told(reason="duplicate_cost")


def read_body(text: Bytes) -> Reading:
    """The reading of a whole JSON body. Raises: `Malformed`."""
    body = pick(text, _BODY)
    error = _truthy(body, b"error") and not any(_present(body, name) for name in (b"output", b"choices", b"data"))
    reading = _read(body, _told(body, b"cost"))
    return replace(reading, complete=True, failed=error or reading.failed, error_body=error)


def read_event(text: Bytes) -> EventReading:
    """The reading of the data of one event; costs count wherever an event may state them. Raises: `Malformed`."""
    event = pick(text, _EVENT)
    kind = event.string(b"type")
    response = event.object(b"response")
    if b"response" in event.repeated:
        outer = Reading(unknown_reason=_DUPLICATE.reason)
    else:
        charged = _either(_told(response, b"cost"), _told(event, b"cost"))
        outer = _read(response if b"response" in event.objects else event, *charged)
    failed = outer.failed or kind in ("error", "response.failed") or _truthy(event, b"error")
    return EventReading(kind, failed, replace(outer, failed=failed))


def _read(response: Members, charged: _Told, charges_differ: bool = False) -> Reading:
    usage = response.object(b"usage")
    true = _DUPLICATE if b"usage" in response.repeated else _told(usage, b"cost")
    reading = _weigh(true, charged)
    return replace(
        reading,
        charge_mismatch=reading.charge_mismatch or charges_differ,
        usage=_token_usage(usage),
        response_id=_name(response, b"id"),
        model_answered=_name(response, b"model"),
        failed=response.string(b"status") == "failed",
    )


def _told(members: Members, name: bytes) -> _Told:
    if name in members.repeated:
        return _DUPLICATE
    if name in members.objects:
        return _Told(reason="cost_not_a_number")
    token = members.texts.get(name)
    if token is None:
        return _NOT_TOLD
    if token == b"null":
        return _Told(reason="cost_null")
    text = token.decode("utf-8", "replace")
    try:
        return _Told(cost=parse_cost(text))
    except BadCost as bad:
        return _Told(reason=f"cost_{bad.reason}", token=text[:TOKEN_TEXT_MAX])


def _either(inner: _Told, outer: _Told) -> tuple[_Told, bool]:
    """The charge of a stream may stand in two places; if they differ, the larger one and an alarm."""
    if inner.cost is None or outer.cost is None:
        told = next((told for told in (inner, outer) if told.cost), inner if inner.reason != "no_cost" else outer)
        return told, told.cost is not None and (inner.unusable or outer.unusable)
    larger = max(inner, outer, key=lambda told: told.cost.picodollars if told.cost else 0)
    return larger, inner.cost.picodollars != outer.cost.picodollars


def _weigh(true: _Told, charged: _Told) -> Reading:
    """What both costs say together (decision 16)."""
    if true.cost is None:
        reason = charged.reason if true.reason == "no_cost" and charged.cost is None else true.reason
        return Reading(
            charged=charged.cost,
            true_cost_token=true.token,
            charged_token=charged.token,
            unknown_reason=reason,
        )
    ceiling = charged_from(true.cost)
    if charged.cost is None:
        return Reading(
            true_cost=true.cost,
            charged=ceiling,
            charged_token=charged.token,
            charged_derived=True,
            charge_mismatch=charged.unusable,
        )
    mismatch = charged.cost.picodollars != ceiling.picodollars
    return Reading(true_cost=true.cost, charged=charged.cost, charge_mismatch=mismatch)


def _token_usage(usage: Members) -> TokenUsage:
    inputs = _count(usage, b"input_tokens"), _count(usage, b"prompt_tokens")
    outputs = _count(usage, b"output_tokens"), _count(usage, b"completion_tokens")
    cached = (
        _count(usage.object(b"input_tokens_details"), b"cached_tokens"),
        _count(usage.object(b"prompt_tokens_details"), b"cached_tokens"),
    )
    reasoning = (
        _count(usage.object(b"output_tokens_details"), b"reasoning_tokens"),
        _count(usage.object(b"completion_tokens_details"), b"reasoning_tokens"),
    )
    return TokenUsage(
        input_tokens=_first(inputs),
        cached_tokens=_first(cached),
        output_tokens=_first(outputs),
        reasoning_tokens=_first(reasoning),
        total_tokens=_count(usage, b"total_tokens"),
    )


def _first(counts: tuple[int | None, ...]) -> int | None:
    return next((count for count in counts if count is not None), None)


def _count(members: Members, name: bytes) -> int | None:
    text = members.texts.get(name)
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def _name(members: Members, name: bytes) -> str | None:
    text = members.string(name)
    return text if text and len(text) <= NAME_TEXT_MAX else None


def _present(members: Members, name: bytes) -> bool:
    return members.texts.get(name, b"null") != b"null"


def _truthy(members: Members, name: bytes) -> bool:
    return members.texts.get(name, b"") not in _FALSY


__all__ = ["EventReading", "Malformed", "read_body", "read_event"]
