"""The audit log as it is read: entries in pages, newest first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_, select, union

from app.core.audit import Action, Actor, AuditFilter, AuditRecord, Target, Via
from app.core.clock import from_ms, to_ms
from app.core.views import Page
from app.store.queries import named
from app.store.schema import adjustments, keys, teams
from app.store.schema_audit import audit


def list_audit(connection: Connection, wanted: AuditFilter, after: str | None, limit: int) -> Page[AuditRecord]:
    """Newest first. `after`: the `next` of the page before."""
    query = select(audit).where(*_conditions(wanted)).order_by(audit.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(audit.c.id < after)
    found = connection.execute(query).all()
    return Page(tuple(map(_record, found[:limit])), found[limit - 1].id if len(found) > limit else None)


def _conditions(wanted: AuditFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.from_at is not None:
        yield audit.c.at >= to_ms(wanted.from_at)
    if wanted.to_at is not None:
        yield audit.c.at < to_ms(wanted.to_at)
    if wanted.actor is not None:
        yield audit.c.actor == wanted.actor
    if wanted.action is not None:
        yield or_(audit.c.action == wanted.action, audit.c.action.startswith(f"{wanted.action}.", autoescape=True))
    if wanted.target is not None:
        yield or_(audit.c.target_id.in_(_targets(wanted.target)), _resolved_with_others(wanted.target))


def _targets(ref: str) -> Select[Any]:
    """The ids that are, or belong to something that is or was called so."""
    known = [select(audit.c.target_id).where(or_(audit.c.target_id == ref, audit.c.target_name == ref))]
    known += [select(table.c.id).where(named(table, ref)) for table in (keys, teams)]
    return select(union(*known).subquery())


def _resolved_with_others(request_id: str) -> ColumnElement[bool]:
    """Many are resolved in one entry, at the time that each one's adjustment has."""
    moments = select(adjustments.c.at).where(adjustments.c.request_id == request_id)
    return and_(audit.c.action == Action.REQUESTS_RESOLVED, audit.c.target_kind == "requests", audit.c.at.in_(moments))


def _record(row: Row[Any]) -> AuditRecord:
    return AuditRecord(
        id=row.id,
        at=from_ms(row.at),
        actor=Actor(row.actor, Via(row.via)),
        action=row.action,
        target=Target(row.target_kind, row.target_id, row.target_name),
        before=None if row.before is None else json.loads(row.before),
        after=None if row.after is None else json.loads(row.after),
    )
