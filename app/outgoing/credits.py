"""The gateway's own question about the account's credits: one GET with the upstream key, for an alert alone.

The answer lists every key of the account, so it goes no further than `accounts.credits`. The
same origin, certificates and proxy as the requests of clients; redirects are not followed.
"""

from __future__ import annotations

import asyncio

import httpx

from app import __version__
from app.accounts.catalog import FetchFailed
from app.outgoing.trust import trust
from app.settings import Settings

PATH = "/v1/credits"
SECONDS_MAX = 10.0
BYTES_MAX = 1024 * 1024


async def fetch_credits(settings: Settings, key: bytes) -> bytes:
    """The upstream's answer. Raises: `FetchFailed`, with a fixed text."""
    try:
        async with asyncio.timeout(SECONDS_MAX), await _client(settings, key) as client:
            return await _get(client)
    except TimeoutError:
        raise FetchFailed("the upstream did not tell its credits in time") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        # Never the exception's own text: it may hold a proxy's password.
        raise FetchFailed("the upstream could not be reached for its credits") from None


async def _get(client: httpx.AsyncClient) -> bytes:
    async with client.stream("GET", PATH) as answer:
        if answer.status_code != 200:
            raise FetchFailed(f"the upstream answered {answer.status_code} when asked for its credits")
        content = b""
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > BYTES_MAX:
                raise FetchFailed("the upstream's answer about its credits is too large")
    return content


async def _client(settings: Settings, key: bytes) -> httpx.AsyncClient:
    ca_file = str(settings.upstream_ca_file) if settings.upstream_ca_file else None
    encrypted = any(url.startswith("https:") for url in (settings.upstream_url, settings.upstream_proxy or ""))
    return httpx.AsyncClient(
        base_url=settings.upstream_url,
        verify=await asyncio.to_thread(trust, ca_file) if encrypted else False,
        proxy=settings.upstream_proxy,
        headers={
            "accept": "application/json",
            "authorization": f"Bearer {key.decode()}",
            "user-agent": f"imagerouter-gateway/{__version__}",
        },
        trust_env=False,
        follow_redirects=False,
        timeout=settings.connect_timeout_seconds,
    )
