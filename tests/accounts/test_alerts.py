"""Who is told what: destinations made, tried and removed; alerts raised once; the history."""

from __future__ import annotations

import base64
import errno
from datetime import timedelta

import pytest

from app.accounts import sending
from app.accounts.alerts import (
    DESTINATIONS_MAX,
    Alerts,
    DestinationExists,
    DestinationNotFound,
    NoSigningSecret,
    Tried,
)
from app.accounts.errors import BadName, BadValue
from app.accounts.sending import SendFailed
from app.core.alerts import DestinationKind
from app.settings import SettingsError
from app.store.port import Store
from tests.accounts.senders import Clock, Receiver, Secrets

HOOK = "https://example.com/hooks/1"


class Desk:
    """The verbs over a real ledger, with receivers and a clock of the test's own."""

    def __init__(self, store: Store) -> None:
        self.webhook, self.service = Receiver(), Receiver()
        self.secrets, self.clock = Secrets(), Clock()
        senders = {DestinationKind.WEBHOOK: self.webhook, DestinationKind.SERVICE: self.service}
        self.alerts = Alerts(store, senders, self.secrets, clock=self.clock)


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


async def test_a_webhook_is_added_with_its_secret_shown_once(desk: Desk) -> None:
    """Derived of its id; a service has none."""
    added, secret = await desk.alerts.add("ops", HOOK)
    assert secret == "whsec_" + base64.b64encode(added.id.encode()).decode()
    assert (added.kind, added.shown, added.waiting) == ("webhook", "https://example.com", 0)
    mail, none = await desk.alerts.add("mail", "file:/run/secrets/mail")
    assert (mail.kind, none) == ("service", None)
    assert await desk.alerts.list() == (mail, added)
    assert desk.secrets.made == 1


@pytest.mark.parametrize("name", ["", "two words", "-x", "a/b", "x" * 65, "ü"])
async def test_a_name_that_would_be_hard_to_type_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(BadName, match="such as on-call"):
        await desk.alerts.add(name, HOOK)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "such as https://example.com/alerts"),
        ("https://x.example/" + "SECRET" * 400, "on one line"),
        ("https://x.example/\nSECRET", "on one line"),
        ("mailto://user:SECRET@example.com", "never stored here"),
        ("slack://SECRET", "Write it into a file that only the gateway may read, and give file:/PATH"),
        ("SECRET", "file:/PATH"),
        ("https://bad.example/SECRET", "a bad address"),
    ],
)
async def test_an_address_that_cannot_be_is_refused_and_not_repeated(desk: Desk, address: str, says: str) -> None:
    """The sentence says what to write; nothing is stored."""
    with pytest.raises(BadValue, match=says) as told:
        await desk.alerts.add("ops", address)
    assert told.value.param == "address"
    assert "SECRET" not in told.value.message
    assert await desk.alerts.list() == ()


async def test_names_are_taken_until_removed(desk: Desk) -> None:
    """And there are not more than can be sent to at once."""
    await desk.alerts.add("ops", HOOK)
    with pytest.raises(DestinationExists, match="irg alerts remove ops"):
        await desk.alerts.add("ops", HOOK)
    assert (await desk.alerts.remove("ops")).name == "ops"
    with pytest.raises(DestinationNotFound, match="irg alerts list"):
        await desk.alerts.remove("ops")
    for number in range(DESTINATIONS_MAX):
        await desk.alerts.add(f"ops-{number}", HOOK)
    with pytest.raises(BadValue, match="20 destinations"):
        await desk.alerts.add("one-more", HOOK)


async def test_what_signs_is_never_made_anew_beside_destinations_that_rely_on_it(desk: Desk) -> None:
    """A file that was lost is told, not replaced; a place that cannot be written as well."""
    desk.secrets.fault = OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(NoSigningSecret, match="Read-only file system"):
        await desk.alerts.add("ops", HOOK)
    desk.secrets.fault = None
    await desk.alerts.add("ops", HOOK)
    desk.secrets.fault = SettingsError(["alerts-secret is away. Put it back."])
    with pytest.raises(NoSigningSecret, match="Put it back"):
        await desk.alerts.add("more", HOOK)
    assert desk.secrets.made == 1
    await desk.alerts.add("mail", "file:/run/secrets/mail")


async def test_a_test_is_sent_at_once_and_is_no_alert(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came of it is told, whatever it was."""
    await desk.alerts.add("ops", HOOK)
    assert await desk.alerts.test("ops") == Tried(True, 204, None)
    desk.webhook.failures.extend([SendFailed("answered 500", status=500), ZeroDivisionError("SECRET")])
    assert await desk.alerts.test("ops") == Tried(False, 500, "answered 500")
    assert await desk.alerts.test("ops") == Tried(False, None, "could not be sent (ZeroDivisionError)")
    monkeypatch.setattr(sending, "SEND_SECONDS_MAX", 0.01)
    desk.webhook.go.clear()
    assert await desk.alerts.test("ops") == Tried(False, None, "did not answer in 0.01 seconds")
    assert desk.webhook.cut == 1
    with pytest.raises(DestinationNotFound):
        await desk.alerts.test("nobody")
    assert (await desk.alerts.history()).items == ()


async def test_a_refusing_upstream_is_told_once_an_hour_for_each_kind(desk: Desk) -> None:
    """401, 402 and 403; nothing else."""
    assert [await desk.alerts.upstream_refuses(status) for status in (401, 401, 402, 403, 500)] == [
        True,
        False,
        True,
        True,
        False,
    ]
    desk.clock.pass_by(hours=1)
    assert await desk.alerts.upstream_refuses(401)
    kinds = [record.alert.kind for record in (await desk.alerts.history()).items]
    assert kinds == ["upstream_key_refused", "upstream_denies", "upstream_credits_used_up", "upstream_key_refused"]
    assert await desk.alerts.last_raised("upstream_denies") == desk.clock.at - timedelta(hours=1)


async def test_the_history_wants_a_cursor_of_its_own_and_a_sensible_limit(desk: Desk) -> None:
    for wanted in ({"after": "req_1"}, {"limit": 0}, {"limit": 1001}):
        with pytest.raises(BadValue):
            await desk.alerts.history(**wanted)


async def test_a_ledger_that_is_away_keeps_no_alert_and_harms_nobody(desk: Desk, store: Store) -> None:
    """Who raises one in the background has no use for an error."""
    await store.aclose()
    assert await desk.alerts.upstream_refuses(401) is False
