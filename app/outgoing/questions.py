"""The gateway's own small questions to the upstream: GETs, over a client that lives for one of them.

The same origin, certificates and proxy as the requests of clients, of whom nothing goes along; redirects are
not followed, and what comes back is bounded. Called by the accounts, who are handed them.
"""

from __future__ import annotations

import asyncio

import httpx

from app import __version__
from app.accounts.catalog import FetchFailed
from app.outgoing.trust import trust
from app.settings import Settings

MODELS_PATH = "/v3/models?output_modalities=text"
MODELS_BYTES_MAX = 4 * 1024 * 1024  # a list is some 0.5 MB; the JSON parser stops everything else meanwhile

CREDITS_PATH = "/v1/credits"
CREDITS_BYTES_MAX = 1024 * 1024

SECONDS_MAX = 10.0


async def fetch_models(settings: Settings) -> bytes:
    """The upstream's list of models as it answers it; asked without a key. Raises: `FetchFailed`."""
    return await _ask(settings, "models", MODELS_PATH, MODELS_BYTES_MAX)


async def fetch_credits(settings: Settings, key: bytes) -> bytes:
    """What the upstream says of the account's credits; it lists every key of the account. Raises: `FetchFailed`."""
    return await _ask(settings, "credits", CREDITS_PATH, CREDITS_BYTES_MAX, {"authorization": f"Bearer {key.decode()}"})


async def _ask(
    settings: Settings, what: str, path: str, bytes_max: int, headers: dict[str, str] | None = None
) -> bytes:
    """Raises: `FetchFailed`, with a fixed text: an exception's own may hold a proxy's password."""
    try:
        async with asyncio.timeout(SECONDS_MAX), await _client(settings) as client:
            return await _get(client, what, path, bytes_max, headers)
    except TimeoutError:
        raise FetchFailed(f"the upstream did not tell its {what} in time") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        raise FetchFailed(f"the upstream could not be reached for its {what}") from None


async def _get(
    client: httpx.AsyncClient, what: str, path: str, bytes_max: int, headers: dict[str, str] | None
) -> bytes:
    async with client.stream("GET", path, headers=headers) as answer:
        if answer.status_code != 200:
            raise FetchFailed(f"the upstream answered {answer.status_code} when asked for its {what}")
        parts, size = [], 0
        async for part in answer.aiter_bytes():
            size += len(part)
            if size > bytes_max:
                raise FetchFailed(f"the upstream's answer about its {what} is too large")
            parts.append(part)
    return b"".join(parts)


async def _client(settings: Settings) -> httpx.AsyncClient:
    ca_file = str(settings.upstream_ca_file) if settings.upstream_ca_file else None
    urls = (settings.upstream_url, settings.upstream_proxy or "")
    # Certificates take a while to read, which is nothing for the event loop.
    tls = await asyncio.to_thread(trust, ca_file) if any(url.startswith("https:") for url in urls) else False
    return httpx.AsyncClient(
        base_url=settings.upstream_url,
        verify=tls,
        proxy=settings.upstream_proxy,
        headers={"accept": "application/json", "user-agent": f"imagerouter-gateway/{__version__}"},
        trust_env=False,
        follow_redirects=False,
        timeout=settings.connect_timeout_seconds,
    )
