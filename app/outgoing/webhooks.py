"""Alerts as signed webhooks: one POST, one client that lives for it, nothing followed and little read.

`core.webhooks` signs. What a receiver answers is never kept, logged or shown: its status is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

import httpx

from app import __version__
from app.accounts.errors import BadValue
from app.accounts.sending import SEND_SECONDS_MAX, SendFailed
from app.core.alert_texts import payload
from app.core.alerts import Alert, Destination
from app.core.clock import now
from app.core.webhooks import webhook_headers
from app.outgoing.trust import trust
from app.settings import SettingsError
from app.settings.checks import is_loopback

# Of an answer, so much is read, so that a receiver can end it; what it says does not matter.
ANSWER_BYTES_MAX = 16 * 1024
ANSWER_SECONDS_MAX = 1.0

UNENCRYPTED = "would go unencrypted: write https://, or set IRG_ALLOW_PLAIN_ALERTS=true if the network is yours"


class WebhookSender:
    """`secret_of`: what signs for a destination, by its id. Raises: `SettingsError`."""

    def __init__(
        self, secret_of: Callable[[str], bytes], *, allow_plain: bool = False, clock: Callable[[], datetime] = now
    ) -> None:
        self._secret_of = secret_of
        self._allow_plain = allow_plain
        self._now = clock
        self._trust: ssl.SSLContext | None = None

    async def check(self, address: str) -> None:
        parts = _split(address)
        if parts is None:
            raise BadValue(
                "This is not a URL that can be sent to: write one such as https://example.com/alerts.", param="address"
            )
        if "@" in parts.netloc:
            raise BadValue(
                "An address must not hold a user or a password: write it without. Its receiver checks the signature.",
                param="address",
            )
        if not self._may_be_sent_to(parts):
            raise BadValue(f"Alerts to this address {UNENCRYPTED}.", param="address")

    async def send(self, destination: Destination, alert: Alert) -> int:
        parts = _split(destination.address)
        if parts is None or not self._may_be_sent_to(parts):  # allowed when it was added, and not since
            raise SendFailed(UNENCRYPTED)
        try:
            secret = await asyncio.to_thread(self._secret_of, destination.id)
        except SettingsError:
            raise SendFailed("the secret that signs alerts cannot be read: see irg alerts add") from None
        body = payload(alert)
        headers = webhook_headers(secret, alert.id, int(self._now().timestamp()), body)
        status = await self._post(destination.address, headers, body)
        if not 200 <= status <= 299:
            raise SendFailed(_refusal(status), status=status, final=status == 410)
        return status

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """The answer's status. Raises: `SendFailed`."""
        try:
            async with (
                await self._client(url) as client,
                client.stream("POST", url, headers=headers, content=body) as answer,
            ):
                await _read_little(answer)
                return answer.status_code
        except httpx.TimeoutException:
            raise SendFailed("did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SendFailed(_fault(error)) from None

    async def _client(self, url: str) -> httpx.AsyncClient:
        if self._trust is None and url[:6].lower() == "https:":
            self._trust = await asyncio.to_thread(trust)
        return httpx.AsyncClient(
            verify=self._trust or False,  # nothing is verified where nothing is encrypted
            headers={"content-type": "application/json", "user-agent": f"imagerouter-gateway/{__version__}"},
            trust_env=False,
            follow_redirects=False,
            timeout=SEND_SECONDS_MAX,
        )

    def _may_be_sent_to(self, parts: SplitResult) -> bool:
        return parts.scheme == "https" or self._allow_plain or is_loopback(parts.hostname or "")


def _split(address: str) -> SplitResult | None:
    """None if it is no URL of HTTP."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx.URL(address)
    except (ValueError, httpx.InvalidURL):
        return None
    return parts if usable and address.isascii() and " " not in address and "\\" not in address else None


async def _read_little(answer: httpx.Response) -> None:
    """The head has said what counts; however the body goes on, it changes nothing."""
    size = 0
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            async for part in answer.aiter_raw():
                size += len(part)
                if size >= ANSWER_BYTES_MAX:
                    return


def _refusal(status: int) -> str:
    if 300 <= status <= 399:
        return f"answered {status}: redirects are not followed, give the address where they lead"
    if status == 410:
        return "answered 410: it wants no more alerts"
    return f"answered {status}"


def _fault(error: BaseException) -> str:
    """Why nothing came, in words of ours: an exception's own text may hold the address."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for kind, words in (
        (ssl.SSLCertVerificationError, "has a certificate that is not trusted"),
        (ssl.SSLError, "could not be reached over TLS"),
        (socket.gaierror, "has a name that is not found"),
        (ConnectionRefusedError, "refuses connections"),
        (httpx.RemoteProtocolError, "broke off"),
    ):
        if any(isinstance(one, kind) for one in causes):
            return words
    return "could not be reached"
