"""The control plane as one router. Called by `app.main` and, when no gateway runs, by the command line."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Security
from fastapi.security import HTTPBearer

from app.admin.alerts import AlertRoutes
from app.admin.audit import AuditRoutes
from app.admin.events import EventRoutes
from app.admin.export import ExportRoutes
from app.admin.keys import KeyRoutes
from app.admin.refusals import RefusalRoutes
from app.admin.requests import RequestRoutes
from app.admin.route import admin_routes
from app.admin.schemas import ErrorShape
from app.admin.teams import TeamRoutes
from app.admin.usage import UsageRoutes
from app.wiring import Services

# For /openapi.json only: what decides is `auth.authorize`, before a request is read.
ADMIN_TOKEN = HTTPBearer(scheme_name="admin token", description="IRG_ADMIN_TOKEN", auto_error=False)

# A reference in place of `"model": ErrorShape`: for that FastAPI would make two validators for every route, which
# takes longer than the rest of an application. `app.openapi` puts the schema in its place.
_ERROR = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorShape.__name__}"}}}

REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"content": _ERROR, "description": "Refused; the message says what to write instead"},
    503: {"content": _ERROR, "description": "The ledger cannot be read or written now"},
}


def build_admin(services: Services) -> APIRouter:
    """Every route of the control plane, opened by the services' admin token or the gateway's own Unix socket."""
    router = APIRouter(
        prefix="/admin/v1",
        tags=["control plane"],
        route_class=admin_routes(services.admin_token),
        dependencies=[Security(ADMIN_TOKEN)],
        responses=REFUSALS,
    )
    KeyRoutes(services.keyring, services.reports.zone).add_to(router)
    TeamRoutes(services.keyring).add_to(router)
    RequestRoutes(services.reports, services.corrections).add_to(router)
    RefusalRoutes(services.reports).add_to(router)
    UsageRoutes(services.reports).add_to(router)
    ExportRoutes(services.reports).add_to(router)
    AuditRoutes(services.audit).add_to(router)
    AlertRoutes(services.alerts).add_to(router)
    EventRoutes(services.reports, services.closing).add_to(router)
    return router
