"""Team keys and teams: who may ask, and the verbs of those who decide that.

Knows neither SQL nor HTTP. `known` and `identified` are on the hot path; the rest serves the control plane.
Errors are `accounts.errors`, as sentences that say what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NoReturn

from app.accounts.errors import BadValue, KeyNotFound, KeyRevoked, NameTaken, SecretTaken, TeamNotFound
from app.accounts.wishes import (
    check_limit,
    checked_budgets,
    checked_change,
    checked_limits_change,
    checked_name,
    checked_new,
)
from app.core.audit import THE_GATEWAY, Action, Actor
from app.core.budgets import Budget, BudgetPeriod
from app.core.clock import format_time, now
from app.core.holds import Billing
from app.core.keys import TeamSecret, hash_secret, known_secret, new_secret, parse_bearer
from app.core.limits import GATEWAY
from app.core.owners import BudgetRecord, KeyChange, KeyFilter, KeyRecord, LimitsChange, NewKey, TeamRecord
from app.core.records import KeyState
from app.core.value import Value
from app.core.views import Page
from app.store import changes, queries
from app.store.audit import KEY, TEAM, WHOLE_GATEWAY, Deed, audited
from app.store.port import KeyIsRevoked, NameExists, RowMissing, SecretExists, Store

NO_CHANGE = LimitsChange()

# Known secrets kept in memory. They are looked up by hash; whether a key is active is read at admission.
CACHED_SECRETS_MAX = 10_000


class Identified(Value, frozen=True):
    """A secret that is known; whether its key may be used is decided at admission."""

    key_id: str
    secret_hash: str


class Keyring:
    """Verbs over keys and teams. Names and ids are both taken as `ref`; `by` is who does it, for the audit log."""

    def __init__(
        self, store: Store, *, billing: Billing = Billing.CHARGED, clock: Callable[[], datetime] = now
    ) -> None:
        self._store = store
        self._billing = billing  # which cost counts against budgets that begin
        self._now = clock
        self._known: dict[str, Identified] = {}

    async def identify(self, authorization: bytes | None) -> Identified | None:
        """The key of an Authorization header, or None for every kind of refusal. Raises: `LedgerUnavailable`."""
        secret = parse_bearer(authorization)
        return await self.identified(hash_secret(secret)) if secret is not None else None

    def known(self, secret_hash: str) -> Identified | None:
        """The key whose secret has this hash, if somebody showed it before."""
        return self._known.get(secret_hash)

    async def identified(self, secret_hash: str) -> Identified | None:
        """The key whose secret has this hash, if there is one. Raises: `LedgerUnavailable`."""
        known = self.known(secret_hash)
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

    async def create(
        self, spec: NewKey, *, secret_text: str | None = None, by: Actor = THE_GATEWAY
    ) -> tuple[KeyRecord, str]:
        """A new key and its secret, which nobody can be shown again: a new one, or the one of another gateway's key.

        Raises: `NameTaken`, `TeamNotFound`, `SecretTaken`, `Invalid`.
        """
        at = self._now()
        spec, secret = checked_new(spec, at), _secret(secret_text)
        create = audited(changes.create_key, Deed(by, Action.KEY_CREATED, KEY, at))
        try:
            key = await self._store.change(create, spec, secret, at, self._billing)
        except (NameExists, RowMissing, SecretExists) as error:
            await self._explain(error)
        self._known.pop(secret.hash, None)  # it may have been another key's once
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
        check_limit(limit)
        try:
            return await self._store.read(queries.list_keys, wanted or KeyFilter(), after, limit, self._now())
        except RowMissing as error:
            await self._explain(error)

    async def change(self, ref: str, change: KeyChange, *, by: Actor = THE_GATEWAY) -> KeyRecord:
        """Raises: `KeyNotFound`, `TeamNotFound`, `NameTaken`, `Invalid`."""
        at = self._now()
        wanted = checked_change(change, at)
        run = audited(changes.change_key, Deed(by, Action.KEY_CHANGED, KEY, at, ref))
        try:
            return await self._store.change(run, ref, wanted, at, self._billing)
        except (NameExists, RowMissing) as error:
            await self._explain(error)

    async def rotate(
        self,
        ref: str,
        grace: timedelta = timedelta(0),
        *,
        secret_text: str | None = None,
        by: Actor = THE_GATEWAY,
    ) -> tuple[KeyRecord, str]:
        """A new secret, or another gateway's; the old one works on for the grace.

        Raises: `KeyNotFound`, `KeyRevoked`, `SecretTaken`, `BadValue`.
        """
        if grace < timedelta(0) or grace > timedelta(days=365):
            raise BadValue("A grace is between 0 and 365 days, such as 24h.", param="grace")
        secret, at = _secret(secret_text), self._now()
        told = {"old_secret_ends_at": format_time(at + grace)}
        run = audited(changes.rotate_key, Deed(by, Action.KEY_ROTATED, KEY, at, ref, told))
        try:
            key = await self._store.change(run, ref, secret, at + grace, at)
        except (RowMissing, KeyIsRevoked, SecretExists) as error:
            await self._explain(error)
        self._known.pop(secret.hash, None)  # it may have been another key's once
        return key, secret.text

    async def disable(self, ref: str, *, by: Actor = THE_GATEWAY) -> KeyRecord:
        """Refused from now on, until enabled. Raises: `KeyNotFound`, `KeyRevoked`."""
        return await self._set_state(ref, KeyState.DISABLED, Action.KEY_DISABLED, by)

    async def enable(self, ref: str, *, by: Actor = THE_GATEWAY) -> KeyRecord:
        """Raises: `KeyNotFound`, `KeyRevoked`."""
        return await self._set_state(ref, KeyState.ACTIVE, Action.KEY_ENABLED, by)

    async def revoke(self, ref: str, *, by: Actor = THE_GATEWAY) -> KeyRecord:
        """Refused for ever. Raises: `KeyNotFound`."""
        return await self._set_state(ref, KeyState.REVOKED, Action.KEY_REVOKED, by)

    # --- teams ------------------------------------------------------------------------------

    async def create_team(self, name: str, limits: LimitsChange = NO_CHANGE, *, by: Actor = THE_GATEWAY) -> TeamRecord:
        """Raises: `NameTaken`, `BadName`, `BadValue`."""
        name, limits, at = checked_name("team", name), checked_limits_change(limits), self._now()
        create = audited(changes.create_team, Deed(by, Action.TEAM_CREATED, TEAM, at))
        try:
            return await self._store.change(create, name, at, limits, self._billing)
        except NameExists as error:
            await self._explain(error)

    async def find_team(self, ref: str) -> TeamRecord:
        """Raises: `TeamNotFound`."""
        try:
            return await self._store.read(queries.find_team, ref, self._now())
        except RowMissing as error:
            await self._explain(error)

    async def list_teams(self, *, after: str | None = None, limit: int = 100) -> Page[TeamRecord]:
        check_limit(limit)
        return await self._store.read(queries.list_teams, after, limit, self._now())

    async def change_team(
        self, ref: str, *, name: str | None = None, limits: LimitsChange = NO_CHANGE, by: Actor = THE_GATEWAY
    ) -> TeamRecord:
        """Raises: `TeamNotFound`, `NameTaken`, `BadName`, `BadValue`."""
        name = None if name is None else checked_name("team", name)
        wanted, at = checked_limits_change(limits), self._now()
        run = audited(changes.change_team, Deed(by, Action.TEAM_CHANGED, TEAM, at, ref))
        try:
            return await self._store.change(run, ref, name, wanted, self._billing, at)
        except (NameExists, RowMissing) as error:
            await self._explain(error)

    # --- everything together ------------------------------------------------------------------

    async def gateway_budgets(self) -> tuple[BudgetRecord, ...]:
        """The budgets of the whole gateway."""
        return await self._store.read(queries.gateway_budgets, self._now())

    async def set_gateway_budgets(
        self, budgets: tuple[Budget, ...], *, by: Actor = THE_GATEWAY
    ) -> tuple[BudgetRecord, ...]:
        """Exactly these from now on. Raises: `BadValue`."""
        wanted, at = checked_budgets(budgets), self._now()
        run = audited(changes.change_gateway_budgets, Deed(by, Action.BUDGET_CHANGED, WHOLE_GATEWAY, at, GATEWAY))
        return await self._store.change(run, wanted, self._billing, at)

    async def change_gateway_budgets(
        self, budgets: tuple[Budget, ...], gone: tuple[BudgetPeriod, ...] = (), *, by: Actor = THE_GATEWAY
    ) -> tuple[BudgetRecord, ...]:
        """These, and none of the periods `gone`; those of other periods stay. Raises: `BadValue`."""
        wanted, at = checked_budgets(budgets), self._now()
        if any(budget.period in gone for budget in wanted):
            raise BadValue("unset: a budget is given for one of these periods: do one or the other.", param="unset")
        run = audited(changes.merge_gateway_budgets, Deed(by, Action.BUDGET_CHANGED, WHOLE_GATEWAY, at, GATEWAY))
        return await self._store.change(run, wanted, gone, self._billing, at)

    async def _set_state(self, ref: str, state: KeyState, action: Action, by: Actor) -> KeyRecord:
        at = self._now()
        run = audited(changes.set_key_state, Deed(by, action, KEY, at, ref))
        try:
            return await self._store.change(run, ref, state, at)
        except (RowMissing, KeyIsRevoked) as error:
            await self._explain(error)

    async def _explain(self, error: NameExists | RowMissing | KeyIsRevoked | SecretExists) -> NoReturn:
        """Turns what the store says into a sentence, with the nearest names there are."""
        if isinstance(error, SecretExists):
            raise SecretTaken(error.name) from None
        if isinstance(error, KeyIsRevoked):
            raise KeyRevoked(error.name) from None
        if isinstance(error, NameExists):
            raise NameTaken(error.kind, error.name) from None
        if error.kind == "team":
            raise TeamNotFound(error.ref, await self._store.read(queries.team_names)) from None
        raise KeyNotFound(error.ref, await self._store.read(queries.key_names)) from None


def _secret(text: str | None) -> TeamSecret:
    """Raises: `BadValue`."""
    try:
        return new_secret() if text is None else known_secret(text)
    except ValueError:
        raise BadValue(
            "This is not the secret of a team key: it must be one that a gateway made, whole and without a mistake "
            "(irg_ and 69 characters). Leave it out, and a new one is made.",
            param="secret",
        ) from None
