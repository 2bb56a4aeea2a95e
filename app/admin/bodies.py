"""What comes in: bodies and query strings, unknown fields refused by name.

Lives here: the fields and, for each, the sentence that says what to write. What they mean
(time zones, spans) is in `times.py`; whether a name is free or a team exists is the accounts'.
"""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from app.core.budgets import BudgetPeriod
from app.core.records import KeyState, Outcome, State
from app.core.views import PAGE_MAX

# What to write in each field: told with every refusal, and in /openapi.json.
WRITE = {
    "name": "Write a name such as support-bot.",
    "address": "Write https://… (a signed webhook), or file:/PATH of a file that holds the address of a service.",
    "team": "Write the name or id of a team.",
    "key": "Write the name or id of a key.",
    "model": "Write a model name or a glob, such as openai/*.",
    "models": 'Write a list of model names or globs, such as ["openai/*"]; an empty list allows all.',
    "tags": 'Write a list of words, such as ["prod"].',
    "expires_at": "Write a day (2027-01-01, its first instant in the gateway's time zone) or a time "
    "(2027-01-01T12:00:00Z).",
    "budgets": 'Write a list such as ["45/month", "5/day"]: amounts in USD per day, week, month or total; [] = none.',
    "unset": 'Write a list of the periods whose budget is to end, such as ["day"]; [] = none.',
    "rpm": "Write how many requests per minute at most: a whole number; null = no limit.",
    "tpm": "Write how many tokens per minute at most: a whole number; null = no limit.",
    "concurrency": "Write how many requests at once at most: a whole number; null = no limit.",
    "secret": "Write the secret of another gateway's key, to give this one the same; absent = a new one is made.",
    "grace": "Write how long the old secret stays valid: 30m, 24h, 7d, or 0.",
    "format": "Write csv, jsonl or parquet.",
    "by": "Write one or two of key, team, model, day, tag: by=key or by=key,model.",
    "own_by": "Write one or two of key, model, day, tag: by=model or by=day,model.",
    "status": "Write a status such as 200, or a class such as 5xx.",
    "outcome": f"Write one of {', '.join(Outcome)}.",
    "min_cost": "Write the least true cost in USD, such as 0.01.",
    "max_cost": "Write the greatest true cost in USD, such as 0.01.",
    "unknown_reason": "Write the reason as it is shown, such as instance_lost.",
    "tag": "Write one tag, exactly as keys have it.",
    "id": "Write how the request's id, its response's, or the upstream's request id begins.",
    "ids": 'Write a list of request ids, such as ["req_..."]; or all: true.',
    "all": "Write true for all unknown requests that meet the other conditions; or a list of ids.",
    "cost": "Write the true cost of each request in USD, such as 0.0123.",
    "charged": "Write what each was charged in USD; absent = the cost rounded up to 1/10,000.",
    "reason": "Write why, such as 'as told by the provider'.",
    "resolver": "Write who resolves it, such as alice.",
    "again": "Write true to correct what was resolved before.",
    "preview": "Write true to see what would change, without changing it.",
    "expected": "Write how many requests the preview had; if they are more or fewer now, nothing is changed.",
    "target": "Write the name or id of what was changed, such as a key's.",
    "action": "Write an action such as key.revoked, or its noun for all of these: key.",
    "actor": "Write who did it, exactly as it is shown.",
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

    # Each is made when it is first asked for, as the shapes are.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_by_name=False, validate_by_alias=True, defer_build=True
    )

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


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class LimitsBody(Strict):
    """Absent = no such limit (where something is made), or as it is (where it is changed)."""

    budgets: list[Text] = Field([], max_length=20, description=WRITE["budgets"])
    rpm: StrictInt | None = Field(None, description=WRITE["rpm"])
    tpm: StrictInt | None = Field(None, description=WRITE["tpm"])
    concurrency: StrictInt | None = Field(None, description=WRITE["concurrency"])


class NewKeyBody(LimitsBody):
    name: Text = Field(description=WRITE["name"])
    team: Text | None = Field(None, description=WRITE["team"])
    models: list[Text] = Field([], description=WRITE["models"])
    expires_at: Text | None = Field(None, description=WRITE["expires_at"])
    tags: list[Text] = Field([], description=WRITE["tags"])
    secret: Text | None = Field(None, description=WRITE["secret"])


class KeyChangeBody(LimitsBody):
    """Fields that are absent stay as they are; null takes a team, an expiry or a limit away."""

    name: Text = Field("", description=WRITE["name"])
    team: Text | None = Field(None, description=WRITE["team"])
    models: list[Text] = Field([], description=WRITE["models"])
    expires_at: Text | None = Field(None, description=WRITE["expires_at"])
    tags: list[Text] = Field([], description=WRITE["tags"])


class RotateBody(Strict):
    grace: Text = Field("0", description=WRITE["grace"])
    secret: Text | None = Field(None, description=WRITE["secret"])


