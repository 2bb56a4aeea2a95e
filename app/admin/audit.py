"""Route of the audit log, and its shapes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app.accounts.audit import Audit
from app.admin.bodies import AuditQuery
from app.admin.filters import span_asked
from app.admin.schemas import Shape, Time
from app.core.audit import AuditFilter, AuditRecord, Via
from app.core.clock import format_time


class AuditShape(Shape):
    """One change. `before` and `after` have the fields that differ; secrets are told as set, unset or changed."""

    id: str
    at: Time
    actor: str = Field(description="Who, as they say of themselves")
    via: Via = Field(description="How it came in: network, socket, process (a command by itself), gateway")
    action: str
    target: str = Field(description="Its name before the change")
    target_id: str
    target_kind: str
    before: dict[str, Any] | None = Field(description="null = it was not there")
    after: dict[str, Any] | None = Field(description="null = it is no more")


class AuditPage(Shape):
    items: list[AuditShape]
    next: str | None


class AuditRoutes:
    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/audit", self.list_audit, methods=["GET"])

    async def list_audit(self, query: Annotated[AuditQuery, Query()]) -> AuditPage:
        """Who changed what, newest first; all given conditions hold."""
        from_at, to_at = span_asked(query, self._audit.zone)
        wanted = AuditFilter(query.target, query.action, query.actor, from_at, to_at)
        page = await self._audit.entries(wanted, after=query.after, limit=query.limit)
        return AuditPage(items=[audit_shape(record) for record in page.items], next=page.next)


def audit_shape(record: AuditRecord) -> AuditShape:
    return AuditShape(
        id=record.id,
        at=format_time(record.at),
        actor=record.actor.name,
        via=record.actor.via,
        action=record.action,
        target=record.target.name,
        target_id=record.target.id,
        target_kind=record.target.kind,
        before=None if record.before is None else dict(record.before),
        after=None if record.after is None else dict(record.after),
    )
