"""What an alert says to a person at night: what happened, to whom, and the command that helps.

Pure: kind and facts in, a sentence or JSON out. Facts come from the ledger, and a model's name
in them from whoever made the request: nothing in a sentence may break its line, and a fact that
is missing never loses the alert.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from app.core.alerts import Alert, AlertKind
from app.core.clock import format_time

Facts = Mapping[str, Any]

# Of a fact, so many characters are shown: the longest names that there are.
_SHOWN_CHARACTERS_MAX = 128

_EVERY = {"day": "daily", "week": "weekly", "month": "monthly", "total": "total"}


def message(alert: Alert) -> str:
    """The whole sentence, on one line."""
    return text_of(alert.kind, alert.facts)


def title(alert: Alert) -> str:
    """A subject line for services that have one."""
    return f"ImageRouter Gateway: {_plain(alert.kind).replace('_', ' ')}"


def payload(alert: Alert) -> bytes:
    """The JSON body of a webhook."""
    content = {
        "type": alert.kind,
        "timestamp": format_time(alert.at),
        "data": dict(alert.facts),
        "message": message(alert),
    }
    return json.dumps(content, separators=(",", ":")).encode()


def text_of(kind: str, facts: Facts) -> str:
    write = _TEXTS.get(kind)
    if write is not None:
        return write(facts)
    told = ", ".join(f"{_plain(name)}: {_plain(value)}" for name, value in facts.items())
    return f"{_plain(kind)}. {told}".strip()


# --- one per kind -------------------------------------------------------------------------


def _budget(facts: Facts) -> str:
    whose, period = _owner(facts), _of(facts, "period")
    what = f"The {_EVERY.get(period, period)} budget of {whose}"
    spent = f"${_of(facts, 'spent_usd')} of ${_of(facts, 'limit_usd')}"
    resets_at = facts.get("resets_at")
    if str(facts.get("threshold_percent")) == "100":
        until = f"until {_plain(resets_at)}" if resets_at else "from now on"
        return f"{what} is spent ({spent}): its requests are refused {until}. To allow more: {_more(facts)}."
    begins = f"; it begins anew at {_plain(resets_at)}" if resets_at else ""
    return f"{what} is {_of(facts, 'threshold_percent')} % spent ({spent}){begins}. To allow more: {_more(facts)}."


def _unknown_cost(facts: Facts) -> str:
    reason = facts.get("unknown_reason") or facts.get("reason")
    why = f" ({_plain(reason)})" if reason else ""
    request_id = _of(facts, "request_id")
    return (
        f"What {_request(facts)} cost is unknown{why}. Look at it: irg requests show {request_id}. Once you know: "
        f"irg requests resolve {request_id} --cost USD --reason WHY. Further ones within the hour are not told: "
        "irg requests list --state unknown."
    )


def _cost_above_hold(facts: Facts) -> str:
    return (
        f"{_capital(_request(facts))} cost more than was set aside for it{_amounts(facts, 'cost_usd', 'hold_usd')}. "
        "It is booked in full, so a budget may be overrun by the difference. Look at it: "
        f"irg requests show {_of(facts, 'request_id')}."
    )


def _charge_mismatch(facts: Facts) -> str:
    return (
        f"What {_request(facts)} was charged is not its true cost rounded up"
        f"{_amounts(facts, 'charged_usd', 'true_cost_usd')}. Both are booked as the upstream told them. Look at it: "
        f"irg requests show {_of(facts, 'request_id')}. If it goes on, ask the upstream why."
    )


def _upstream_key_refused(facts: Facts) -> str:
    return (
        "The upstream refuses the gateway's own key: no request gets through. Check IMAGEROUTER_API_KEY, then "
        "restart, or send SIGHUP: it reads the key anew."
    )


def _upstream_credits_used_up(facts: Facts) -> str:
    return (
        "The upstream says that its credits are used up: no request gets through. Add credits there; the gateway "
        "needs no restart."
    )


def _upstream_denies(facts: Facts) -> str:
    return (
        "The upstream denied a request (403): a model that this account may not use, or moderation. Which ones: "
        "irg requests list --status 403 --last 1d."
    )


def _credits_low(facts: Facts) -> str:
    return (
        f"The upstream's credits run low: ${_of(facts, 'remaining_usd')} are left, less than "
        f"${_of(facts, 'threshold_usd')} (IRG_CREDITS_LOW_USD). Add credits before requests fail. Who spends them: "
        "irg usage --last 7d."
    )


def _test(facts: Facts) -> str:
    return f"This is a test of the destination {_of(facts, 'destination')}: alerts arrive here. Nothing is wrong."


_TEXTS: dict[str, Callable[[Facts], str]] = {
    AlertKind.BUDGET: _budget,
    AlertKind.UNKNOWN_COST: _unknown_cost,
    AlertKind.COST_ABOVE_HOLD: _cost_above_hold,
    AlertKind.CHARGE_MISMATCH: _charge_mismatch,
    AlertKind.UPSTREAM_KEY_REFUSED: _upstream_key_refused,
    AlertKind.UPSTREAM_CREDITS_USED_UP: _upstream_credits_used_up,
    AlertKind.UPSTREAM_DENIES: _upstream_denies,
    AlertKind.CREDITS_LOW: _credits_low,
    AlertKind.TEST: _test,
}


# --- pieces -------------------------------------------------------------------------------


def _owner(facts: Facts) -> str:
    scope = _of(facts, "scope")
    return "the whole gateway" if scope == "gateway" else f"{scope} {_of(facts, 'owner')}"


def _more(facts: Facts) -> str:
    """The command that changes this very budget; an owner's budgets are set together."""
    noun = {"key": "keys set", "team": "teams set"}.get(_of(facts, "scope"))
    amount = f"AMOUNT/{_of(facts, 'period')}"
    if noun is None:
        return f"irg budget set {amount}"
    return f"irg {noun} {shlex.quote(_of(facts, 'owner'))} --budget {amount} (its other budgets with it)"


def _request(facts: Facts) -> str:
    return f"a request of key {_of(facts, 'key')} for {_of(facts, 'model')}"


def _amounts(facts: Facts, first: str, second: str) -> str:
    """` ($0.02, not $0.01)`, if the facts have both."""
    if facts.get(first) is None or facts.get(second) is None:
        return ""
    return f" (${_of(facts, first)}, not ${_of(facts, second)})"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _of(facts: Facts, name: str) -> str:
    return _plain(facts[name]) if facts.get(name) is not None else "(unknown)"


def _plain(value: Any) -> str:
    """A fact as a piece of a line: nothing that cannot be seen, and not too long."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value))
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "…"
