"""What may be asked of refused requests: a part of what may be asked of requests, and why they were refused."""

from __future__ import annotations

from pydantic import Field

from app.admin.bodies import WRITE, PageQuery
from app.core.records import RefusalReason

WRITE_REASON = f"Write one of {', '.join(RefusalReason)}."


class OwnRefusalsQuery(PageQuery):
    """All given conditions hold; newest first."""

    model: str | None = Field(None, description=WRITE["model"])
    reason: str | None = Field(None, description=WRITE_REASON)
    id: str | None = Field(None, description="Write how the id begins.")
    last: str | None = Field(None, description=WRITE["last"])
    month: str | None = Field(None, description=WRITE["month"])
    from_: str | None = Field(None, alias="from", description=WRITE["from"])
    to: str | None = Field(None, description=WRITE["to"])


class RefusalsQuery(OwnRefusalsQuery):
    key: str | None = Field(None, description=WRITE["key"])
    team: str | None = Field(None, description="Write the name or id of a team: of keys that belong to it now.")
