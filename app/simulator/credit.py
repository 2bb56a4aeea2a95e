"""`GET /v1/credits`: what the account was given, and what the bill has taken from it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from app.simulator.jsontext import write

# What the simulated account was given, in USD.
_DEPOSITS = Decimal(1000)
_STEP = Decimal("0.0001")


def credits_body(charged: Decimal, requests: int, *, by_api_key: bool) -> bytes:
    """`GET /v1/credits`: strings of 4 decimals. `charged` = all that the bill says so far."""
    body: dict[str, Any] = {
        "remaining_credits": str((_DEPOSITS - charged).quantize(_STEP)),
        "credit_usage": str(charged.quantize(_STEP)),
        "total_deposits": str(_DEPOSITS.quantize(_STEP)),
    }
    if by_api_key:
        body["usage_by_api_key"] = [_usage_of_key(charged, requests)]
    return write(body)


def _usage_of_key(charged: Decimal, requests: int) -> dict[str, Any]:
    return {
        "api_key_id": "simulated-key",
        "api_key_name": "simulated",
        "credit_usage": str(charged.quantize(_STEP)),
        "total_requests": requests,
        "created_at": "2026-11-01T00:00:00.000Z",
        "is_active": True,
        "spend_limit": None,
        "spend_limit_period": None,
        "period_spend": None,
        "period_start": None,
        "expires_at": None,
    }
