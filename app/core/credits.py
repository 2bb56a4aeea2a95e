"""What is left of the upstream's credits, read exactly. Pure; called by `accounts.credits`."""

from __future__ import annotations

import re
from decimal import Decimal

from app.core.document import Repeating, decode

_AMOUNT = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")


def remaining_credits(document: bytes) -> Decimal:
    """`remaining_credits` of `GET /v1/credits`, in USD: text (`"25.5000"`) or a number, below zero too.

    Raises: `ValueError` with a fixed text. Nothing else of the answer is looked at: it lists every key of the account.
    """
    try:
        found = decode(document)
    except ValueError:
        raise ValueError("the upstream's answer about its credits is no JSON object") from None
    told = found.get("remaining_credits")
    twice = isinstance(found, Repeating) and "remaining_credits" in found.repeated
    if twice or not isinstance(told, str) or _AMOUNT.fullmatch(told) is None:
        raise ValueError("the upstream does not tell its remaining credits as an amount")
    return Decimal(told)
