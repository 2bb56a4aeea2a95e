"""What an alert says: one line, what happened to whom, and a command that exists."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.alert_texts import message, payload, text_of, title
from app.core.alerts import Alert, AlertKind

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
REQUEST = {"request_id": "req_1", "key": "support-bot", "model": "openai/gpt-5"}
BUDGET = {
    "scope": "key",
    "owner": "support-bot",
    "owner_id": "key_1",
    "period": "month",
    "threshold_percent": 80,
    "limit_usd": "45.00",
    "spent_usd": "36.10",
    "starts_at": "2026-11-01T00:00:00.000Z",
    "resets_at": "2026-12-01T00:00:00.000Z",
}

TEXTS: list[tuple[str, dict[str, Any], str]] = [
    (
        "budget",
        BUDGET,
        "The monthly budget of key support-bot is 80 % spent ($36.10 of $45.00); it begins anew at "
        "2026-12-01T00:00:00.000Z. To allow more: irg keys set support-bot --budget AMOUNT/month "
        "(its other budgets with it).",
    ),
    (
        "budget",
        BUDGET | {"scope": "team", "owner": "R & D", "threshold_percent": 100, "spent_usd": "45.01", "period": "day"},
        "The daily budget of team R & D is spent ($45.01 of $45.00): its requests are refused until "
        "2026-12-01T00:00:00.000Z. To allow more: irg teams set 'R & D' --budget AMOUNT/day "
        "(its other budgets with it).",
    ),
    (
        "budget",
        BUDGET | {"scope": "gateway", "owner": None, "threshold_percent": 100, "period": "total", "resets_at": None},
        "The total budget of the whole gateway is spent ($36.10 of $45.00): its requests are refused from now on. "
        "To allow more: irg budget set AMOUNT/total.",
    ),
    (
        "unknown_cost",
        REQUEST | {"unknown_reason": "no_cost"},
        "What a request of key support-bot for openai/gpt-5 cost is unknown (no_cost). Look at it: irg requests show "
        "req_1. Once you know: irg requests resolve req_1 --cost USD --reason WHY. Further ones within the hour are "
        "not told: irg requests list --state unknown.",
    ),
    (
        "cost_above_hold",
        REQUEST | {"cost_usd": "0.02", "hold_usd": "0.01"},
        "A request of key support-bot for openai/gpt-5 cost more than was set aside for it ($0.02, not $0.01). It is "
        "booked in full, so a budget may be overrun by the difference. Look at it: irg requests show req_1.",
    ),
    (
        "charge_mismatch",
        REQUEST,
        "What a request of key support-bot for openai/gpt-5 was charged is not its true cost rounded up. Both are "
        "booked as the upstream told them. Look at it: irg requests show req_1. If it goes on, ask the upstream why.",
    ),
    (
        "upstream_key_refused",
        {"status": 401},
        "The upstream refuses the gateway's own key: no request gets through. Check IMAGEROUTER_API_KEY, then restart, "
        "or send SIGHUP: it reads the key anew.",
    ),
    (
        "upstream_credits_used_up",
        {"status": 402},
        "The upstream says that its credits are used up: no request gets through. Add credits there; the gateway needs "
        "no restart.",
    ),
    (
        "upstream_denies",
        {"status": 403},
        "The upstream denied a request (403): a model that this account may not use, or moderation. Which ones: "
        "irg requests list --status 403 --last 1d.",
    ),
    (
        "credits_low",
        {"remaining_usd": "4.5000", "threshold_usd": "20"},
        "The upstream's credits run low: $4.5000 are left, less than $20 (IRG_CREDITS_LOW_USD). Add credits before "
        "requests fail. Who spends them: irg usage --last 7d.",
    ),
    (
        "test",
        {"destination": "ops"},
        "This is a test of the destination ops: alerts arrive here. Nothing is wrong.",
    ),
    ("of_a_newer_version", {"key": "bob", "count": 3}, "of_a_newer_version. key: bob, count: 3"),
]


@pytest.mark.parametrize(("kind", "facts", "text"), TEXTS)
def test_every_kind_says_what_to_do(kind: str, facts: dict[str, Any], text: str) -> None:
    assert text_of(kind, facts) == text


def test_every_kind_is_among_them() -> None:
    """A new one joins the list above."""
    assert {kind for kind, _, _ in TEXTS} >= set(AlertKind)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3)


@given(st.sampled_from([*AlertKind, "another\nkind"]), st.dictionaries(st.sampled_from([*BUDGET, *REQUEST, "x"]), JSON))
def test_whatever_the_facts_are_an_alert_is_one_line_and_json(kind: str, facts: dict[str, Any]) -> None:
    """A fact that is missing, or is not what it should be, never loses the alert; a model's name is anybody's text."""
    alert = Alert("alr_1", AT, kind, facts)
    assert message(alert).isprintable()
    assert title(alert).isprintable()
    body = json.loads(payload(alert))
    assert body["data"] == facts


def test_a_long_fact_is_cut() -> None:
    """A model's name may be as long as a body."""
    text = text_of("cost_above_hold", REQUEST | {"model": "m" * 10_000})
    assert "m" * 128 + "…" in text
    assert len(text) < 500


def test_the_body_is_what_the_specification_recommends() -> None:
    """Type, timestamp, data; and the sentence beside them."""
    alert = Alert("alr_1", AT, "credits_low", {"remaining_usd": "4.5000", "threshold_usd": "20"})
    assert json.loads(payload(alert)) == {
        "type": "credits_low",
        "timestamp": "2026-11-23T12:00:00.000Z",
        "data": {"remaining_usd": "4.5000", "threshold_usd": "20"},
        "message": message(alert),
    }
    assert title(alert) == "ImageRouter Gateway: credits low"
