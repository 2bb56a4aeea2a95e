"""Reads costs, token counts and identity out of one document of an answer.

Lives here: which JSON paths count (ImageRouter's page: `usage.cost` is the true cost, the top-level
`cost` what was charged; in streams under `response`), and what two costs mean together.
Must not live here: framing, encodings, chunks, JSON's grammar. Called by the tap, for events
and for a whole body.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

from app.core.document import Number, decode, is_repeated, object_in
from app.core.money import BadCost, charged_from, parse_cost
from app.core.outline import Bytes
from app.core.records import Cost, Reading, TokenUsage

TOKEN_TEXT_MAX = 200
NAME_TEXT_MAX = 512  # what is longer is no id and no model's name
MADE_MAX = 1000  # so many of what one answer made are noted

_Object = dict[str, Any]

# Of a response that is answered before it is made: `background: true`.
_STILL_RUNNING = ("queued", "in_progress")

_IDS = ("id", "container_id")
_OUTPUTS = ("output", "choices", "data")
COUNT_DIGITS_MAX = 18  # they fit every database's integer


class EventReading(NamedTuple):
    """What one event of a stream says."""

    type: str | None
    reading: Reading


class _Told(NamedTuple):
    """What stands at a place for a cost: the cost, or the reason why there is none and the token if there was one."""

    cost: Cost | None
    reason: str | None = None
    token: str | None = None

    @property
    def unusable(self) -> bool:
        """Something stands there that is no cost; absent and null are not that."""
        return self.reason not in (None, "no_cost", "cost_null")


_NOT_TOLD = _Told(None, "no_cost")
_NULL = _Told(None, "cost_null")
_DUPLICATE = _Told(None, "duplicate_cost")


def read_body(text: Bytes) -> Reading:
    """The reading of a whole JSON body. Raises: `Malformed`."""
    body = decode(text)
    error_body = _is_error(body.get("error")) and all(body.get(name) is None for name in _OUTPUTS)
    true, charged = _true_cost(body), _told(body, "cost")
    reading = _reading(body, true, charged, complete=True, failed=error_body, error_body=error_body)
    if not reading.cost_known and body.get("status") in _STILL_RUNNING:
        return replace(reading, unknown_reason="background")
    return reading


def read_event(text: Bytes) -> EventReading:
    """The reading of the data of one event, whatever its type. Raises: `Malformed`."""
    event = decode(text)
    kind = event["type"] if isinstance(event.get("type"), str) else None
    failed = kind in ("error", "response.failed") or _is_error(event.get("error"))
    response = object_in(event, "response") or event  # an error event may state its cost flatly
    if is_repeated(event, "response"):
        return EventReading(kind, _reading({}, _DUPLICATE, _DUPLICATE, failed=failed))
    charged, alarm = _told(event, "cost"), False
    if response is not event:
        charged, alarm = _either(_told(response, "cost"), charged)
    return EventReading(kind, _reading(response, _true_cost(response), charged, alarm=alarm, failed=failed))


def _reading(
    response: _Object,
    true: _Told,
    charged: _Told,
    *,
    failed: bool,
    alarm: bool = False,
    complete: bool = False,
    error_body: bool = False,
) -> Reading:
    """What both costs say together, and what else the response says."""
    ceiling = charged_from(true.cost) if true.cost else None
    return Reading(
        true_cost=true.cost,
        charged=charged.cost or ceiling,
        true_cost_token=true.token,
        charged_token=charged.token,
        charged_derived=ceiling is not None and charged.cost is None,
        charge_mismatch=alarm or _differs(charged, ceiling),
        unknown_reason=_unknown_reason(true, charged),
        usage=_token_usage(object_in(response, "usage")),
        response_id=_name(response, "id"),
        model_answered=_name(response, "model"),
        made=_made(response),
        complete=complete,
        failed=failed or response.get("status") == "failed",
        error_body=error_body,
    )


def _differs(charged: _Told, ceiling: Cost | None) -> bool:
    """The charge is not the one that the true cost makes."""
    if ceiling is None:
        return False
    return charged.cost.picodollars != ceiling.picodollars if charged.cost else charged.unusable


def _true_cost(response: _Object) -> _Told:
    return _DUPLICATE if is_repeated(response, "usage") else _told(object_in(response, "usage"), "cost")


def _told(members: _Object, name: str) -> _Told:
    if name not in members:
        return _NOT_TOLD
    if is_repeated(members, name):
        return _DUPLICATE
    value = members[name]
    if value is None:
        return _NULL
    if not isinstance(value, Number):
        return _Told(None, "cost_not_a_number", json.dumps(value)[:TOKEN_TEXT_MAX])
    try:
        return _Told(parse_cost(str(value)))  # a plain string: it goes on to the ledger
    except BadCost as bad:
        return _Told(None, f"cost_{bad.reason}", value[:TOKEN_TEXT_MAX])


def _either(inner: _Told, outer: _Told) -> tuple[_Told, bool]:
    """The charge of a stream may stand in two places; if they differ: the larger one, and an alarm."""
    if inner.cost and outer.cost:
        larger = max(inner, outer, key=lambda told: told.cost.picodollars if told.cost else 0)
        return larger, inner.cost.picodollars != outer.cost.picodollars
    if inner.cost or outer.cost:
        return (inner, outer.unusable) if inner.cost else (outer, inner.unusable)
    return (outer, False) if inner.reason == "no_cost" else (inner, False)


def _unknown_reason(true: _Told, charged: _Told) -> str | None:
    if true.reason == "no_cost" and charged.reason is not None:
        return charged.reason
    return true.reason


def _token_usage(usage: _Object) -> TokenUsage:
    """Counts by the names of the Responses API, else by those of chat completions."""
    input_details = object_in(usage, "input_tokens_details") or object_in(usage, "prompt_tokens_details")
    output_details = object_in(usage, "output_tokens_details") or object_in(usage, "completion_tokens_details")
    return TokenUsage(
        input_tokens=_count(usage, "input_tokens", "prompt_tokens"),
        cached_tokens=_count(input_details, "cached_tokens"),
        output_tokens=_count(usage, "output_tokens", "completion_tokens"),
        reasoning_tokens=_count(output_details, "reasoning_tokens"),
        total_tokens=_count(usage, "total_tokens"),
    )


def _count(members: _Object, *names: str) -> int | None:
    for name in names:
        value = members.get(name)
        if isinstance(value, Number) and value.isdigit() and len(value) <= COUNT_DIGITS_MAX:
            return int(value)
    return None


def _name(response: _Object, name: str) -> str | None:
    """An id or a model's name, unless it is one that no ledger should hold."""
    value = response.get(name)
    if not isinstance(value, str) or isinstance(value, Number) or not value.isprintable():
        return None
    return value if 0 < len(value) <= NAME_TEXT_MAX else None


def _made(response: _Object) -> tuple[str, ...]:
    """The ids by which a later request may refer to what this answer made, beside the response's own.

    Not those of files that it cites: they were there before.
    """
    output = response.get("output")
    if not isinstance(output, list):
        return ()
    made: dict[str, None] = {}
    for item in output:
        for name in _IDS if isinstance(item, dict) else ():
            if name in item and (one := _name(item, name)) is not None:
                made[one] = None
    return tuple(made)[:MADE_MAX]


def _is_error(value: Any) -> bool:
    """A good answer has `"error": null`; other falsy values tell of no failure either."""
    return bool(value) and value != Number("0")
