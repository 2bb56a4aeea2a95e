"""What people write for keys, teams and limits: judged, or refused with what to write instead.

Pure. Called by the verbs, and by the control plane for what comes as text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import datetime

from app.accounts.errors import BadName, BadValue
from app.core.budgets import Budget, parse_budget
from app.core.limits import Limits
from app.core.owners import UNSET, KeyChange, LimitsChange, NewKey
from app.core.value import replace
from app.core.views import PAGE_MAX

NAME_CHARACTERS_MAX = 64
TAG_CHARACTERS_MAX = 64
TAGS_MAX = 20
PATTERN_CHARACTERS_MAX = 200
PATTERNS_MAX = 100

# More is no limit: what a machine could do at most.
RPM_MAX = 1_000_000
TPM_MAX = 1_000_000_000
CONCURRENCY_MAX = 100_000


def checked_new(spec: NewKey, at: datetime) -> NewKey:
    """Raises: `Invalid`."""
    check_expiry(spec.expires_at, at)
    return replace(
        spec,
        name=checked_name("key", spec.name),
        tags=checked_tags(spec.tags),
        models=checked_models(spec.models),
        budgets=checked_budgets(spec.budgets),
        limits=checked_limits(spec.limits),
    )


def checked_name(kind: str, name: str) -> str:
    """Names stand in tables, commands and paths: short, visible, without white space at the ends or slashes."""
    name, fault = unicodedata.normalize("NFC", name), None
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        fault = f"has {len(name)} characters"
    elif name != name.strip():
        fault = "begins or ends with a space"
    elif not name.isprintable() or any(unicodedata.category(letter) == "Cf" for letter in name):
        fault = "has characters that cannot be seen"
    elif any(letter in name for letter in "/\\") or name in (".", ".."):
        fault = "reads like a path"
    elif name.startswith(("-", "key_", "team_", "irg_")):
        fault = "begins like an option, an id or a secret"
    if fault is not None:
        raise BadName(
            f"This {kind} name {fault}. A name is 1 to {NAME_CHARACTERS_MAX} visible characters, such as support-bot.",
            param="name",
        )
    return name


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(tags))
    if len(tags) > TAGS_MAX:
        raise BadValue(f"A key has at most {TAGS_MAX} tags.", param="tags")
    for tag in tags:
        if not 1 <= len(tag) <= TAG_CHARACTERS_MAX or not tag.isprintable() or tag != tag.strip() or "," in tag:
            raise BadValue(
                f"A tag is 1 to {TAG_CHARACTERS_MAX} visible characters without commas, such as prod.", param="tags"
            )
    return tags


def checked_models(models: Iterable[str]) -> tuple[str, ...]:
    models = tuple(dict.fromkeys(models))
    if len(models) > PATTERNS_MAX:
        raise BadValue(f"A key has at most {PATTERNS_MAX} model patterns.", param="models")
    for pattern in models:
        if not 1 <= len(pattern) <= PATTERN_CHARACTERS_MAX or not pattern.isprintable() or " " in pattern:
            raise BadValue(
                "A model pattern is a name or a glob, such as openai/* or openai/gpt-4o-mini.", param="models"
            )
    return models


def check_expiry(expires_at: datetime | None, at: datetime) -> None:
    if expires_at is not None and expires_at.tzinfo is None:
        raise BadValue("The expiry has no time zone: end it with Z or an offset.", param="expires_at")
    if expires_at is not None and expires_at <= at:
        raise BadValue(
            "The expiry lies in the past: give a future day or time, such as 2027-01-01.", param="expires_at"
        )


def checked_change(change: KeyChange, at: datetime) -> KeyChange:
    if change.name is not UNSET:
        change = replace(change, name=checked_name("key", change.name))
    if change.tags is not UNSET:
        change = replace(change, tags=checked_tags(change.tags))
    if change.models is not UNSET:
        change = replace(change, models=checked_models(change.models))
    if change.expires_at is not UNSET:
        check_expiry(change.expires_at, at)
    return replace(change, limits=checked_limits_change(change.limits))


def check_limit(limit: int) -> None:
    if not 1 <= limit <= PAGE_MAX:
        raise BadValue(f"A page has between 1 and {PAGE_MAX} items.", param="limit")


def check_page(after: str | None, limit: int, kind: str) -> None:
    """Of a list whose cursors are ids of this kind (`req`). Raises: `BadValue`."""
    check_limit(limit)
    if after is not None and not after.startswith(f"{kind}_"):
        raise BadValue("This is no cursor of the list: pass the `next` of the page before.", param="after")


def budgets_from(texts: Iterable[str]) -> tuple[Budget, ...]:
    """`45/month`, `5/day`. Raises: `BadValue`."""
    try:
        return checked_budgets(tuple(parse_budget(text) for text in texts))
    except ValueError as error:
        raise BadValue(f"budgets: {error}.", param="budgets") from None


def checked_budgets(budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
    periods = [budget.period for budget in budgets]
    for period in periods:
        if periods.count(period) > 1:
            raise BadValue(
                f"There are two budgets per {period}, of which only the smaller could ever count: give one.",
                param="budgets",
            )
    return budgets


def checked_limits(limits: Limits) -> Limits:
    _check_count("rpm", limits.rpm, RPM_MAX)
    _check_count("tpm", limits.tpm, TPM_MAX)
    _check_count("concurrency", limits.concurrency, CONCURRENCY_MAX)
    return limits


def checked_limits_change(change: LimitsChange) -> LimitsChange:
    checked_limits(change.of(Limits()))
    return change if change.budgets is UNSET else replace(change, budgets=checked_budgets(change.budgets))


def _check_count(param: str, count: int | None, most: int) -> None:
    if count is not None and not 1 <= count <= most:
        hint = "to refuse everything, disable the key; for no limit, leave it out"
        raise BadValue(f"{param}: write a whole number from 1 to {most} ({hint}).", param=param)
