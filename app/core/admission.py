"""Whether a request may be forwarded: one pure decision over facts that were read together.

Called by the store for every intent of a batch, inside the transaction that also writes the
ledger row and what is held: what was decided and what was written cannot disagree. The order of
refusals: who asks, for what, a spent budget (no waiting helps), then whatever takes longest to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from app.core.binding import Binding
from app.core.holds import Sample, hold, tokens_held
from app.core.ids import looks_like_id
from app.core.limits import Violation
from app.core.patterns import model_allowed
from app.core.records import Admitted, Intent, KeyState, Maker, RefusalReason, Refused
from app.core.value import Value

_NEVER = datetime.max.replace(tzinfo=UTC)


class KeyFacts(Value, frozen=True):
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


def identified(
    intent: Intent, key: KeyFacts | None, makers: Mapping[str, Maker | None], now: datetime
) -> Refused | None:
    """Whether this key may ask for this at all.

    `makers`: who made what is referred to, as far as it is known; None = several keys were told the same id.
    """
    if key is None or not _active(key, now):
        return Refused(RefusalReason.KEY_REFUSED)
    if not model_allowed(intent.model, key.models):
        return Refused(RefusalReason.MODEL_NOT_ALLOWED, allowed_models=key.models)
    for reference in intent.references:
        if not _may_refer(intent, key, reference, makers):
            return Refused(RefusalReason.RESPONSE_NOT_FOUND, reference=reference)
    return None


def decide(
    intent: Intent,
    key: KeyFacts,
    binding: Binding,
    most: Callable[[], Sample | None],
    at_ms: int,
    now_ms: int,
) -> Admitted | Refused:
    """The verdict over the limits of all owners concerned; what is admitted is counted in `binding` at once.

    `binding`: every budget has its window. `most`: see `holds.Recent.most`; asked for only when something depends on
    it. `at_ms`: when the request was made.
    """
    if not binding.standings:
        return Admitted(intent.request_id, key.name, key.team, key.tags)
    held, tokens = _held(intent, binding, most)
    left = binding.left(at_ms)
    if (left is not None and held > left) or not binding.has_room(now_ms, tokens):
        worst = max(binding.violations(at_ms, now_ms, held, tokens), key=_patience)
        allowances = binding.allowances(left, now_ms)
        return Refused(worst.reason, hit=worst.hit, retry_after_ms=worst.retry_after_ms, allowances=allowances)
    binding.take(at_ms, now_ms, held, tokens)
    # Every budget is held for alike, so what the tightest leaves is less by just that.
    allowances = binding.allowances(None if left is None else left - held, now_ms)
    return Admitted(intent.request_id, key.name, key.team, key.tags, held, tokens, allowances)


def _held(intent: Intent, binding: Binding, most: Callable[[], Sample | None]) -> tuple[int, int]:
    """Money and tokens to set aside: none where no budget, and no limit of tokens, applies."""
    tpm = binding.tpm
    if not binding.budgets and tpm is None:
        return 0, 0
    seen = most()
    return (
        hold(intent.asked, seen) if binding.budgets else 0,
        # Never more than the limit itself: a long request waits until nothing else counts, not for ever.
        min(tpm, tokens_held(intent.asked, seen)) if tpm is not None else 0,
    )


def _patience(violation: Violation) -> tuple[datetime, int]:
    """What takes longest to pass is told first."""
    if violation.reason is RefusalReason.BUDGET_SPENT:
        return violation.hit.resets_at or _NEVER, 0
    return datetime.min.replace(tzinfo=UTC), violation.retry_after_ms or 0


def _may_refer(intent: Intent, key: KeyFacts, reference: str, makers: Mapping[str, Maker | None]) -> bool:
    """Its own, or its team's if that is the rule. What nobody made surely is nobody's, whatever the rules are."""
    if reference not in makers:
        # In another spelling what is known to be another's would be unknown too; an upstream may read it all the same.
        return intent.rules.unknown and looks_like_id(reference)
    maker = makers[reference]
    if maker is None:
        return False
    return maker.key_id == key.id or (
        intent.rules.of_team and maker.team_id is not None and maker.team_id == key.team_id
    )


def _active(key: KeyFacts, now: datetime) -> bool:
    if key.state is not KeyState.ACTIVE:
        return False
    if key.expires_at is not None and now >= key.expires_at:
        return False
    return key.secret_expires_at is None or now < key.secret_expires_at
