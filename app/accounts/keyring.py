"""Team keys and teams: who may ask, and the verbs of those who decide that.

Knows neither SQL nor HTTP. `identify` is on the hot path; the rest serves the control plane.
Errors are `accounts.errors`, as sentences that say what to write instead.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NoReturn

from app.accounts.errors import BadName, BadValue, KeyNotFound, KeyRevoked, NameTaken, TeamNotFound
from app.core.clock import now
from app.core.keys import hash_secret, new_secret, parse_bearer
from app.core.records import KeyState
from app.core.views import PAGE_MAX, UNSET, KeyChange, KeyFilter, KeyRecord, NewKey, Page, TeamRecord
from app.store import changes, queries
from app.store.port import KeyIsRevoked, NameExists, RowMissing, Store

NAME_CHARACTERS_MAX = 64
TAG_CHARACTERS_MAX = 64
TAGS_MAX = 20
PATTERN_CHARACTERS_MAX = 200
PATTERNS_MAX = 100

# Known secrets kept in memory. They are looked up by hash; whether a key is active is read at admission.
CACHED_SECRETS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Identified:
    """A secret that is known; whether its key may be used is decided at admission."""

    key_id: str
    secret_hash: str


class Keyring:
    """Verbs over keys and teams. Names and ids are both taken as `ref`."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = now) -> None:
        self._store = store
        self._now = clock
        self._known: dict[str, Identified] = {}

    async def identify(self, authorization: bytes | None) -> Identified | None:
        """The key of an Authorization header, or None for every kind of refusal. Raises: `LedgerUnavailable`."""
        secret = parse_bearer(authorization)
        if secret is None:
            return None
        secret_hash = hash_secret(secret)
        known = self._known.get(secret_hash)
        if known is None:
            key_id = await self._store.read(queries.key_of_secret, secret_hash)
            if key_id is None:
                return None
            known = Identified(key_id, secret_hash)
            if len(self._known) >= CACHED_SECRETS_MAX:
                self._known.clear()
            self._known[secret_hash] = known
        return known

    async def holder(self, authorization: bytes | None) -> KeyRecord | None:
        """The key behind an Authorization header, if it may be used now; None for every kind of refusal.

        For what a key holder may see; requests are judged at admission. Raises: `LedgerUnavailable`.
        """
        secret = parse_bearer(authorization)
        if secret is None:
            return None
        key = await self._store.read(queries.key_behind, hash_secret(secret), self._now())
        return key if key is not None and key.state is KeyState.ACTIVE else None

    # --- keys -------------------------------------------------------------------------------

    async def create(self, spec: NewKey) -> tuple[KeyRecord, str]:
        """A new key and its secret, which nobody can be shown again. Raises: `NameTaken`, `TeamNotFound`, `Invalid`."""
        spec = replace(
            spec,
            name=_checked_name("key", spec.name),
            tags=_checked_tags(spec.tags),
            models=_checked_models(spec.models),
        )
        _check_expiry(spec.expires_at, self._now())
        secret = new_secret()
        try:
            key = await self._store.change(changes.create_key, spec, secret, self._now())
        except (NameExists, RowMissing) as error:
            await self._explain(error)
        return key, secret.text

    async def find(self, ref: str) -> KeyRecord:
        """Raises: `KeyNotFound`."""
        try:
            return await self._store.read(queries.find_key, ref, self._now())
        except RowMissing as error:
            await self._explain(error)

    async def list(
        self, wanted: KeyFilter | None = None, *, after: str | None = None, limit: int = 100
    ) -> Page[KeyRecord]:
        """Keys by name. Raises: `TeamNotFound`, `BadValue`."""
        _check_limit(limit)
        try:
            return await self._store.read(queries.list_keys, wanted or KeyFilter(), after, limit, self._now())
        except RowMissing as error:
            await self._explain(error)

    async def change(self, ref: str, change: KeyChange) -> KeyRecord:
        """Raises: `KeyNotFound`, `TeamNotFound`, `NameTaken`, `Invalid`."""
        change = _checked_change(change, self._now())
        try:
            return await self._store.change(changes.change_key, ref, change, self._now())
        except (NameExists, RowMissing) as error:
            await self._explain(error)

    async def rotate(self, ref: str, grace: timedelta = timedelta(0)) -> tuple[KeyRecord, str]:
        """A new secret; the old one works on for the grace. Raises: `KeyNotFound`, `KeyRevoked`, `BadValue`."""
        if grace < timedelta(0) or grace > timedelta(days=365):
            raise BadValue("A grace is between 0 and 365 days, such as 24h.", param="grace")
        secret, at = new_secret(), self._now()
        try:
            key = await self._store.change(changes.rotate_key, ref, secret, at + grace, at)
        except (RowMissing, KeyIsRevoked) as error:
            await self._explain(error)
        return key, secret.text

    async def disable(self, ref: str) -> KeyRecord:
        """Refused from now on, until enabled. Raises: `KeyNotFound`, `KeyRevoked`."""
        return await self._set_state(ref, KeyState.DISABLED)

    async def enable(self, ref: str) -> KeyRecord:
        """Raises: `KeyNotFound`, `KeyRevoked`."""
        return await self._set_state(ref, KeyState.ACTIVE)

    async def revoke(self, ref: str) -> KeyRecord:
        """Refused for ever. Raises: `KeyNotFound`."""
        return await self._set_state(ref, KeyState.REVOKED)

    # --- teams ------------------------------------------------------------------------------

    async def create_team(self, name: str) -> TeamRecord:
        """Raises: `NameTaken`, `BadName`."""
        try:
            return await self._store.change(changes.create_team, _checked_name("team", name), self._now())
        except NameExists as error:
            await self._explain(error)

    async def find_team(self, ref: str) -> TeamRecord:
        """Raises: `TeamNotFound`."""
        try:
            return await self._store.read(queries.find_team, ref)
        except RowMissing as error:
            await self._explain(error)

    async def list_teams(self, *, after: str | None = None, limit: int = 100) -> Page[TeamRecord]:
        _check_limit(limit)
        return await self._store.read(queries.list_teams, after, limit)

    async def change_team(self, ref: str, *, name: str) -> TeamRecord:
        """Raises: `TeamNotFound`, `NameTaken`, `BadName`."""
        try:
            return await self._store.change(changes.rename_team, ref, _checked_name("team", name))
        except (NameExists, RowMissing) as error:
            await self._explain(error)

    async def _set_state(self, ref: str, state: KeyState) -> KeyRecord:
        try:
            return await self._store.change(changes.set_key_state, ref, state, self._now())
        except (RowMissing, KeyIsRevoked) as error:
            await self._explain(error)

    async def _explain(self, error: NameExists | RowMissing | KeyIsRevoked) -> NoReturn:
        """Turns what the store says into a sentence, with the nearest names there are."""
        if isinstance(error, KeyIsRevoked):
            raise KeyRevoked(error.name) from None
        if isinstance(error, NameExists):
            raise NameTaken(error.kind, error.name) from None
        if error.kind == "team":
            raise TeamNotFound(error.ref, await self._store.read(queries.team_names)) from None
        raise KeyNotFound(error.ref, await self._store.read(queries.key_names)) from None


