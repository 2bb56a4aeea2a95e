"""A limit that refuses a request, as its client sees it: which, whose, until when, what to do.

Lives here: the errors and headers of budgets, rates and concurrency. The shapes are OpenAI's (`code`,
`x-ratelimit-*`, November 2026), with a `gateway` object beside them for programs. Called by `proxy.exchange` and
`proxy.answer_head`.
"""

from __future__ import annotations

import functools
import math

from app.core.clock import format_time
from app.core.errors import NO_RETRY, ApiError, HeaderPairs
from app.core.headers import HeaderList
from app.core.money import format_usd
from app.core.rates import format_reset
from app.core.records import Allowance, Allowances, LimitHit, RefusalReason, Refused, Scope

# Some SDKs wait as they are told only below a minute, and as they like above. Who comes back a moment too soon is told
# that moment.
RETRY_AFTER_MAX_MS = 59_000

_REQUESTS = b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests"
_TOKENS = b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens"

_PERIODS = {"day": "daily budget", "week": "weekly budget", "month": "monthly budget", "total": "total budget"}


def limit_error(refused: Refused, request_id: str) -> ApiError:
    """The 429 of a refusal that has a `hit`."""
    hit = refused.hit
    if hit is None:
        raise ValueError(f"{refused.reason} is no limit")
    spent = refused.reason is RefusalReason.BUDGET_SPENT
    left = [(name.decode(), value.decode()) for name, value in limit_headers(refused.allowances)]
    code = "insufficient_quota" if spent else "rate_limit_exceeded"
    kind = {RefusalReason.BUDGET_SPENT: "insufficient_quota", RefusalReason.TOKENS_PER_MINUTE: "tokens"}
    return ApiError(
        429,
        code,
        _sentence(refused.reason, hit, _seconds(refused)),
        type=kind.get(refused.reason, "requests"),
        headers=(*(NO_RETRY if spent else _retry_after(refused)), *left),
        gateway=_facts(refused, hit, request_id),
    )


def limit_headers(allowances: Allowances) -> HeaderList:
    """What the limits leave, as OpenAI's headers say it, and what the tightest budget does."""
    requests, tokens, left = allowances.requests, allowances.tokens, allowances.budget_remaining_picodollars
    headers: HeaderList = []
    if requests is not None:
        headers += _allowance(_REQUESTS, requests)
    if tokens is not None:
        headers += _allowance(_TOKENS, tokens)
    if left is not None:
        headers.append((b"x-irg-budget-remaining-usd", format_usd(left).encode()))
    return headers


def has_rate(allowances: Allowances) -> bool:
    """Whether our rate headers stand in the place of the upstream's."""
    return allowances.requests is not None or allowances.tokens is not None


def _allowance(names: tuple[bytes, bytes, bytes], allowance: Allowance) -> HeaderList:
    limit, remaining, reset = names
    return [
        (limit, b"%d" % allowance.limit),
        (remaining, b"%d" % allowance.remaining),
        (reset, _reset(allowance.reset_ms)),
    ]


@functools.lru_cache(maxsize=64)  # what was admitted just now counts for a minute, nearly always
def _reset(wait_ms: int) -> bytes:
    return format_reset(wait_ms).encode()


def _seconds(refused: Refused) -> int:
    """Whole seconds, rounded up."""
    return max(1, math.ceil(min(RETRY_AFTER_MAX_MS, refused.retry_after_ms or 0) / 1000))


def _retry_after(refused: Refused) -> HeaderPairs:
    return (("retry-after", str(_seconds(refused))),)


def _facts(refused: Refused, hit: LimitHit, request_id: str) -> dict[str, object]:
    """Every field is always there; null where it does not apply."""
    return {
        "reason": refused.reason.value,
        "scope": hit.scope.value,
        "limit": hit.limit,
        "period": hit.period,
        "limit_usd": _usd(hit.limit_picodollars),
        "spent_usd": _usd(hit.spent_picodollars),
        "held_usd": _usd(hit.held_picodollars),
        "hold_usd": _usd(hit.hold_picodollars),
        "resets_at": None if hit.resets_at is None else format_time(hit.resets_at),
        "request_id": request_id,
    }


def _usd(picodollars: int | None) -> str | None:
    return None if picodollars is None else format_usd(picodollars)


def _sentence(reason: RefusalReason, hit: LimitHit, seconds: int) -> str:
    if reason in (RefusalReason.BUDGET_SPENT, RefusalReason.BUDGET_HELD):
        return _budget_sentence(reason, hit, seconds)
    who, again = _whose(hit), f"Try again in {seconds} s."
    if reason is RefusalReason.REQUESTS_PER_MINUTE:
        return f"{who} may make {_count(hit.limit, 'request')} per minute, and this is one more. {again}"
    if reason is RefusalReason.TOKENS_PER_MINUTE:
        return f"{who} may use {_count(hit.limit, 'token')} per minute; with this request it would be more. {again}"
    return f"{who} may run {_count(hit.limit, 'request')} at once, and so many are running. {again}"


def _budget_sentence(reason: RefusalReason, hit: LimitHit, seconds: int) -> str:
    limit, spent = hit.limit_picodollars or 0, hit.spent_picodollars or 0
    budget = f"the {_PERIODS.get(hit.period or '', 'budget')} of {_whose(hit, inside=True)}"
    said = f"{format_usd(spent)} of {format_usd(limit)} USD"
    may_cost = f"this request may cost up to {_usd(hit.hold_picodollars)} USD"
    if reason is RefusalReason.BUDGET_HELD:
        return (
            f"Running requests hold what is left of {budget}: {said} are spent, {_usd(hit.held_picodollars)} are held, "
            f"and {may_cost}. Try again in {seconds} s."
        )
    resets = f"It resets at {format_time(hit.resets_at)}." if hit.resets_at is not None else "It does not reset."
    if spent >= limit:
        said = f"{budget[:1].upper()}{budget[1:]} is spent: {said}."
    else:
        said = f"What is left of {budget} is too little: {said} are spent, and {may_cost}."
    waiting = ", or wait" if hit.resets_at is not None else ""
    return f"{said} {resets} Ask the gateway's admin to raise it{waiting}."


def _count(number: int | None, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _whose(hit: LimitHit, *, inside: bool = False) -> str:
    the = "the" if inside else "The"
    return f"{the} whole gateway" if hit.scope is Scope.GATEWAY else f"{the} {hit.scope.value} {hit.owner!r}"