class NewTeamBody(LimitsBody):
    name: Text = Field(description=WRITE["name"])


class TeamChangeBody(LimitsBody):
    """Fields that are absent stay as they are; null takes a limit away."""

    name: Text = Field("", description=WRITE["name"])


class BudgetBody(Strict):
    budgets: list[Text] = Field(max_length=20, description=WRITE["budgets"])


class BudgetChangeBody(Strict):
    """Budgets of periods that are not named stay as they are."""

    budgets: list[Text] = Field([], max_length=20, description=WRITE["budgets"])
    unset: list[BudgetPeriod] = Field([], max_length=20, description=WRITE["unset"])


class PageQuery(Strict):
    limit: Limit = PAGE_DEFAULT
    after: Cursor = None


class KeysQuery(PageQuery):
    team: str | None = Field(None, description=WRITE["team"])
    state: KeyState | None = None


class OwnRequestsQuery(PageQuery):
    """All given conditions hold; newest first."""

    model: str | None = Field(None, description=WRITE["model"])
    state: State | None = None
    outcome: Outcome | None = Field(None, description=WRITE["outcome"])
    status: str | None = Field(None, description=WRITE["status"])
    min_cost: str | None = Field(None, description=WRITE["min_cost"])
    max_cost: str | None = Field(None, description=WRITE["max_cost"])
    unknown_reason: str | None = Field(None, description=WRITE["unknown_reason"])
    tag: str | None = Field(None, description=WRITE["tag"])
    id: str | None = Field(None, description=WRITE["id"])
    last: str | None = Field(None, description=WRITE["last"])
    month: str | None = Field(None, description=WRITE["month"])
    from_: str | None = Field(None, alias="from", description=WRITE["from"])
    to: str | None = Field(None, description=WRITE["to"])


class RequestsQuery(OwnRequestsQuery):
    key: str | None = Field(None, description=WRITE["key"])
    team: str | None = Field(None, description=WRITE["team"])


class AuditQuery(PageQuery):
    """All given conditions hold; newest first."""

    target: str | None = Field(None, description=WRITE["target"])
    action: str | None = Field(None, description=WRITE["action"])
    actor: str | None = Field(None, description=WRITE["actor"])
    last: str | None = Field(None, description=WRITE["last"])
    month: str | None = Field(None, description=WRITE["month"])
    from_: str | None = Field(None, alias="from", description=WRITE["from"])
    to: str | None = Field(None, description=WRITE["to"])


class PeriodQuery(Strict):
    """One of last, month, or from and to; the last 30 days without any."""

    last: str | None = Field(None, description=WRITE["last"])
    month: str | None = Field(None, description=WRITE["month"])
    from_: str | None = Field(None, alias="from", description=WRITE["from"])
    to: str | None = Field(None, description=WRITE["to"])


class UsageQuery(PeriodQuery):
    by: list[str] = Field(["key"], description=WRITE["by"])


class OwnUsageQuery(PeriodQuery):
    by: list[str] = Field(["key"], description=WRITE["own_by"])


class ExportQuery(PeriodQuery):
    """One of last, month, or from and to; everything without any."""

    format: Format
    key: str | None = Field(None, description=WRITE["key"])
    team: str | None = Field(None, description=WRITE["team"])
    model: str | None = Field(None, description=WRITE["model"])
    tag: str | None = Field(None, description=WRITE["tag"])


class ResolveOneBody(Strict):
    cost: Text = Field(description=WRITE["cost"])
    charged: Text | None = Field(None, description=WRITE["charged"])
    reason: Text = Field(description=WRITE["reason"])
    by: Text = Field("admin", description=WRITE["resolver"])
    again: StrictBool = Field(False, description=WRITE["again"])
    preview: StrictBool = Field(False, description=WRITE["preview"])


class ResolveBody(ResolveOneBody):
    """Either ids, or all with conditions, which all hold."""

    ids: list[Text] = Field([], max_length=1000, description=WRITE["ids"])
    all: StrictBool = Field(False, description=WRITE["all"])
    expected: int | None = Field(None, ge=0, description=WRITE["expected"])
    key: Text | None = Field(None, description=WRITE["key"])
    team: Text | None = Field(None, description=WRITE["team"])
    model: Text | None = Field(None, description=WRITE["model"])
    tag: Text | None = Field(None, description=WRITE["tag"])
    outcome: Outcome | None = Field(None, description=WRITE["outcome"])
    unknown_reason: Text | None = Field(None, description=WRITE["unknown_reason"])
    last: Text | None = Field(None, description=WRITE["last"])
    month: Text | None = Field(None, description=WRITE["month"])
    from_: Text | None = Field(None, alias="from", description=WRITE["from"])
    to: Text | None = Field(None, description=WRITE["to"])


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
