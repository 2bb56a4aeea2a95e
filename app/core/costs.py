"""Reads costs, token counts and identity out of one document of an answer.

Lives here: which JSON paths count (ImageRouter's page: `usage.cost` is the true cost, the top-level
`cost` what was charged; in streams under `response`), and what two costs mean together.
Must not live here: framing, encodings, chunks, JSON's grammar. Called by the tap, for events
and for a whole body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from app.core.document import Number, decode, is_repeated, json_text, object_in, object_of
from app.core.money import CHARGE_STEP_PICODOLLARS, BadCost, charge_steps, charged_from, parse_cost
from app.core.outline import Bytes
from app.core.records import Cost, Reading, TokenUsage
from app.core.value import Value, replace

TOKEN_TEXT_MAX = 200
NAME_TEXT_MAX = 512  # what is longer is no id and no model's name
MADE_MAX = 1000  # so many of what one answer made are noted

_Object = dict[str, Any]

# The types of the events that end an answer.
TERMINAL_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed"})

# Of a response that is answered before it is made: `background: true`.
_STILL_RUNNING = ("queued", "in_progress")

IDS = ("id", "container_id")  # of an item of the output
_OUTPUTS = ("output", "choices", "data")
COUNT_DIGITS_MAX = 18  # they fit every database's integer


class EventReading(NamedTuple):
    """What one event of a stream says."""

    type: str | None
    reading: Reading


class _Told(Value, frozen=True):
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

_NO_USAGE = TokenUsage()
_ZERO = Number("0")


def read_body(text: Bytes) -> Reading:
    """The reading of a whole JSON body. Raises: `Malformed`."""
    body = decode(text)
    error_body = _is_error(body.get("error")) and all(body.get(name) is None for name in _OUTPUTS)
    reading = _reading(body, _told(body, "cost"), complete=True, failed=error_body, error_body=error_body)
    if body.get("status") in _STILL_RUNNING and not reading.cost_known:
        return replace(reading, unknown_reason="background")
    return reading


def read_event(text: Bytes) -> EventReading:
    """The reading of the data of one event, whatever its type. Raises: `Malformed`."""
    event = decode(text)
    kind = event["type"] if isinstance(event.get("type"), str) else None
    complete = kind in TERMINAL_TYPES
    failed = kind in ("error", "response.failed") or _is_error(event.get("error"))
    if is_repeated(event, "response"):
        return EventReading(kind, Reading(unknown_reason=_DUPLICATE.reason, complete=complete, failed=failed))
    response = object_in(event, "response") or event  # an error event may state its cost flatly
    charged, alarm = _told(event, "cost"), False
    if response is not event:
        charged, alarm = _either(_told(response, "cost"), charged)
    return EventReading(kind, _reading(response, charged, alarm=alarm, complete=complete, failed=failed))


def _reading(
    response: _Object,
    charged: _Told,
    *,
    failed: bool,
    alarm: bool = False,
    complete: bool = False,
    error_body: bool = False,
) -> Reading:
    """What both costs say together, and what else the response says."""
    usage = object_in(response, "usage")
    true = _DUPLICATE if is_repeated(response, "usage") else _told(usage, "cost")
    derived = charged_from(true.cost) if true.cost and not charged.cost else None
    return Reading(
        true_cost=true.cost,
        charged=charged.cost or derived,
        true_cost_token=true.token,
        charged_token=charged.token,
        charged_derived=derived is not None,
        charge_mismatch=alarm or _mismatch(charged, true.cost),
        unknown_reason=(charged.reason if true.reason == "no_cost" else None) or true.reason,  # what tells more
        usage=_token_usage(usage) if usage else _NO_USAGE,
        response_id=usable_name(response.get("id")),
        model_answered=usable_name(response.get("model")),
        made=_made(response.get("output")),
        complete=complete,
        failed=failed or response.get("status") == "failed",
        error_body=error_body,
    )


def _mismatch(charged: _Told, true: Cost | None) -> bool:
    if true is None:
        return False
    return differs(charged.cost, true) if charged.cost is not None else charged.unusable


def differs(charged: Cost, true: Cost) -> bool:
    """The charge is not the one that the true cost makes."""
    return charged.picodollars != charge_steps(true) * CHARGE_STEP_PICODOLLARS


def _told(members: _Object, name: str) -> _Told:
    if name not in members:
        return _NOT_TOLD
    if is_repeated(members, name):
        return _DUPLICATE
    stated = members[name]
    if stated is None:
        return _NULL
    if not isinstance(stated, Number):
        return _Told(None, "cost_not_a_number", json_text(stated, TOKEN_TEXT_MAX))
    try:
        return _Told(parse_cost(str(stated)))  # a plain string: it goes on to the ledger
    except BadCost as bad:
        return _Told(None, f"cost_{bad.reason}", stated[:TOKEN_TEXT_MAX])


def _either(inner: _Told, outer: _Told) -> tuple[_Told, bool]:
    """The charge of a stream may stand in two places; if they differ: the larger one, and an alarm."""
    if inner.cost and outer.cost:
        larger = max(inner, outer, key=lambda told: told.cost.picodollars if told.cost else 0)
        return larger, inner.cost.picodollars != outer.cost.picodollars
    if inner.cost or outer.cost:
        return (inner, outer.unusable) if inner.cost else (outer, inner.unusable)
    return (outer, False) if inner.reason == "no_cost" else (inner, False)


def _token_usage(usage: _Object) -> TokenUsage:
    """Counts by the names of the Responses API, else by those of chat completions."""
    get = usage.get
    return TokenUsage(
        _count(get("input_tokens"), get("prompt_tokens")),
        _detail("cached_tokens", get("input_tokens_details"), get("prompt_tokens_details")),
        _count(get("output_tokens"), get("completion_tokens")),
        _detail("reasoning_tokens", get("output_tokens_details"), get("completion_tokens_details")),
        _count(get("total_tokens")),
    )


def _count(*stated: Any) -> int | None:
    """The first of them that is a count."""
    for one in stated:
        # (`-0` is a zero: a decoder of integers takes it for one, too.)
        if isinstance(one, Number) and (one == "-0" or one.isdigit()) and len(one) <= COUNT_DIGITS_MAX:
            return int(one)
    return None


def _detail(name: str, *stated: Any) -> int | None:
    """A count of that name in the first of them that is an object with something in it."""
    for one in stated:
        if members := object_of(one):
            return _count(members.get(name))
    return None


def usable_name(stated: Any) -> str | None:
    """An id or a model's name, unless it is one that no ledger should hold."""
    if type(stated) is not str or not stated.isprintable():  # a `Number` is none
        return None
    return stated if 0 < len(stated) <= NAME_TEXT_MAX else None


def _made(output: Any) -> tuple[str, ...]:
    """The ids by which a later request may refer to what this answer made, beside the response's own.

    Not those of files that it cites: they were there before.
    """
    if not isinstance(output, list):
        return ()
    items = (members for item in output if (members := object_of(item)))
    return made_of(members.get(name) for members in items for name in IDS)


def made_of(ids: Iterable[Any]) -> tuple[str, ...]:
    """Those of them that may be noted, each once."""
    made: dict[str, None] = {}
    for stated in ids:
        if (one := usable_name(stated)) is not None:
            made[one] = None
    return tuple(made)[:MADE_MAX]


def _is_error(stated: Any) -> bool:
    """A good answer has `"error": null`; other falsy values tell of no failure either."""
    return bool(stated) and stated != _ZERO
