"""What comes in: bodies and query strings, unknown fields refused by name.

Lives here: the fields and, for each, the sentence that says what to write. What they mean
(time zones, spans) is in `times.py`; whether a name is free or a team exists is the accounts'.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.core.records import KeyState, State
from app.core.views import PAGE_MAX, GroupBy

# What to write in each field: told with every refusal, and in /openapi.json.
WRITE = {
    "name": "Write a name such as support-bot.",
    "team": "Write the name or id of a team.",
    "key": "Write the name or id of a key.",
    "model": "Write one model name, exactly as requests name it.",
    "models": 'Write a list of model names or globs, such as ["openai/*"]; an empty list allows all.',
    "tags": 'Write a list of words, such as ["prod"].',
    "expires_at": "Write a day (2027-01-01, its first instant in the gateway's time zone) or a time "
    "(2027-01-01T12:00:00Z).",
    "grace": "Write how long the old secret stays valid: 30m, 24h, 7d, or 0.",
    "format": "Write csv or jsonl.",
    "limit": "Write a whole number from 1 to 1000.",
    "after": "Write the cursor that the page before gave as next.",
    "last": "Write a span such as 24h, 7d or 4w.",
    "month": "Write a month such as 2026-10.",
    "from": "Write a day (2026-10-01) or a time (2026-10-01T12:00:00Z).",
    "to": "Write a day (2026-10-31, it is included) or a time (2026-10-31T12:00:00Z, it is not).",
}

PAGE_DEFAULT = 100

# What a database counts up to.
SEQUENCE_MAX = 2**63 - 1

Limit = Annotated[int, Field(ge=1, le=PAGE_MAX, description=WRITE["limit"])]
Cursor = Annotated[str | None, Field(description=WRITE["after"])]
Text = Annotated[str, Field(max_length=1000)]


class Strict(BaseModel):
    """Refuses what it does not know: a misspelt filter or limit must never count as none."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=False, validate_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _names_the_unknown(cls, given: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for name in given if isinstance(given, dict) else ():
            if name not in known:
                shown = name if len(name) <= 80 else name[:80] + "…"
                sentence = f"There is no field {shown!r}.{_nearest(name, known)} Fields: {', '.join(known)}."
                raise PydanticCustomError("unknown_field", "{sentence}", {"sentence": sentence, "field": shown})
        return given


class NewKeyBody(Strict):
    name: Text = Field(description=WRITE["name"])
    team: Text | None = Field(None, description=WRITE["team"])
    models: list[Text] = Field([], description=WRITE["models"])
    expires_at: Text | None = Field(None, description=WRITE["expires_at"])
    tags: list[Text] = Field([], description=WRITE["tags"])


class KeyChangeBody(Strict):
    """Fields that are absent stay as they are; null takes a team or an expiry away."""

    name: Text = Field("", description=WRITE["name"])
    team: Text | None = Field(None, description=WRITE["team"])
    models: list[Text] = Field([], description=WRITE["models"])
    expires_at: Text | None = Field(None, description=WRITE["expires_at"])
    tags: list[Text] = Field([], description=WRITE["tags"])


class RotateBody(Strict):
    grace: Text = Field("0", description=WRITE["grace"])


class TeamBody(Strict):
    name: Text = Field(description=WRITE["name"])


class PageQuery(Strict):
    limit: Limit = PAGE_DEFAULT
    after: Cursor = None


class KeysQuery(PageQuery):
    team: str | None = Field(None, description=WRITE["team"])
    state: KeyState | None = None


class RequestsQuery(PageQuery):
    """All given conditions hold; newest first."""

    key: str | None = Field(None, description=WRITE["key"])
    team: str | None = Field(None, description=WRITE["team"])
    model: str | None = Field(None, description=WRITE["model"])
    state: State | None = None
    from_: str | None = Field(None, alias="from", description=WRITE["from"])
    to: str | None = Field(None, description=WRITE["to"])


class PeriodQuery(Strict):
    """One of last, month, or from and to; the last 30 days without any."""

    last: str | None = Field(None, description=WRITE["last"])
    month: str | None = Field(None, description=WRITE["month"])
    from_: str | None = Field(None, alias="from", description=WRITE["from"])
    to: str | None = Field(None, description=WRITE["to"])


class UsageQuery(PeriodQuery):
    by: GroupBy = GroupBy.KEY


class EventsQuery(Strict):
    after: int | None = Field(
        None,
        ge=0,
        le=SEQUENCE_MAX,
        description="Write the id of the last event seen; 0 = from the first. Absent = from now on.",
    )


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
