"""Whether a request may be forwarded: one pure decision over facts that were read together.

Called by the store for every intent of a batch, inside the transaction that also writes the
ledger row and what is held: what was decided and what was written cannot disagree. The order of
refusals: who asks, for what, a spent budget (no waiting helps), then whatever takes longest to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.core.clock import to_ms
from app.core.holds import Sample, hold, tokens_held
from app.core.limits import Standing, Violation
from app.core.patterns import model_allowed
from app.core.records import Admitted, Allowance, Allowances, Intent, KeyState, RefusalReason, Refused

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What admission needs to know of a key and of the secret that was shown."""

    id: str
    name: str
    team_id: str | None
    team: str | None
    tags: tuple[str, ...]
    models: tuple[str, ...]
    state: KeyState
    expires_at: datetime | None = None
    secret_expires_at: datetime | None = None


def identified(intent: Intent, key: KeyFacts | None, owners: Mapping[str, str], now: datetime) -> Refused | None:
    """Whether this key may ask for this at all. `owners`: response id → id of the key that made it, as far as known."""
    if key is None or not _active(key, now):
        return Refused(RefusalReason.KEY_REFUSED)
    if not model_allowed(intent.model, key.models):
        return Refused(RefusalReason.MODEL_NOT_ALLOWED, allowed_models=key.models)
    for reference in intent.references:
        if owners.get(reference) != key.id:
            return Refused(RefusalReason.RESPONSE_NOT_FOUND, reference=reference)
    return None


def decide(
    intent: Intent,
    key: KeyFacts,
    standings: Sequence[Standing],
    samples: Callable[[], Sequence[Sample]],
    now: datetime,
) -> Admitted | Refused:
    """The verdict over the limits of all owners concerned; what is admitted is counted in `standings` at once.

    `standings`: of those among key, team and gateway that have limits or budgets; every budget has its window.
    `samples`: what the key's last requests to the model came to; asked for only when something depends on it.
    """
    if not standings:
        return Admitted(intent.request_id, key.name, key.team, key.tags)
    at_ms, now_ms = to_ms(intent.created_at), to_ms(now)
    held, tokens = _held(intent, standings, samples)
    violations = [one for standing in standings for one in standing.violations(at_ms, now_ms, held, tokens)]
    if violations:
        worst = max(violations, key=_patience)
        allowances = _allowances(standings, at_ms, now_ms)
        return Refused(worst.reason, hit=worst.hit, retry_after_ms=worst.retry_after_ms, allowances=allowances)
    for standing in standings:
        standing.take(at_ms, now_ms, held, tokens)
    return Admitted(
        intent.request_id, key.name, key.team, key.tags, held, tokens, _allowances(standings, at_ms, now_ms)
    )


def _held(intent: Intent, standings: Sequence[Standing], samples: Callable[[], Sequence[Sample]]) -> tuple[int, int]:
    """Money and tokens to set aside: none where no budget, and no limit of tokens, applies."""
    budgets = any(standing.budgets for standing in standings)
    tpm = min((standing.limits.tpm for standing in standings if standing.limits.tpm is not None), default=None)
    if not budgets and tpm is None:
        return 0, 0
    seen = samples()
    return (
        hold(intent.asked, seen) if budgets else 0,
        # Never more than the limit itself: a long request waits until nothing else counts, not for ever.
        min(tpm, tokens_held(intent.asked, seen)) if tpm is not None else 0,
    )


def _patience(violation: Violation) -> tuple[datetime, int]:
    """What takes longest to pass is told first."""
    if violation.reason is RefusalReason.BUDGET_SPENT:
        return violation.hit.resets_at or _NEVER, 0
    return datetime.min.replace(tzinfo=UTC), violation.retry_after_ms or 0


def _allowances(standings: Sequence[Standing], at_ms: int, now_ms: int) -> Allowances:
    requests = [one for standing in standings if (one := standing.requests_allowance(now_ms)) is not None]
    tokens = [one for standing in standings if (one := standing.tokens_allowance(now_ms)) is not None]
    budgets = [left for standing in standings if (left := standing.remaining(at_ms)) is not None]
    return Allowances(_tightest(requests), _tightest(tokens), min(budgets, default=None))


def _tightest(allowances: Sequence[Allowance]) -> Allowance | None:
    return min(allowances, key=lambda one: (one.remaining, one.limit), default=None)


def _active(key: KeyFacts, now: datetime) -> bool:
    if key.state is not KeyState.ACTIVE:
        return False
    limits = (key.expires_at, key.secret_expires_at)
    return all(limit is None or now < limit for limit in limits)
