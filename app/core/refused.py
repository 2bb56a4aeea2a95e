"""Requests that were not admitted, as they are read: the newest ones, and how many there were.

Plain frozen values, as in `views`. A refusal stands for no money: nothing was forwarded.
"""

from __future__ import annotations

from datetime import datetime

from app.core.records import LimitHit, RefusalReason
from app.core.value import Value
from app.core.views import Page


class RefusalRecord(Value, frozen=True):
    """`key` and `team` are names as they are now; the team is the one that the key belongs to now."""

    id: str  # the request's: what its client was told as x-irg-request-id
    at: datetime
    key: str
    key_id: str
    team: str | None
    model: str
    stream: bool
    sdk_retry: int
    reason: RefusalReason
    hit: LimitHit | None = None  # the limit; None for refusals of other kinds
    reference: str | None = None  # the response that it referred to, and may not


class RefusalFilter(Value, frozen=True):
    """All given conditions hold; `from_at` ≤ at < `to_at`."""

    key: str | None = None  # name or id
    team: str | None = None  # name or id
    model: str | None = None  # a glob, as key allow-lists have them
    reason: RefusalReason | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None
    ident: str | None = None  # how its id begins

    @property
    def counted(self) -> bool:
        """Whether the counts can tell how many there were: they know neither models nor ids."""
        return self.model is None and self.ident is None


class RefusalCount(Value, frozen=True):
    """How many requests of a key were refused for one reason."""

    key: str
    key_id: str
    reason: RefusalReason
    refused: int


class RefusalCounts(Value, frozen=True):
    """Counts of a span, widened to whole quarters of an hour; None = without such an edge."""

    from_at: datetime | None
    to_at: datetime | None
    counts: tuple[RefusalCount, ...]  # by the key's name and the reason

    @property
    def total(self) -> int:
        return sum(one.refused for one in self.counts)


class RefusalReport(Value, frozen=True):
    """A page of what is still held, and the counts of all there ever were; None = they cannot tell."""

    page: Page[RefusalRecord]
    counts: RefusalCounts | None
