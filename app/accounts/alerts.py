"""Who is told what: destinations of alerts, the alerts that were raised, and how they fared.

Knows neither SQL nor HTTP: senders are handed in. What delivers in the background is
`alert_delivery`; the alerts of money are raised by the settlement, in its own transaction.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from app.accounts.errors import BadName, BadValue, Conflict, NotFound
from app.accounts.sending import Senders, SendFailed, attempt
from app.accounts.wishes import check_page
from app.core.alerts import Alert, AlertKind, AlertRecord, Destination, DestinationKind
from app.core.audit import THE_GATEWAY, Action, Actor
from app.core.clock import now, to_ms
from app.core.ids import new_id
from app.core.value import Value
from app.core.views import Page
from app.core.webhooks import secret_text
from app.settings import SettingsError
from app.store import alerts as rows
from app.store.audit import DESTINATION, Deed, audited
from app.store.port import LedgerUnavailable, NameExists, RowMissing, Store
from app.telemetry import get_logger

# Each may be sent to at the same time as all others, so this bounds the connections.
DESTINATIONS_MAX = 20

ADDRESS_CHARACTERS_MAX = 2000

HOUR_MS = 3_600_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_OF_STATUS = {
    401: AlertKind.UPSTREAM_KEY_REFUSED,
    402: AlertKind.UPSTREAM_CREDITS_USED_UP,
    403: AlertKind.UPSTREAM_DENIES,
}

log = get_logger("alerts")


class DestinationNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("There is no such destination. See: irg alerts list.", param="name")


class DestinationExists(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is already a destination named {name}. Choose another name, or remove it first: "
            f"irg alerts remove {name}.",
            param="name",
        )


class NoSigningSecret(Conflict):
    """The file beside the database that signs alerts is away or spoilt; the sentence says what to do."""


class SigningSecrets(Protocol):
    """What signs alerts: see `settings.alerts_secret`. Each method raises `SettingsError`; `ensure` also `OSError`."""

    def ensure(self) -> None: ...

    def of(self, destination_id: str) -> bytes: ...


class Tried(Value, frozen=True):
    """How a test went."""

    delivered: bool
    status: int | None  # the receiver's HTTP status, if it has one
    error: str | None


class Alerts:
    def __init__(
        self, store: Store, senders: Senders, secrets: SigningSecrets, *, clock: Callable[[], datetime] = now
    ) -> None:
        self._store = store
        self._senders = senders
        self._secrets = secrets
        self._now = clock

    # --- destinations ---------------------------------------------------------------------

    async def add(self, name: str, address: str, *, by: Actor = THE_GATEWAY) -> tuple[Destination, str | None]:
        """A new destination, and the secret that its receiver checks signatures with (a webhook's), shown once.

        It gets the alerts from now on. `by`: who does it, for the audit log.
        Raises: `BadName`, `BadValue`, `DestinationExists`, `NoSigningSecret`.
        """
        if _NAME.fullmatch(name) is None:
            raise BadName(
                "A destination's name is 1 to 64 letters, digits, dots, dashes and underscores, such as on-call.",
                param="name",
            )
        kind, known = _kind(address), await self.list()
        if len(known) >= DESTINATIONS_MAX:
            raise BadValue(f"There are {DESTINATIONS_MAX} destinations, which is the most.", param="name")
        await self._senders[kind].check(address)
        if kind is DestinationKind.WEBHOOK:
            await self._ready_to_sign(made_before=any(one.kind is kind for one in known))
        at = self._now()
        add = audited(rows.add_destination, Deed(by, Action.ALERT_ADDED, DESTINATION, at))
        try:
            found = await self._store.change(add, name, kind, address, at)
        except NameExists:
            raise DestinationExists(name) from None
        return found, secret_text(self._secret(found)) if kind is DestinationKind.WEBHOOK else None

    async def list(self) -> tuple[Destination, ...]:
        """By name."""
        return await self._store.read(rows.list_destinations)

    async def remove(self, name: str, *, by: Actor = THE_GATEWAY) -> Destination:
        """Nothing goes there any more, also of what waits. Raises: `DestinationNotFound`."""
        at = self._now()
        remove = audited(rows.remove_destination, Deed(by, Action.ALERT_REMOVED, DESTINATION, at, name))
        try:
            return await self._store.change(remove, name, at)
        except RowMissing:
            raise DestinationNotFound from None

    async def test(self, name: str) -> Tried:
        """Sends a test there now; it is no alert and is not kept. Raises: `DestinationNotFound`."""
        try:
            destination = await self._store.read(rows.find_destination, name)
        except RowMissing:
            raise DestinationNotFound from None
        at = self._now()
        alert = Alert(new_id("alr", at), at, AlertKind.TEST, {"destination": destination.name})
        try:
            return Tried(True, await attempt(self._senders, destination, alert), None)
        except SendFailed as failure:
            return Tried(False, failure.status, failure.reason)

    # --- alerts ---------------------------------------------------------------------------

    async def history(self, *, after: str | None = None, limit: int = 100) -> Page[AlertRecord]:
        """Alerts, newest first, with their deliveries. Raises: `BadValue`."""
        check_page(after, limit, "alr")
        return await self._store.read(rows.list_alerts, after, limit)

    async def raise_alert(self, kind: str, subject: str, facts: Mapping[str, Any]) -> bool:
        """Keeps an alert, unless its occasion was told before. Never raises: a ledger that is away is logged."""
        try:
            return await self._store.change(rows.raise_alert, kind, subject, facts, self._now())
        except LedgerUnavailable as error:
            log.warning("alert_not_kept", kind=kind, reason=str(error))
            return False

    async def upstream_refuses(self, status: int) -> bool:
        """The upstream answered 401, 402 or 403 to the gateway's key; of each kind, one alert in an hour."""
        kind = _OF_STATUS.get(status)
        if kind is None:
            return False
        hour = to_ms(self._now()) // HOUR_MS
        return await self.raise_alert(kind, f"{kind}/{hour}", {"status": status})

    async def last_raised(self, kind: str) -> datetime | None:
        """Raises: `LedgerUnavailable`."""
        return await self._store.read(rows.last_raised, kind)

    # --- signing --------------------------------------------------------------------------

    async def _ready_to_sign(self, *, made_before: bool) -> None:
        """Makes what signs, for the first destination. Never a new one: the receivers there are would refuse it."""
        try:
            if made_before:
                await asyncio.to_thread(self._secrets.of, "")
            else:
                await asyncio.to_thread(self._secrets.ensure)
        except SettingsError as error:
            raise NoSigningSecret(str(error)) from None
        except OSError as error:
            raise NoSigningSecret(f"The secret that signs alerts cannot be written ({error.strerror}).") from None

    def _secret(self, destination: Destination) -> bytes:
        try:
            return self._secrets.of(destination.id)
        except SettingsError as error:
            raise NoSigningSecret(str(error)) from None


def _kind(address: str) -> DestinationKind:
    """Raises: `BadValue`, which does not quote the address: it may hold credentials."""
    if not 1 <= len(address) <= ADDRESS_CHARACTERS_MAX or not address.isprintable():
        raise BadValue("An address is a URL such as https://example.com/alerts, on one line.", param="address")
    scheme = address.partition(":")[0].lower()
    if scheme in ("http", "https"):
        return DestinationKind.WEBHOOK
    if scheme == "file":
        return DestinationKind.SERVICE
    raise BadValue(
        "An address is https://… (a signed webhook), or file:/PATH of a file that holds the address of a service such "
        "as mailto:// or slack://: those hold credentials, which are never stored here. Write it into a file that only "
        "the gateway may read, and give file:/PATH.",
        param="address",
    )