# --- what people write ---------------------------------------------------------------------


def _checked_name(kind: str, name: str) -> str:
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


def _checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(tags))
    if len(tags) > TAGS_MAX:
        raise BadValue(f"A key has at most {TAGS_MAX} tags.", param="tags")
    for tag in tags:
        if not 1 <= len(tag) <= TAG_CHARACTERS_MAX or not tag.isprintable() or tag != tag.strip() or "," in tag:
            raise BadValue(
                f"A tag is 1 to {TAG_CHARACTERS_MAX} visible characters without commas, such as prod.", param="tags"
            )
    return tags


def _checked_models(models: Iterable[str]) -> tuple[str, ...]:
    models = tuple(dict.fromkeys(models))
    if len(models) > PATTERNS_MAX:
        raise BadValue(f"A key has at most {PATTERNS_MAX} model patterns.", param="models")
    for pattern in models:
        if not 1 <= len(pattern) <= PATTERN_CHARACTERS_MAX or not pattern.isprintable() or " " in pattern:
            raise BadValue(
                "A model pattern is a name or a glob, such as openai/* or openai/gpt-4o-mini.", param="models"
            )
    return models


def _check_expiry(expires_at: datetime | None, at: datetime) -> None:
    if expires_at is not None and expires_at.tzinfo is None:
        raise BadValue("The expiry has no time zone: end it with Z or an offset.", param="expires_at")
    if expires_at is not None and expires_at <= at:
        raise BadValue(
            "The expiry lies in the past: give a future day or time, such as 2027-01-01.", param="expires_at"
        )


def _checked_change(change: KeyChange, at: datetime) -> KeyChange:
    if change.name is not UNSET:
        change = replace(change, name=_checked_name("key", change.name))
    if change.tags is not UNSET:
        change = replace(change, tags=_checked_tags(change.tags))
    if change.models is not UNSET:
        change = replace(change, models=_checked_models(change.models))
    if change.expires_at is not UNSET:
        _check_expiry(change.expires_at, at)
    return change


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= PAGE_MAX:
        raise BadValue(f"A page has between 1 and {PAGE_MAX} items.", param="limit")
