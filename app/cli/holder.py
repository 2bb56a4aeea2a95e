"""How a key's holder reaches a gateway: over HTTP with the team key, wherever the gateway is.

Never through the admin's ways: on the gateway's machine too, a holder sees what the key opens and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.cli.client import Gateway, holder_of
from app.cli.frame import Code, Failure, settings
from app.core.keys import is_secret

if TYPE_CHECKING:
    from app.settings import Settings

API = "/v1/me"

# Where a gateway that listens everywhere is found on its own machine.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound

_REFUSED = (
    "{where} refused the key (IRG_KEY or --key): it is not known there, or disabled, expired or revoked. "
    "Ask the gateway's admin."
)


@contextlib.contextmanager
def connect_as_holder(url: str | None, key: str | None) -> Iterator[Gateway]:
    """A key's own pages; paths begin behind /v1/me. Raises: `Failure`."""
    values = settings({"url": url, "key": key}).settings
    secret = _secret(values)
    where = values.url or _on_this_machine(values)
    from app.cli.over_http import HttpGateway, client_of

    with asyncio.Runner() as runner:
        client = client_of(where, secret)
        # Nothing is changed here, so nobody needs to know who sits at the keyboard.
        client.headers.pop("x-irg-actor", None)
        gateway = HttpGateway(runner, client, where)
        gateway.api, gateway.refused = API, _REFUSED
        try:
            yield gateway
        finally:
            gateway.close()


def _secret(values: Settings) -> str:
    if values.key is None:
        raise Failure(
            "No key was given: set IRG_KEY to your team key (it starts with irg_), or pass it with --key. "
            "The gateway's admin makes one: irg keys create NAME.",
            Code.SETTINGS,
        )
    secret = values.key.get_secret_value()
    if not is_secret(secret):
        raise Failure("IRG_KEY (or --key) is no team key: a letter is wrong, or it was cut.", Code.USAGE)
    return secret


def _on_this_machine(values: Settings) -> str:
    """The address of the gateway that runs on this database."""
    holder = holder_of(values)
    if holder is None or holder.url is None:
        raise Failure(
            f"No gateway is running on {values.database_path}. If yours runs elsewhere, say where: "
            "set IRG_URL to its address, or pass it with --url."
        )
    return address_of(holder.url)


def address_of(url: str) -> str:
    """Where a gateway on this machine is called that listens there."""
    parts = urlsplit(url)
    host, _, port = parts.netloc.rpartition(":")
    return f"{parts.scheme}://{_EVERYWHERE.get(host, host)}:{port}"
