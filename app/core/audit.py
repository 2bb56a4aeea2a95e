"""Who changed what and when: the entries of the audit log, and what is asked of them.

Plain frozen values. An entry tells the fields that a change made different and never holds a
secret, a hash, or an address with credentials in it. Called by the verbs, the store and the control plane.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from app.core.value import Value

ACTOR_CHARACTERS_MAX = 64

# An admin who does not say who it is.
ADMIN = "admin"


class Via(StrEnum):
    """How a change came in. Whoever comes this way is an admin; who it is, is what they say of themselves."""

    NETWORK = "network"  # with the admin token
    SOCKET = "socket"  # through the gateway's Unix socket
    PROCESS = "process"  # a command that opened the ledger itself
    GATEWAY = "gateway"  # the gateway by itself


class Actor(Value, frozen=True):
    name: str
    via: Via


THE_GATEWAY: Final = Actor("gateway", Via.GATEWAY)


class Action(StrEnum):
    """What was done: a noun and a past participle."""

    KEY_CREATED = "key.created"
    KEY_CHANGED = "key.changed"
    KEY_ROTATED = "key.rotated"
    KEY_DISABLED = "key.disabled"
    KEY_ENABLED = "key.enabled"
    KEY_REVOKED = "key.revoked"
    TEAM_CREATED = "team.created"
    TEAM_CHANGED = "team.changed"
    BUDGET_CHANGED = "budget.changed"  # of the whole gateway
    REQUESTS_RESOLVED = "requests.resolved"
    MONTH_SEALED = "month.sealed"
    ALERT_ADDED = "alert.added"
    ALERT_REMOVED = "alert.removed"
    SETTINGS_CHANGED = "settings.changed"

    @property
    def noun(self) -> str:
        return self.value.partition(".")[0]

    @property
    def makes(self) -> bool:
        """There was nothing before."""
        return self.value.endswith((".created", ".added"))

    @property
    def ends(self) -> bool:
        """There is nothing afterwards."""
        return self.value.endswith(".removed")


NOUNS: Final = tuple(dict.fromkeys(action.noun for action in Action))


class Target(Value, frozen=True):
    """What was changed, under the name that it had then."""

    kind: str
    id: str
    name: str


class AuditRecord(Value, frozen=True):
    """One entry. `before` and `after` hold the fields that differ; None = it was not there, or is no more.

    `action` is text: a newer version may have written others than this one knows.
    """

    id: str  # aud_<ulid>: in the order of commits
    at: datetime
    actor: Actor
    action: str
    target: Target
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class AuditFilter(Value, frozen=True):
    """All given conditions hold; `from_at` ≤ at < `to_at`."""

    target: str | None = None  # an id, or a name that it has or had
    action: str | None = None  # an action, or its noun alone
    actor: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as it holds. With a `secret` the value is not told, only that it is set."""

    value: Any  # as JSON has it
    default: Any
    secret: str | None = field(default=None, repr=False)


def actor_name(told: str | None) -> str:
    """What somebody says of themselves, as it may stand in a log: 64 visible characters at most."""
    seen = "".join(letter for letter in told or "" if letter.isprintable())
    return unicodedata.normalize("NFC", seen).strip()[:ACTOR_CHARACTERS_MAX].strip() or ADMIN
