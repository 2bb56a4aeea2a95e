"""What a client is told when a limit refuses it: bodies and headers to the byte, and rules for all of them."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.records import NO_ALLOWANCES, Allowance, Allowances, LimitHit, RefusalReason, Refused, Scope
from app.core.refusals import has_rate, limit_error, limit_headers
from app.core.value import replace

USD = 10**12
RESETS_AT = datetime(2026, 12, 1, tzinfo=UTC)
LEFT = Allowances(Allowance(60, 0, 59_500), Allowance(1000, 12, 60_000), 5 * 10**10)
LEFT_HEADERS = [
    ("x-ratelimit-limit-requests", "60"),
    ("x-ratelimit-remaining-requests", "0"),
    ("x-ratelimit-reset-requests", "59.5s"),
    ("x-ratelimit-limit-tokens", "1000"),
    ("x-ratelimit-remaining-tokens", "12"),
    ("x-ratelimit-reset-tokens", "1m0s"),
    ("x-irg-budget-remaining-usd", "0.05"),
]
MONTH = LimitHit(
    Scope.KEY,
    "alice",
    period="month",
    limit_picodollars=45 * USD,
    spent_picodollars=45 * USD,
    held_picodollars=0,
    hold_picodollars=5 * 10**10,
    resets_at=RESETS_AT,
)
SPENT, HELD = RefusalReason.BUDGET_SPENT, RefusalReason.BUDGET_HELD
REQUESTS, TOKENS, RUNNING = (
    RefusalReason.REQUESTS_PER_MINUTE,
    RefusalReason.TOKENS_PER_MINUTE,
    RefusalReason.CONCURRENCY,
)
NULLS = '"period": null, "limit_usd": null, "spent_usd": null, "held_usd": null, "hold_usd": null, "resets_at": null'

GOLDEN: dict[str, tuple[Refused, str, list[tuple[str, str]]]] = {
    "spent": (
        Refused(SPENT, hit=MONTH, allowances=LEFT),
        '{"error": {"message": "The monthly budget of the key \'alice\' is spent: 45.00 of 45.00 USD. It resets at '
        "2026-12-01T00:00:00.000Z. Ask the gateway's admin to raise it, or wait.\", "
        '"type": "insufficient_quota", "param": null, "code": "insufficient_quota", "gateway": '
        '{"reason": "budget_spent", "scope": "key", "limit": null, "period": "month", "limit_usd": "45.00", '
        '"spent_usd": "45.00", "held_usd": "0.00", "hold_usd": "0.05", "resets_at": "2026-12-01T00:00:00.000Z", '
        '"request_id": "req_1"}}}',
        [("x-should-retry", "false"), *LEFT_HEADERS],
    ),
    "too little is left": (
        Refused(SPENT, hit=replace(MONTH, scope=Scope.TEAM, owner="blue", period="week", spent_picodollars=44 * USD)),
        '{"error": {"message": "What is left of the weekly budget of the team \'blue\' is too little: 44.00 of 45.00 '
        "USD are spent, and this request may cost up to 0.05 USD. It resets at 2026-12-01T00:00:00.000Z. "
        "Ask the gateway's admin to raise it, or wait.\", "
        '"type": "insufficient_quota", "param": null, "code": "insufficient_quota", "gateway": '
        '{"reason": "budget_spent", "scope": "team", "limit": null, "period": "week", "limit_usd": "45.00", '
        '"spent_usd": "44.00", "held_usd": "0.00", "hold_usd": "0.05", "resets_at": "2026-12-01T00:00:00.000Z", '
        '"request_id": "req_1"}}}',
        [("x-should-retry", "false")],
    ),
    "a total": (
        Refused(SPENT, hit=replace(MONTH, scope=Scope.GATEWAY, owner="", period="total", resets_at=None)),
        '{"error": {"message": "The total budget of the whole gateway is spent: 45.00 of 45.00 USD. It does not '
        "reset. Ask the gateway's admin to raise it.\", "
        '"type": "insufficient_quota", "param": null, "code": "insufficient_quota", "gateway": '
        '{"reason": "budget_spent", "scope": "gateway", "limit": null, "period": "total", "limit_usd": "45.00", '
        '"spent_usd": "45.00", "held_usd": "0.00", "hold_usd": "0.05", "resets_at": null, "request_id": "req_1"}}}',
        [("x-should-retry", "false")],
    ),
    "held": (
        Refused(
            HELD,
            hit=replace(MONTH, period="day", spent_picodollars=4 * USD, held_picodollars=41 * USD),
            retry_after_ms=2000,
        ),
        '{"error": {"message": "Running requests hold what is left of the daily budget of the key \'alice\': 4.00 of '
        '45.00 USD are spent, 41.00 are held, and this request may cost up to 0.05 USD. Try again in 2 s.", '
        '"type": "requests", "param": null, "code": "rate_limit_exceeded", "gateway": '
        '{"reason": "budget_held", "scope": "key", "limit": null, "period": "day", "limit_usd": "45.00", '
        '"spent_usd": "4.00", "held_usd": "41.00", "hold_usd": "0.05", "resets_at": "2026-12-01T00:00:00.000Z", '
        '"request_id": "req_1"}}}',
        [("retry-after", "2")],
    ),
    "requests": (
        Refused(REQUESTS, hit=LimitHit(Scope.KEY, "alice", limit=60), retry_after_ms=59_001, allowances=LEFT),
        '{"error": {"message": "The key \'alice\' may make 60 requests per minute, and this is one more. Try again in '
        '59 s.", "type": "requests", "param": null, "code": "rate_limit_exceeded", "gateway": '
        f'{{"reason": "requests_per_minute", "scope": "key", "limit": 60, {NULLS}, "request_id": "req_1"}}}}}}',
        [("retry-after", "59"), *LEFT_HEADERS],
    ),
    "tokens": (
        Refused(TOKENS, hit=LimitHit(Scope.TEAM, "blue", limit=1000), retry_after_ms=1500),
        '{"error": {"message": "The team \'blue\' may use 1000 tokens per minute; with this request it would be more. '
        'Try again in 2 s.", "type": "tokens", "param": null, "code": "rate_limit_exceeded", "gateway": '
        f'{{"reason": "tokens_per_minute", "scope": "team", "limit": 1000, {NULLS}, "request_id": "req_1"}}}}}}',
        [("retry-after", "2")],
    ),
    "running": (
        Refused(RUNNING, hit=LimitHit(Scope.KEY, "alice", limit=1), retry_after_ms=1000),
        '{"error": {"message": "The key \'alice\' may run 1 request at once, and so many are running. Try again in '
        '1 s.", "type": "requests", "param": null, "code": "rate_limit_exceeded", "gateway": '
        f'{{"reason": "concurrency", "scope": "key", "limit": 1, {NULLS}, "request_id": "req_1"}}}}}}',
        [("retry-after", "1")],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_refusals_to_the_byte(name: str) -> None:
    """Code and type make the SDKs raise the right class; a `gateway` object beside them tells programs the facts."""
    refused, body, headers = GOLDEN[name]
    error = limit_error(refused, "req_1")
    assert error.status == 429
    assert error.body().decode() == body
    assert list(error.headers) == headers


_MONEY = st.integers(0, 10**18) | st.sampled_from([0, 1, USD, 45 * USD])
_OWNERS = st.sampled_from(["alice", "O'Neil", 'the "big" one', "Ünïcödé-ключ", "%s {0}", "a" * 64])
_LEFT = st.none() | st.builds(Allowance, st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 60_999))
_ALLOWANCES = st.builds(Allowances, _LEFT, _LEFT, st.none() | _MONEY)


@st.composite
def _refusals(draw: st.DrawFn) -> Refused:
    reason = draw(st.sampled_from([SPENT, HELD, REQUESTS, TOKENS, RUNNING]))
    scope = draw(st.sampled_from(Scope))
    owner = "" if scope is Scope.GATEWAY else draw(_OWNERS)
    if reason in (SPENT, HELD):
        period = draw(st.sampled_from(["day", "week", "month", "total"]))
        resets_at = None if period == "total" else RESETS_AT
        limit, spent, held, hold = draw(st.tuples(_MONEY, _MONEY, _MONEY, _MONEY))
        hit = LimitHit(scope, owner, None, period, limit, spent, held, hold, resets_at)
    else:
        hit = LimitHit(scope, owner, draw(st.integers(1, 10**9)))
    wait_ms = None if reason is SPENT else draw(st.integers(1, 61_000))
    return Refused(reason, hit=hit, retry_after_ms=wait_ms, allowances=draw(_ALLOWANCES))


@given(_refusals())
def test_every_refusal_says_when_to_come_back_or_that_it_does_not_help(refused: Refused) -> None:
    """Whole seconds, rounded up, at most 59: never too early but for a wait that no SDK would keep."""
    headers = dict(limit_error(refused, "req_1").headers)
    if refused.reason is SPENT:
        assert headers["x-should-retry"] == "false"
        assert "retry-after" not in headers
        return
    assert "x-should-retry" not in headers
    assert refused.retry_after_ms is not None
    assert int(headers["retry-after"]) == min(59, math.ceil(refused.retry_after_ms / 1000))
    assert f"Try again in {headers['retry-after']} s." in str(limit_error(refused, "req_1"))


@given(_refusals())
def test_every_refusal_is_a_readable_sentence_with_all_its_facts(refused: Refused) -> None:
    """It names whose limit it is and which; nothing is left unsaid as None; amounts are plain decimals."""
    error: dict[str, Any] = json.loads(limit_error(refused, "req_1").body())["error"]
    message, facts, hit = error["message"], error["gateway"], refused.hit
    assert hit is not None
    assert re.fullmatch(r"[A-Z].*\.", message)
    assert len(message) < 500
    assert "None" not in message
    assert "  " not in message
    assert hit.owner in message.replace("\\'", "'")
    assert hit.scope in message
    assert not re.search(r"\d[eE][-+]?\d", message.replace(hit.owner, ""))
    assert (facts["reason"], facts["scope"], facts["request_id"]) == (refused.reason, hit.scope, "req_1")
    assert (facts["limit"] is None) == (facts["period"] is not None) == (facts["spent_usd"] is not None)
    assert (facts["resets_at"] is not None) == (hit.period in ("day", "week", "month"))
    assert ("or wait" in message) == (refused.reason is SPENT and hit.period != "total")


@given(_ALLOWANCES)
def test_headers_tell_what_is_left_of_the_limits_that_there_are(allowances: Allowances) -> None:
    """Three for each rate, as OpenAI names them, and one for budgets; none for what has no limit."""
    headers = {name.decode(): value.decode() for name, value in limit_headers(allowances)}
    assert len(headers) == len(limit_headers(allowances))
    for what, one in (("requests", allowances.requests), ("tokens", allowances.tokens)):
        told = [headers.pop(f"x-ratelimit-{part}-{what}", None) for part in ("limit", "remaining")]
        assert told == ([None, None] if one is None else [str(one.limit), str(one.remaining)])
        assert (headers.pop(f"x-ratelimit-reset-{what}", None) is None) == (one is None)
    left = headers.pop("x-irg-budget-remaining-usd", None)
    assert (left is None) == (allowances.budget_remaining_picodollars is None)
    assert left is None or re.fullmatch(r"\d+\.\d{2,12}", left)
    assert not headers
    assert has_rate(allowances) == (allowances.requests is not None or allowances.tokens is not None)


def test_what_is_no_limit_has_no_such_error() -> None:
    """A refused key is not told as a limit by mistake."""
    with pytest.raises(ValueError, match="key_refused is no limit"):
        limit_error(Refused(RefusalReason.KEY_REFUSED, allowances=NO_ALLOWANCES), "req_1")
