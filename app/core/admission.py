"""Whether a request may be forwarded: one pure decision over facts that were read together.

Called by the store for every intent of a batch, inside the transaction that also writes the
ledger row: what was decided and what was written cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.core.patterns import model_allowed
from app.core.records import Admitted, Intent, KeyState, RefusalReason, Refused


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


def decide(intent: Intent, key: KeyFacts | None, owners: Mapping[str, str], now: datetime) -> Admitted | Refused:
    """The verdict over an intent. `owners`: response id → id of the key that made it, as far as known."""
    if key is None or not _active(key, now):
        return Refused(RefusalReason.KEY_REFUSED)
    if not model_allowed(intent.model, key.models):
        return Refused(RefusalReason.MODEL_NOT_ALLOWED, allowed_models=key.models)
    for reference in intent.references:
        if owners.get(reference) != key.id:
            return Refused(RefusalReason.RESPONSE_NOT_FOUND, reference=reference)
    return Admitted(intent.request_id, key.name, key.team, key.tags)


def _active(key: KeyFacts, now: datetime) -> bool:
    if key.state is not KeyState.ACTIVE:
        return False
    limits = (key.expires_at, key.secret_expires_at)
    return all(limit is None or now < limit for limit in limits)
