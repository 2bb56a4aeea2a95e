"""Small questions to the upstream beside the hot path: plain GETs, over a client that lives for one of them.

The same origin, certificates and proxy as the hot path; neither the upstream key nor anything
of a client goes along, redirects are not followed, and what comes back is bounded.
"""

from __future__ import annotations

import asyncio

import httpx

from app import __version__
from app.accounts.catalog import FetchFailed
from app.outgoing.trust import trust
from app.settings import Settings

MODELS_PATH = "/v3/models?output_modalities=text"
SECONDS_MAX = 10.0
BYTES_MAX = 4 * 1024 * 1024  # a list is some 0.5 MB; the JSON parser stops everything else meanwhile


async def fetch_models(settings: Settings) -> bytes:
    """The upstream's list of models as it answers it. Raises: `FetchFailed`."""
    try:
        async with asyncio.timeout(SECONDS_MAX), await _client(settings) as client:
            return await _get(client, MODELS_PATH)
    except TimeoutError:
        raise FetchFailed("the upstream did not tell its models in time") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        # Never the exception's own text: it may hold a proxy's password.
        raise FetchFailed("the upstream could not be reached for its models") from None


async def _get(client: httpx.AsyncClient, path: str) -> bytes:
    async with client.stream("GET", path) as answer:
        if answer.status_code != 200:
            raise FetchFailed(f"the upstream answered {answer.status_code} when asked for its models")
        parts, size = [], 0
        async for part in answer.aiter_bytes():
            size += len(part)
            if size > BYTES_MAX:
                raise FetchFailed("the upstream's list of models is too large")
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
